"""One judgement of health: every face says the same words at one instant (D1)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.breaker import Breaker
from omni_cli.services.judge.alerts import health_alerts
from omni_cli.simulator import Simulator
from omni_cli.tui.fleet_view import state_word
from omni_cli.tui.overview import read_overview
from omni_cli.tui.widgets.status import health_bar
from tests.gateway_server import Served, serving
from tests.integration.cli.conftest import Omni, home, omni, seeded

__all__ = ["home", "omni", "seeded"]

#: One model of each provider, which its calls go to.
MODELS = {
    "openai": "openai/gpt-4o",
    "anthropic": "anthropic/claude-3-haiku-20240307",
    "google": "google/gemini-2.0-flash",
    "deepseek": "deepseek/deepseek-chat",
    "moonshot": "moonshot/kimi-k2.5",
    "ollama": "ollama/llama3.1:70b",
}
#: Levels of an alert by status; an unknown provider raises none.
_LEVELS = {"healthy": "ok", "maintenance": "ok", "warning": "warning", "error": "error"}
#: What needs a person comes first.
_PLACES = ("error", "warning", "unknown", "healthy", "maintenance").index


class Faces:
    """A gateway, the command line and the TUI over one store."""

    def __init__(self, omni: Omni, served: Served) -> None:
        self.omni = omni
        self.served = served
        self.sim = served.sim
        self.app = served.app

    def chat(self, slug: str) -> int:
        return self.omni("chat", "-m", MODELS[slug], "-n", "hi").code

    def fail(self, slug: str, times: int, fault: str = "503") -> None:
        """So many requests that its provider does not answer."""
        self.sim.fault(fault, f"{slug}/*")
        for _ in range(times):
            assert self.chat(slug) == 5
        self.sim.heal()

    def agreed(self, *, disabled: str = "") -> dict[str, tuple[str, str]]:
        """By provider: what all faces say of it, and of its model that is called."""
        told = self.omni("health", "--json", "--models").data
        want = {p["id"]: (p["status"], _still(p["reason"])) for p in told["providers"]}
        models = {m["id"]: m["status"] for p in told["providers"] for m in p["models"]}
        assert (set(want) == set(MODELS)) is not bool(disabled)
        self._ask_tui(told, want, models)
        self._ask_gateway(told, want)
        self._ask_commands(told, want)
        alerts = {alert.key: alert.level for alert in health_alerts(self.app.reporter.report())}
        assert alerts == {
            f"provider:{slug}": _LEVELS[status]
            for slug, (status, _) in want.items()
            if status != "unknown"
        }
        return {slug: (status, models[MODELS[slug]]) for slug, (status, _) in want.items()}

    def _ask_tui(self, told: Any, want: dict[str, Any], models: dict[str, str]) -> None:
        with App({"OMNI_HOME": str(self.served.home), "USER": "tester"}) as app:
            view = read_overview(app)
        assert view.overall == told["overall_health"]
        assert f"{view.healthy}/" in told["bar"]
        assert told["bar"].split("] ")[1] in health_bar(view).plain
        shown = {
            c.provider.slug: (c.state, _still(c.why)) for c in view.providers if c.state != "off"
        }
        assert shown == {s: (w, "" if w == "healthy" else why) for s, (w, why) in want.items()}
        assert list(shown) == list(want)
        assert [s for s, _ in want.values()] == sorted((s for s, _ in want.values()), key=_PLACES)
        cards = {card.model.id: card for card in view.models}
        for model in MODELS.values():
            state = models.get(model, "off")
            assert cards[model].state == state
            assert (state_word(cards[model]) == "Online") == (state == "healthy")

    def _ask_gateway(self, told: Any, want: dict[str, Any]) -> None:
        with httpx.Client(base_url=self.served.url, timeout=20, trust_env=False) as http:
            whole = http.get("/api/provider-status").json()
            listed = http.get("/api/providers").json()["providers"]
            one = http.get("/api/providers/google").json()
            metrics = http.get("/metrics").text
            with http.stream("GET", "/api/provider-status/stream") as stream:
                lines = (line for line in stream.iter_lines() if line.startswith("data: "))
                live = json.loads(next(lines)[len("data: ") :])
        for document in (whole, live):
            assert document["overall_health"] == told["overall_health"]
            assert document["bar"] == told["bar"]
            found = {p["id"]: (p["status"], _still(p["reason"])) for p in document["providers"]}
            assert found == want
        assert _listed(listed) == want
        assert (one["health"], _still(one["health_reason"])) == want["google"]
        for slug, (status, _) in want.items():
            labels = f'{{provider="{slug}",status="{status}"}}'
            assert f"omni_provider_health{labels} 1" in metrics

    def _ask_commands(self, told: Any, want: dict[str, Any]) -> None:
        rows = self.omni("providers", "list", "--json").data
        assert _listed(rows) == want
        checks = {c["name"]: c for c in self.omni("doctor", "--json").data["checks"]}
        assert told["bar"] in checks["health"]["message"]
        assert {
            slug: _still(checks[f"health {slug}"]["message"])
            for slug in want
            if f"health {slug}" in checks
        } == {s: f"{w}: {why}" for s, (w, why) in want.items() if w in ("warning", "error")}


def _listed(rows: Any) -> dict[str, tuple[str, str]]:
    """Of ``omni providers list``; a disabled provider has no health."""
    return {r["slug"]: (r["health"], _still(r["health_reason"])) for r in rows if r["health"]}


def _still(reason: str) -> str:
    """Without the seconds that run down while the faces are asked."""
    return re.sub(r"next try in \d+ s", "next try soon", reason)


@pytest.fixture
def faces(omni: Omni, home: Path, sim: Simulator) -> Iterator[Faces]:
    with serving(home, sim) as served:
        served.app.fleet.set_status(MODELS["moonshot"], "active")
        yield Faces(omni, served)


def test_histories_of_six_providers(faces: Faces) -> None:
    """Each provider has a history of its own, by default settings; all faces at four instants."""
    assert faces.agreed() == dict.fromkeys(MODELS, ("unknown", "unknown"))

    faces.fail("openai", 1)  # three attempts
    faces.fail("anthropic", 2)  # its breaker is open as well, which a check closes
    faces.fail("google", 2)
    faces.fail("deepseek", 3, fault="404")
    for _ in range(2):
        faces.fail("moonshot", 1)
        assert faces.chat("moonshot") == 0
    faces.sim.fault("503", "ollama/*")
    assert faces.omni("providers", "test", "ollama").code == 5
    faces.sim.heal()
    assert _breakers(faces.app) == {"closed", "open"}
    told = faces.agreed()
    assert {slug: model for slug, (_, model) in told.items()} == {
        **dict.fromkeys(MODELS, "error"),
        "moonshot": "warning",
    }
    assert {slug for slug, (status, _) in told.items() if status == "error"} == {*MODELS} - {
        "moonshot"
    }

    assert faces.omni("providers", "test", "openai").code == 0
    url = f"{faces.served.url}/api/providers/anthropic/test"
    assert httpx.post(url, trust_env=False).is_success
    assert faces.chat("google") == 0
    assert faces.omni("providers", "test", "deepseek").code == 0
    assert faces.chat("ollama") == 0
    healthy = ("healthy", "healthy")
    expected = {
        "openai": healthy,
        "anthropic": healthy,
        "google": healthy,
        "ollama": healthy,
        # A list of models proves no model; what comes and goes is not hidden.
        "deepseek": ("error", "error"),
        "moonshot": ("warning", "warning"),
    }
    assert faces.agreed() == expected
    assert _breakers(faces.app) <= {"closed"}

    faces.fail("openai", 1)
    assert faces.chat("deepseek") == 0
    faces.omni("providers", "edit", "google", "--maintenance")
    assert faces.omni("health", "--check").code == 0
    assert faces.agreed() == {
        **expected,
        "openai": ("warning", "warning"),  # the second time within the window
        "deepseek": healthy,
        "google": ("maintenance", "maintenance"),
    }


def test_checked_but_never_called(faces: Faces) -> None:
    assert faces.omni("providers", "test", "--all").code == 0
    assert faces.agreed() == dict.fromkeys(MODELS, ("healthy", "unknown"))
    faces.fail("openai", 1)
    faces.omni("providers", "disable", "openai")
    assert faces.agreed(disabled="openai")["google"] == ("healthy", "unknown")


def test_failing_again_after_a_recovery_counts_from_there(faces: Faces) -> None:
    faces.omni("config", "set", "chat.max_retries", "0")
    faces.fail("openai", 3)
    assert faces.chat("openai") == 0
    faces.fail("openai", 1)
    assert faces.agreed()["openai"] == ("warning", "warning")
    faces.fail("openai", 2)
    assert faces.agreed()["openai"] == ("error", "error")


def _breakers(app: App) -> set[str]:
    return {Breaker.from_json(text).state for text in app.breakers.all().values()}

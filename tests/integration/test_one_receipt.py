"""One receipt, drawn by the command line, the TUI and the gateway: lines only where they add up to
the charge, corrections, and what the provider said it cost."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import format_usd, usd_string
from omni_cli.services.money.receipt import Receipt
from omni_cli.simulator import Simulator
from omni_cli.tui.screens.receipt import receipt_text
from tests.gateway_server import Served, serving
from tests.integration.cli.conftest import Omni, home, omni, seeded

__all__ = ["home", "omni", "seeded"]

GPT, MYSTERY = "openai/gpt-4o", "openai/gpt-mystery"


class Faces:
    def __init__(self, omni: Omni, served: Served) -> None:
        self.omni = omni
        self.served = served

    def run(self, *args: str, code: int = 0) -> Any:
        ran = self.omni(*args)
        assert ran.code == code, ran
        return ran

    def agreed(self, request: str = "last") -> Receipt:
        """The receipt, once every face has shown it; each in its own words, with the same sums."""
        document = self.run("why", request, "--json").data
        url = f"{self.served.url}/v1/requests/{document['id']}"
        assert httpx.get(url, timeout=20, trust_env=False).json() == document
        with App({"OMNI_HOME": str(self.served.home), "USER": "tester"}) as app:
            receipt = app.receipts.read(request)
        words = self.run("why", request).out
        screen = receipt_text(receipt, "UTC").plain
        for item, told in zip(receipt.attempts, document["attempts"], strict=True):
            lines = told["price_lines"]
            if lines:
                whole = sum(Decimal(line["cost_usd"]) for line in lines)
                assert whole == Decimal(told["cost_usd"])
            for shown in (words, screen):
                assert shown.count("/1M = $") == sum(len(i.lines) for i in receipt.attempts)
                assert format_usd(item.attempt.cost_nusd) in shown
                assert ("reported as" in shown) == any(
                    i.reported_nusd is not None for i in receipt.attempts
                )
        for correction in receipt.corrections:
            said = f"corrected by {format_usd(correction.delta_nusd)}"
            assert said in words
            assert said in screen
        assert document["cost_usd"] == (
            None if receipt.cost_nusd is None else usd_string(receipt.cost_nusd)
        )
        return receipt


@pytest.fixture
def faces(omni: Omni, home: Path, sim: Simulator) -> Iterator[Faces]:
    with serving(home, sim) as served:
        yield Faces(omni, served)


def test_calls(faces: Faces) -> None:
    faces.run("chat", "-m", GPT, "Name a colour.")
    assert [len(item.lines) for item in faces.agreed().attempts] == [2]
    faces.run("config", "set", "chat.max_retries", "0")
    faces.served.sim.fault("503", GPT)
    faces.run("chat", "-m", GPT, "Name a colour.", code=5)
    faces.served.sim.heal()
    assert faces.agreed().attempts[0].lines == ()
    faces.run("models", "add", MYSTERY)
    faces.run("chat", "-m", MYSTERY, "Name a colour.")
    assert faces.agreed().cost_nusd is None
    # Later priced and counted: the correction is in the receipt.
    faces.run(
        "reprice", "-m", MYSTERY, "--unknown", "--price-in", "1", "--price-out", "2", "--apply"
    )
    receipt = faces.agreed()
    assert receipt.corrections
    assert receipt.cost_nusd == sum(item.delta_nusd for item in receipt.corrections)


def test_a_report_of_many_calls_has_no_lines_of_one(faces: Faces, tmp_path: Path) -> None:
    """Its tokens as one call would pass a context tier that none of them passed."""
    report = tmp_path / "day.csv"
    report.write_text(
        "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens\n"
        "2026-11-01,claude-sonnet-4-5-20250929,1500000,5000\n"
    )
    faces.run("import", "anthropic", str(report), "--yes")
    receipt = faces.agreed()
    assert receipt.cost_nusd == 4_575_000_000
    assert receipt.attempts[0].lines == ()


def test_a_caller_sees_its_own_receipts_only(omni: Omni, home: Path, sim: Simulator) -> None:
    # Before the gateway starts: one that knows of no key yet asks for none.
    keys = {
        org: omni("keys", "create", f"k-{org}", "--org", org, "--json").data["key"]
        for org in ("acme", "globex")
    }
    with serving(home, sim) as served:
        body = {"model": GPT, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}

        def ask(org: str, method: str, path: str, **more: Any) -> httpx.Response:
            headers = {"authorization": f"Bearer {keys[org]}"}
            url = f"{served.url}{path}"
            return httpx.request(method, url, headers=headers, trust_env=False, **more)

        made = ask("acme", "POST", "/v1/chat/completions", json=body)
        assert made.status_code == 200, made.text
        served.settle(1)
        (row,) = served.app.ledger.recent(limit=1)
        name = id_text(row.id)
        own = ask("acme", "GET", f"/v1/requests/{name}")
        assert own.status_code == 200, own.text
        assert own.json()["id"] == name
        for org, asked in (("globex", name), ("globex", "last"), ("acme", name[:8])):
            answer = ask(org, "GET", f"/v1/requests/{asked}")
            assert answer.status_code == 404, (org, asked, json.dumps(answer.json()))

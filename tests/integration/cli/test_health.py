"""``omni health`` and ``omni watch`` against the simulator, whole and broken (D1)."""

import hashlib
import hmac
import json
import plistlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.domain.record import replace
from omni_cli.services.judge.alerts import Alert, Watch, Webhook, signature
from omni_cli.simulator import Simulator
from tests.beginning import begin
from tests.cost import cpu_s
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import MODELS, SLUGS, connect

#: Trouble must show within this, seconds (requirement D1).
LIMIT_S = 5.0
OPENAI = "openai/gpt-4o"


@pytest.fixture
def fleet(home: Path, sim: Simulator) -> Path:
    connect(home, sim)
    return home


def _status(data: dict[str, object], slug: str) -> str:
    return next(p["status"] for p in data["providers"] if p["id"] == slug)


def test_nothing_seen_is_unknown(omni: Omni, fleet: Path) -> None:
    data = omni("health", "--json").data
    assert data["overall_health"] == "unknown"
    assert data["bar"] == "[····] 0/4 healthy"
    assert omni("health", "--fail").code == 7


def test_check_asks_all_and_is_never_billed(omni: Omni, fleet: Path, sim: Simulator) -> None:
    ran = omni("health", "--check", "--fail", "--json")
    assert ran.code == 0
    assert ran.data["overall_health"] == "healthy"
    assert ran.data["bar"] == "[●●●●] 4/4 healthy"
    assert {p["check"]["ok"] for p in ran.data["providers"]} == {True}
    assert all(path.endswith("/models") for path in sim.stats()["by_path"])
    assert omni("logs", "--json").out.strip() in ("", "[]")
    assert "[●●●●] 4/4 healthy · fleet healthy" in omni("health").out


def test_calls_alone_tell_health(omni: Omni, fleet: Path) -> None:
    for _ in range(3):
        assert omni("chat", "-m", OPENAI, "-n", "hi").code == 0
    data = omni("health", "--json").data
    provider = next(p for p in data["providers"] if p["id"] == "openai")
    assert provider["status"] == "healthy"
    assert provider["success_rate"] == 1.0
    assert provider["daily_requests"] == 3
    assert float(provider["daily_cost_usd"]) > 0
    model = provider["models"][0]
    assert model["id"] == OPENAI
    assert model["recent_calls"] == 3
    assert model["response_time_ms"] is not None
    assert model["uptime"] == 1.0


def test_wrong_requests_are_not_held_against_a_model(
    omni: Omni, fleet: Path, sim: Simulator
) -> None:
    sim.fault("400", "openai/*")
    for _ in range(4):
        assert omni("chat", "-m", OPENAI, "-n", "hi").code == 5
    sim.heal()
    assert _status(omni("health", "--json").data, "openai") == "unknown"


# --- the fault matrix ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("hang", "error"),
        ("500", "error"),
        ("429", "warning"),
        ("truncate", "error"),
        ("wrong-json", "warning"),
        ("401", "error"),
        ("reset-before", "error"),
    ],
)
def test_faults_show_within_five_seconds(
    omni: Omni, fleet: Path, sim: Simulator, fault: str, status: str
) -> None:
    """By an unbilled check; nobody else is delayed by the one that hangs."""
    sim.fault(fault, "openai/*")
    began = time.monotonic()
    data = omni("health", "--check", "--json").data
    took = time.monotonic() - began
    assert took < LIMIT_S
    assert _status(data, "openai") == status
    others = [p for p in data["providers"] if p["id"] != "openai"]
    assert {p["status"] for p in others} == {"healthy"}
    assert all(p["check"]["latency_ms"] < 2000 for p in others)
    assert data["overall_health"] == "degraded"


def test_dns_failure(omni: Omni, fleet: Path) -> None:
    _move(fleet, "openai", "http://no-such-host.invalid/v1")
    data = omni("health", "--check", "--json").data
    provider = next(p for p in data["providers"] if p["id"] == "openai")
    assert provider["status"] == "error"
    assert "no-such-host.invalid" in provider["reason"]


def test_tls_failure(omni: Omni, fleet: Path) -> None:
    """A server that speaks no TLS where TLS is spoken to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()
        thread = threading.Thread(target=_answer_plainly, args=(server, stop), daemon=True)
        thread.start()
        _move(fleet, "openai", f"https://127.0.0.1:{server.getsockname()[1]}/v1")
        data = omni("health", "--check", "--json").data
        stop.set()
        thread.join()
    provider = next(p for p in data["providers"] if p["id"] == "openai")
    assert provider["status"] == "error"
    assert "TLS" in provider["reason"]


def _answer_plainly(server: socket.socket, stop: threading.Event) -> None:
    server.settimeout(0.1)
    while not stop.is_set():
        try:
            peer, _ = server.accept()
        except (TimeoutError, ssl.SSLError, OSError):
            continue
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")


def _move(home: Path, slug: str, url: str) -> None:
    with App({"OMNI_HOME": str(home), "USER": "tester"}) as app:
        provider = app.providers.get(slug)
        assert provider is not None
        app.fleet.put_provider(replace(provider, base_url=url))


def test_checks_together_are_news_once(omni: Omni, fleet: Path, sim: Simulator) -> None:
    """Who is told of the first finds all in the store."""
    sim.fault("500", "anthropic/*")
    with App({"OMNI_HOME": str(fleet), "USER": "tester"}) as app:
        told = {
            slug: (check.ok, set(app.windows.checks()))
            for slug, check in app.reporter.check(["openai", "anthropic"], together=True)
        }
    both = {"openai", "anthropic"}
    assert told == {"openai": (True, both), "anthropic": (False, both)}


@pytest.mark.parametrize("hours", [-3, 3])
def test_clock_skew(omni: Omni, fleet: Path, sim: Simulator, hours: int) -> None:
    """Calls dated by a clock that was hours off neither crash nor count as recent."""
    skewed = App(
        {"OMNI_HOME": str(fleet), "USER": "tester"}, clock=lambda: time.time() + hours * 3600
    )
    sim.fault("401", "openai/*")
    with skewed as app:
        for _ in app.reporter.check(["openai"]):
            pass
    sim.heal()
    data = omni("health", "--check", "--json").data
    assert data["overall_health"] == "healthy"
    assert _status(data, "openai") == "healthy"


@pytest.mark.parametrize(
    ("fault", "status"),
    [("500", "error"), ("429:0", "error"), ("truncate", "error"), ("malformed", "error")],
)
def test_failing_calls_tell_without_any_check(
    omni: Omni, fleet: Path, sim: Simulator, fault: str, status: str
) -> None:
    """The first failure warns, the third in a row is an error."""
    omni("config", "set", "chat.max_retries", "0")
    sim.fault(fault, OPENAI)
    omni("chat", "-m", OPENAI, "-n", "hi")
    assert _status(omni("health", "--json").data, "openai") == "warning"
    for _ in range(2):
        omni("chat", "-m", OPENAI, "-n", "hi")
    data = omni("health", "--json").data
    provider = next(p for p in data["providers"] if p["id"] == "openai")
    assert provider["status"] == status
    assert provider["models"][0]["errors"]


def test_slow_tokens_warn(omni: Omni, fleet: Path, sim: Simulator) -> None:
    sim.fault("slow-tokens:9", OPENAI)
    for _ in range(3):
        assert omni("chat", "-m", OPENAI, "-n", "--max-tokens", "11", "tell me").code == 0
    data = omni("health", "--json").data
    provider = next(p for p in data["providers"] if p["id"] == "openai")
    assert provider["status"] == "warning"
    assert "tokens a second" in provider["reason"]


def test_what_a_check_finds_routing_knows(omni: Omni, fleet: Path, sim: Simulator) -> None:
    sim.fault("500", "openai/*")
    omni("health", "--check")
    route = omni("route", "hello", "--json").data
    mine = next(c for c in route["candidates"] if c["model"] == OPENAI)
    assert not mine["eligible"]
    assert "circuit breaker" in mine["reason"]
    sim.heal()
    omni("health", "--check")
    route = omni("route", "hello", "--json").data
    assert next(c for c in route["candidates"] if c["model"] == OPENAI)["eligible"]


def test_maintenance(omni: Omni, fleet: Path) -> None:
    assert omni("providers", "edit", "openai", "--maintenance").code == 0
    data = omni("health", "--check", "--json").data
    assert _status(data, "openai") == "maintenance"
    assert data["overall_health"] == "healthy"


# --- probes -------------------------------------------------------------------------------------


def test_probes_are_in_the_ledger_and_capped(omni: Omni, fleet: Path) -> None:
    assert omni("health", "--probe", OPENAI).code == 0
    rows = omni("logs", "--json").data
    rows = rows if isinstance(rows, list) else rows["requests"]
    assert [row["source"] for row in rows] == ["probe"]
    refused = omni("health", "--probe", OPENAI, "--probe-cap", "0.0000001")
    assert refused.code == 4
    assert "the cap is" in refused.err


# --- watch --------------------------------------------------------------------------------------


def test_watch_once_alerts_once(omni: Omni, fleet: Path, sim: Simulator) -> None:
    assert "error" not in omni("watch", "--once").out
    sim.fault("500", "openai/*")
    first = omni("watch", "--once")
    assert "openai error: " in first.out
    assert "openai error: " not in omni("watch", "--once").out  # told already
    sim.heal()
    assert "openai healthy: " in omni("watch", "--once").out


def test_watch_sees_others_failures_within_five_seconds(fleet: Path, sim: Simulator) -> None:
    """A running watch, and calls that fail in another process's store connection."""
    told: list[tuple[float, Alert]] = []
    done = threading.Event()
    env = {"OMNI_HOME": str(fleet), "USER": "tester"}

    def run() -> None:
        with App(env) as app:
            Watch(
                reporter=app.reporter,
                alerter=app.alerter(lambda alert: told.append((time.monotonic(), alert))),
                changed=app.store.data_version,
                seen=lambda _: None,
                note=lambda _: None,
                stop=done.is_set,
            ).run(3600)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        time.sleep(0.6)
        sim.fault("503", OPENAI)
        from omni_cli.domain.chat import ChatRequest, Message
        from omni_cli.domain.errors import OmniError
        from omni_cli.services.engine.chat_plan import ChatJob

        with App(env) as app:
            plan = app.chat.plan(
                ChatJob(ChatRequest((Message.text_of("user", "hi"),)), app.names.select(OPENAI))
            )
            plan = replace(plan, targets=(replace(plan.targets[0], max_retries=0),))
            run_ = app.chat.start(plan)
            failed = time.monotonic()
            with pytest.raises(OmniError):
                list(app.chat.chunks(run_))
        while not told and time.monotonic() - failed < LIMIT_S:
            time.sleep(0.05)
    finally:
        done.set()
        thread.join()
    assert told, "no alert within 5 s"
    at, alert = told[0]
    assert at - failed < LIMIT_S
    assert (alert.key, alert.level) == ("provider:openai", "warning")


def test_flapping_is_told_twice_and_the_last_word_is_true(fleet: Path) -> None:
    now = [1_800_000_000.0]
    told: list[str] = []
    with App({"OMNI_HOME": str(fleet), "USER": "t"}, clock=lambda: now[0]) as app:
        alerter = app.alerter(lambda alert: told.append(alert.level))

        def look(level: str, after_s: float) -> None:
            now[0] += after_s
            alerter.consider(Alert("provider:x", level, "x", "text"))
            alerter.finish()

        look("ok", 0)
        for level in ("error", "ok", "error", "ok", "error"):
            look(level, 60)
        assert told == ["error", "ok"]
        look("error", 1800)
        assert told == ["error", "ok", "error"]


class _Hook(BaseHTTPRequestHandler):
    got: list[tuple[dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    class Handler(_Hook):
        got: list[tuple[dict[str, str], bytes]] = []  # noqa: RUF012  # the handler is made by its server

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", Handler.got
    server.shutdown()
    server.server_close()


def test_webhook_is_signed_and_command_is_run(
    omni: Omni,
    fleet: Path,
    sim: Simulator,
    hook: tuple[str, list[tuple[dict[str, str], bytes]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    url, got = hook
    monkeypatch.setenv("OMNI_WEBHOOK_SECRET", "s3cret")
    omni("config", "set", "alerts.webhook", url)
    omni("config", "set", "alerts.command", f"cat > {tmp_path}/alert.json")
    sim.fault("500", "openai/*")
    assert omni("watch", "--once").code == 0
    headers, body = got[0]
    sent = json.loads(body)
    assert sent["alert"]["key"] == "provider:openai"
    assert sent["text"] == sent["content"]
    stamp = headers["x-omni-timestamp"]
    expected = hmac.new(b"s3cret", stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["x-omni-signature"] == f"sha256={expected}"
    assert signature("s3cret", stamp, body) == f"sha256={expected}"
    assert json.loads((tmp_path / "alert.json").read_text())["level"] == "error"


def test_budgets_are_told_once_a_threshold(
    omni: Omni,
    fleet: Path,
    hook: tuple[str, list[tuple[dict[str, str], bytes]]],
) -> None:
    url, got = hook
    omni("config", "set", "alerts.webhook", url)
    assert omni("budgets", "set", "all", "0.003", "--per", "day").code == 0
    ask = ("chat", "-m", "openai/gpt-4o", "--max-tokens", "60", "Write a hundred words about tea.")

    def told() -> list[str]:
        omni("watch", "--once")
        keys = [json.loads(body)["alert"]["key"] for _, body in got]
        return [key for key in keys if key.startswith("budget:")]

    assert told() == []
    levels = set[str]()
    while omni(*ask).code == 0:
        seen = told()
        assert len(seen) == len(set(seen))
        levels |= {key.rpartition(":")[2] for key in seen}
    assert levels >= {"50"}
    before = len(told())
    with App({"OMNI_HOME": str(fleet)}) as app, app.store.transaction() as db:
        db.execute("UPDATE budget_periods SET spent_nusd = 3000000")
    assert told()[-1].endswith(":stop")
    assert len(told()) == before + 1


def test_unreachable_webhook_is_said_and_hides_its_address(
    omni: Omni, fleet: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNI_WEBHOOK", "http://127.0.0.1:9/services/T0/SECRET")
    sim.fault("500", "openai/*")
    ran = omni("watch", "--once")
    assert "alert not sent to webhook: 127.0.0.1 cannot be reached" in ran.err
    assert "SECRET" not in ran.err + ran.out


def test_watch_probes_within_its_cap(omni: Omni, fleet: Path) -> None:
    first = omni("watch", "--once", "--probe", OPENAI)
    assert first.code == 0
    assert [row["source"] for row in _requests(omni)] == ["probe"]
    capped = omni("watch", "--once", "--probe", OPENAI, "--probe-cap", "0")
    assert f"no probe of {OPENAI}" in capped.out
    assert len(_requests(omni)) == 1


def _requests(omni: Omni) -> list[dict[str, object]]:
    data = omni("logs", "--json").data
    return data if isinstance(data, list) else data["requests"]


def test_desktop_notifications(
    omni: Omni, fleet: Path, sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "notify-send"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/told\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("DISPLAY", ":0")
    sim.fault("500", "openai/*")
    omni("watch", "--once")
    told = (tmp_path / "told").read_text().splitlines()
    assert told[:4] == ["--app-name=omni", "--urgency=critical", "--", "openai error"]


def test_webhooks_speak_their_hosts_language() -> None:
    alert = Alert("provider:x", "error", "x error", "down", 0)

    def body(url: str) -> dict[str, object]:
        sent: dict[str, object] = json.loads(Webhook(url, None, clock=time.time).body(alert))
        return sent

    line = "🔴 x error: down"
    assert body("https://hooks.slack.com/services/T/B/X") == {"text": line}
    assert body("https://discord.com/api/webhooks/1/x") == {"content": line}
    assert set(body("https://example.com/hook")) == {"text", "content", "alert"}
    with pytest.raises(UsageError):
        Webhook("file:///etc/passwd", None, clock=time.time)


def test_service_files(
    omni: Omni, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    ran = omni("watch", "--install", "--interval", "60")
    unit = tmp_path / ".config/systemd/user/omni-watch.service"
    assert f"ExecStart={__import__('sys').executable} -m omni_cli watch --interval 60" in (
        unit.read_text()
    )
    assert f"Environment=OMNI_HOME={fleet}" in unit.read_text()
    assert "nothing was started" in ran.out
    assert "systemctl --user enable --now omni-watch.service" in ran.out
    ran = omni("watch", "--uninstall")
    assert "systemctl --user disable --now omni-watch.service" in ran.out
    assert not unit.exists()

    monkeypatch.setattr("sys.platform", "darwin")
    omni("watch", "--install")
    made = plistlib.loads((tmp_path / "Library/LaunchAgents/dev.omni.watch.plist").read_bytes())
    assert made["ProgramArguments"][1:4] == ["-m", "omni_cli", "watch"]
    assert made["EnvironmentVariables"]["OMNI_HOME"] == str(fleet)


def test_report_reads_a_full_window_quickly(fleet: Path) -> None:
    """Twenty times the attempts in the window cost not much more than twenty times as much."""
    with App({"OMNI_HOME": str(fleet), "USER": "t"}) as app:
        now = app.now_ms()

        def attempts(first: int, last: int) -> None:
            rows = [(make_id(now - 10 * n, n), now - 10 * n) for n in range(first, last)]
            with app.store.transaction() as db:
                db.executemany(
                    "INSERT INTO requests (id, created_at, state, source, settled_at)"
                    " VALUES (?1, ?2, 'ok', 'chat', ?2)",
                    rows,
                )
                db.executemany(
                    "INSERT INTO attempts (request, n, model, provider, state, started_at,"
                    " first_at, ended_at, output_tokens)"
                    " VALUES (?1, 1, 'openai/gpt-4o', 'openai', 'ok', ?2 - 500, ?2 - 300, ?2, 50)",
                    rows,
                )

        attempts(0, 1_000)
        few = cpu_s(app.reporter.report)
        attempts(1_000, 20_000)
        report = app.reporter.report()
        many = cpu_s(app.reporter.report)
    assert many < 60 * few
    mine = next(p for p in report.providers if p.provider.slug == "openai")
    assert mine.health.window.calls == 20_000
    assert {p.provider.slug for p in report.providers} == set(SLUGS)
    assert len([m for p in report.providers for m in p.models]) == len(MODELS)


def test_the_wait_for_a_slot_is_told_everywhere(omni: Omni, fleet: Path) -> None:
    """Another process has the only slot, and gives it up once the command waits."""
    assert omni("providers", "edit", "openai", "--max-concurrency", "1").code == 0
    with App({"OMNI_HOME": str(fleet), "USER": "other"}) as other:
        request = make_id(other.now_ms(), 7)
        other.ledger.open(NewRequest(request, other.now_ms(), "chat", other.ledger.owner), None)
        attempt = NewAttempt(request, 1, OPENAI, "openai", other.now_ms(), 10)
        begin(other.ledger, attempt)
        seen: list[str] = []

        def give_up() -> None:
            end = time.monotonic() + 20
            while not other.windows.slots(0)["openai"].waiting and time.monotonic() < end:
                time.sleep(0.005)
            seen.append(other.metrics.text())
            ended = AttemptEnd("unsent", other.now_ms(), cost_nusd=0)
            other.ledger.end_attempt(request, 1, ended, priced=None)
            other.ledger.end_request(request, RequestEnd("failed", other.now_ms()))

        thread = threading.Thread(target=give_up)
        thread.start()
        assert omni("chat", "-m", OPENAI, "Is all well?").code == 0
        thread.join()
    assert 'omni_slots_waiting{gen_ai_provider_name="openai"} 1' in seen[0]
    (attempt_shown,) = omni("why", "last", "--json").data["attempts"]
    assert attempt_shown["waited_ms"] >= 1
    assert "for a slot" in omni("why", "last").out
    told = omni("health").out
    assert "openai: 0 wait for one of 1 slots; 1 waited in the last hour" in told
    slots = next(
        p["slots"] for p in omni("health", "--json").data["providers"] if p["id"] == "openai"
    )
    assert (slots["limit"], slots["in_use"], slots["waited_last_hour"]) == (1, 0, 1)
    assert omni("providers", "edit", "openai", "--max-concurrency", "none").code == 0
    assert "max concurrency  no limit" in omni("providers", "show", "openai").out
    assert omni("providers", "edit", "openai", "--max-concurrency", "0").code == 2

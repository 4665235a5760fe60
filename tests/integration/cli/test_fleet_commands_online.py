"""Providers, keys, init and doctor against the simulator: real calls over loopback."""

import os
import pty
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.providers.finding import listening, local_presets
from omni_cli.services.fleet import connection_test
from omni_cli.simulator import Simulator
from omni_cli.simulator.fleet import served
from tests.integration.cli.conftest import Omni
from tests.paths import REPO

KEY = "sk-planted-0123456789abcdefXYZW"
CLOSED = "http://127.0.0.1:9/v1"


def add(omni: Omni, sim: Simulator, slug: str = "openai", *options: str, stdin: str = "") -> None:
    done = omni("providers", "add", slug, "--base-url", sim.base_url(slug), *options, stdin=stdin)
    assert done.code == 0, done.err


# --- providers ------------------------------------------------------------------------------


def test_a_known_provider_needs_no_more_than_its_name(omni: Omni, monkeypatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    row = omni("providers", "add", "google", "--json").data
    assert row["protocol"] == "gemini"
    assert row["base_url"] == "https://generativelanguage.googleapis.com/v1beta"
    assert (row["key"], row["key_masked"]) == ("env:GOOGLE_API_KEY", "sk-...XYZW")
    assert row["models_total"] > 10
    without = omni("providers", "add", "anthropic")
    assert "set ANTHROPIC_API_KEY, or: omni keys set anthropic < FILE" in without.err


def test_a_provider_has_these_keys(omni: Omni) -> None:
    omni("providers", "add", "openai")
    (row,) = omni("providers", "list", "--json").data
    assert set(row) == {
        "slug", "name", "protocol", "base_url", "auth_method", "key_env", "key", "key_masked",
        "enabled", "status", "health", "health_reason", "max_concurrency", "simulated",
        "headers", "models_active", "models_total", "tested_at", "latency_ms", "last_error",
        "base_url_from",
    }  # fmt: skip
    assert set(omni("providers", "show", "openai", "--json").data) == {*row, "models"}
    assert (row["health"], row["health_reason"]) == ("error", "no key")
    assert " error " in omni("providers", "list").out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("new",), "no provider that omni knows"),
        (("new", "--protocol", "smoke", "--base-url", CLOSED), "unknown protocol"),
        (("New!", "--protocol", "openai", "--base-url", CLOSED), "cannot name a provider"),
        (("new", "--protocol", "openai", "--base-url", "host/v1"), "no base URL"),
        (("new", "--protocol", "openai", "--base-url", f"https://a.b/?key={KEY}"), "no base URL"),
        (("openai", "--key-env", KEY), "name of a variable"),
        (("openai", "--header", f"x-extra={KEY}"), "looks like a secret"),
        (("openai", "--header", "Authorization=abc"), "looks like a secret"),
        (("openai", "--header", "nothing"), "NAME=VALUE"),
        (("openai", "--key-env", "A", "--no-auth"), "exclude each other"),
        (("openai", "--key-stdin"), "no key on stdin"),
        (("openai", "--max-concurrency", "0"), "max-concurrency"),
    ],
)
def test_mistakes_are_refused_and_repeat_no_secret(
    omni: Omni, options: tuple[str, ...], words: str
) -> None:
    refused = omni("providers", "add", *options)
    assert refused.code == 2
    assert words in refused.err
    assert KEY not in refused.err
    assert omni("providers", "list", "--json").data == []


def test_adding_again_is_no_error_unless_something_differs(omni: Omni) -> None:
    assert omni("providers", "add", "openai").code == 0
    assert omni("providers", "add", "openai").out.startswith("kept openai")
    other = omni("providers", "add", "openai", "--base-url", "https://elsewhere.example/v1")
    assert other.code == 2
    assert "omni providers edit openai" in other.err
    assert len(omni("history", "--json").data) == 1


def test_edit_enable_disable_and_remove(omni: Omni, sim: Simulator) -> None:
    add(omni, sim, "openai", "--no-auth")
    edited = omni(
        "providers", "edit", "openai", "--max-concurrency", "2", "--name", "Mine",
        "--header", "x-team=blue", "--maintenance", "--json",
    ).data  # fmt: skip
    assert (edited["max_concurrency"], edited["name"]) == (2, "Mine")
    assert (edited["headers"], edited["status"]) == (["x-team"], "maintenance")
    tested = omni("providers", "test", "openai", "--json").data
    assert (tested["ok"], omni("providers", "show", "openai", "--json").data["status"]) == (
        True,
        "maintenance",
    )
    omni("providers", "disable", "openai")
    assert omni("providers", "list", "--json").data[0]["enabled"] is False
    omni("providers", "enable", "openai")
    omni("models", "add", "openai/gpt-4o")
    omni("roles", "assign", "primary_coder", "gpt-4o")
    assert "role primary_coder" in omni("providers", "remove", "openai").err
    omni("roles", "remove", "primary_coder")
    assert omni("providers", "remove", "openai").code == 0
    assert omni("providers", "show", "openai").code == 1


# --- keys -----------------------------------------------------------------------------------


def test_a_key_is_stored_masked_and_found_nowhere_else(
    omni: Omni, home: Path, sim: Simulator
) -> None:
    add(omni, sim, "openai", "--key-stdin", stdin=KEY + "\n")
    shown = [
        omni("providers", "key", "openai", "--show"),
        omni("providers", "show", "openai", "--json"),
        omni("providers", "list", "--json"),
        omni("keys", "list", "--json"),
        omni("providers", "test", "openai"),
        omni("audit", "--json"),
        omni("history", "1"),
        omni("doctor", "--json"),
    ]
    assert "sk-...XYZW" in shown[0].out
    assert shown[3].data == [
        {"provider": "openai", "key": "file", "key_masked": "sk-...XYZW", "in_fleet": True}
    ]
    for ran in shown:
        assert KEY not in ran.out + ran.err
        assert KEY[:-4] not in ran.out + ran.err
    for file in home.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file
            assert file.stat().st_mode & 0o077 == 0 or file.name == "config.toml", file


def test_keys_can_be_set_before_the_provider_and_deleted(omni: Omni) -> None:
    assert omni("keys", "set", "groq", stdin=KEY).code == 0
    assert omni("keys", "list", "--json").data[0]["in_fleet"] is False
    assert omni("providers", "add", "groq", "--json").data["key"] == "file"
    assert omni("keys", "delete", "groq").code == 0
    assert omni("providers", "show", "groq", "--json").data["key"] is None
    assert omni("keys", "delete", "groq").code == 1
    assert omni("keys", "set", "groq").code == 2


# --- testing a connection -------------------------------------------------------------------


def test_a_test_reports_latency_and_is_limited_across_processes(omni: Omni, sim: Simulator) -> None:
    """A3: an unbilled call, at most one in 5 s."""
    add(omni, sim, "openai", "--no-auth")
    tested = omni("providers", "test", "openai", "--json")
    assert tested.code == 0
    assert tested.data["ok"] is True
    assert tested.data["status"] == "connected"
    assert tested.data["models"] == len(served("openai", "openai"))
    assert 0 <= tested.data["latency_ms"] < 5_000
    assert sim.answered() == []  # no chat: nothing that a provider bills
    again = omni("providers", "test", "openai")
    assert again.code == 5
    assert "wait" in again.err
    shown = omni("providers", "show", "openai", "--json").data
    assert (shown["status"], shown["latency_ms"]) == ("connected", tested.data["latency_ms"])
    assert shown["tested_at"].endswith("Z")


def test_of_four_that_ask_at_once_one_may_test(home: Path) -> None:
    claims: list[float] = []
    gate = threading.Barrier(4)

    def claim() -> None:
        with App() as app:
            tester = app.tester
            gate.wait()
            claims.append(tester._claim("openai"))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims)[0] == 0
    assert all(4 < wait <= 5 for wait in sorted(claims)[1:])


def test_failures_carry_the_providers_words_and_their_exit_code(omni: Omni) -> None:
    with Simulator(key=KEY) as sim:
        add(omni, sim, "anthropic", "--key-stdin", stdin="sk-wrong-0123456789abcdef")
        wrong = omni("providers", "test", "anthropic", "--json")
        assert wrong.code == 3
        assert wrong.data["error"]["code"] == "auth"
        assert "invalid x-api-key" in wrong.data["error"]["message"]
    omni("providers", "add", "dead", "--protocol", "openai", "--base-url", CLOSED, "--no-auth")
    dead = omni("providers", "test", "dead")
    assert dead.code == 5
    assert "Nothing listens at 127.0.0.1" in dead.out
    statuses = {r["slug"]: r["status"] for r in omni("providers", "list", "--json").data}
    assert statuses == {"anthropic": "error", "dead": "error"}
    omni("providers", "add", "groq")
    assert omni("providers", "test", "groq").code == 3  # no key


def test_all_are_tested_at_once_and_a_slow_one_holds_up_nobody(
    omni: Omni, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug in ("openai", "anthropic", "deepseek", "ollama"):
        add(omni, sim, slug, "--no-auth")
    sim.fault("slow-first:0.3", "*")
    started = time.monotonic()
    results = omni("providers", "test", "--all", "--json")
    assert time.monotonic() - started < 1.1  # one after the other would take 1.2 s
    assert results.code == 0
    assert [row["provider"] for row in results.data] == [
        "anthropic", "deepseek", "ollama", "openai",
    ]  # fmt: skip
    skipped = omni("providers", "test", "--all", "--json")
    assert skipped.code == 0
    assert all(row["skipped"] and row["wait_s"] > 0 for row in skipped.data)


def test_a_passed_test_and_a_new_key_close_the_breaker(
    omni: Omni, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_test, "INTERVAL_S", 0.0)
    add(omni, sim, "openai", "--no-auth")

    def breaker() -> str | None:
        with App() as app:
            return app.breakers.get("openai")

    def trip() -> None:
        from omni_cli.domain.breaker import Breaker

        with App() as app:
            now = app.now_ms()
            state = Breaker()
            for _ in range(20):
                state = state.on_failure(now, "connection", started_ms=now)
            app.breakers.update("openai", lambda _: state.to_json(), now_ms=now)
            assert not state.allows(now)

    trip()
    tripped = breaker()
    assert "openai" in omni("doctor").out
    assert omni("providers", "test", "openai").code == 0
    assert breaker() != tripped
    trip()
    assert omni("providers", "key", "openai", "--stdin", stdin=KEY).code == 0
    assert breaker() != tripped


def test_models_served_now_are_listed_and_added_on_standby(omni: Omni, sim: Simulator) -> None:
    done = omni(
        "providers", "add", "mine", "--protocol", "openai", "--base-url", f"{sim.url}/mine/v1"
    )
    assert done.code == 0
    rows = omni("providers", "models", "mine", "--json").data
    assert rows
    assert not any(row["known"] for row in rows)
    assert omni("providers", "models", "mine", "--add").code == 0
    rows = omni("providers", "models", "mine", "--json").data
    assert all(row["known"] and row["status"] == "standby" for row in rows)
    assert len(omni("history", "--json").data) == 2
    omni("providers", "add", "google-vision", "--key-env", "NO_SUCH")
    assert omni("providers", "models", "google-vision").code == 3


# --- init -----------------------------------------------------------------------------------


@pytest.fixture
def keys(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, KEY)


INIT = ("init", "--no-local")


def test_init_without_anything_says_what_to_type(omni: Omni) -> None:
    nothing = omni(*INIT)
    assert nothing.code == 3
    for words in ("export ANTHROPIC_API_KEY=", "--key-stdin", "ollama pull", "omni demo"):
        assert words in nothing.out
    failed = omni(*INIT, "--json")
    assert failed.code == 3
    assert failed.data["error"]["code"] == "config"


@pytest.mark.usefixtures("keys")
def test_init_changes_nothing_unasked(omni: Omni) -> None:
    for args in (("--dry-run",), ("--json",)):
        assert omni(*INIT, *args).code == 0
    unasked = omni(*INIT)
    assert unasked.code == 2
    assert "omni init --yes" in unasked.err
    assert omni("providers", "list", "--json").data == []
    assert omni("history", "--json").data == []


@pytest.mark.usefixtures("keys")
def test_init_sets_up_a_fleet_as_one_revision_and_again_changes_nothing(
    omni: Omni, home: Path
) -> None:
    done = omni(*INIT, "--yes", "--json").data
    assert done["applied"] is True
    assert done["providers"] == ["anthropic", "openai"]
    by_provider: dict[str, list[str]] = {}
    for row in done["models"]:
        by_provider.setdefault(row["model"].split("/")[0], []).append(row["tier"])
        assert row["quality"] is not None
    assert by_provider == {slug: ["best", "balanced", "cheap"] for slug in by_provider}
    for slug in by_provider:
        prices = [float(r["average_usd_per_1m"]) for r in done["models"] if slug in r["model"]]
        assert prices == sorted(prices, reverse=True)
    active = {row["id"]: row for row in omni("models", "list", "--json").data}
    assert set(active) == {row["model"] for row in done["models"]}
    assert all(row["retired_on"] is None for row in active.values())
    assert {"primary_coder", "general_assistant", "heartbeat", "photo_analysis"} <= set(
        done["roles"]
    )
    photo = done["roles"]["photo_analysis"][0]
    assert "vision" in active[photo]["badges"]
    cheapest = min(done["models"], key=lambda row: float(row["average_usd_per_1m"]))
    assert done["roles"]["heartbeat"][0] == cheapest["model"]
    links = [link["model"].split("/")[0] for link in done["chain"]["links"]]
    assert sorted(links) == ["anthropic", "openai"]  # the next one is of another provider
    assert done["premium_model"] in active
    assert omni("config", "get", "general.premium_model").out.strip() == done["premium_model"]
    assert len(omni("history", "--json").data) == 1
    again = omni(*INIT, "--yes", "--json").data
    assert (again["providers"], again["models"], again["roles"], again["chain"]) == (
        [],
        [],
        {},
        None,
    )
    assert again["premium_model"] is None
    assert len(omni("history", "--json").data) == 1
    assert "nothing to change" in omni(*INIT).out
    for file in home.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()


@pytest.mark.usefixtures("keys")
def test_init_names_the_premium_model_and_takes_another(omni: Omni) -> None:
    shown = omni(*INIT, "--dry-run")
    assert "savings are counted against it" in shown.out
    omni(*INIT, "--yes", "--premium", "claude-haiku")
    chosen = omni("config", "get", "general.premium_model").out.strip()
    assert chosen == "anthropic/claude-3-haiku-20240307"


@pytest.mark.usefixtures("keys")
def test_init_adds_to_what_the_user_chose_and_overrides_none_of_it(omni: Omni) -> None:
    omni("providers", "add", "openai")
    omni("models", "add", "openai/gpt-4o-mini")
    omni("roles", "assign", "primary_coder", "gpt-4o-mini")
    done = omni(*INIT, "--yes", "--json").data
    assert done["providers"] == ["anthropic"]
    assert not any(row["model"].startswith("openai/") for row in done["models"])
    assert "primary_coder" not in done["roles"]
    role = omni("roles", "show", "primary_coder", "--json").data
    assert [item["model"] for item in role["models"]] == ["openai/gpt-4o-mini"]


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("answers", "premium"),
    [("n\n", None), ("y\n\n", "proposed"), ("\nnone\n", ""), ("y\nclaude-haiku\n", "chosen")],
)
def test_init_asks_on_a_terminal(omni: Omni, answers: str, premium: str | None) -> None:
    proposed = omni(*INIT, "--json").data["premium_model"]
    shown = _on_a_terminal(answers, *INIT)
    assert "Set it up? [Y/n]" in shown
    assert ("Premium model" in shown) == (premium is not None)
    assert ("nothing was changed" in shown) == (premium is None)
    assert len(omni("providers", "list", "--json").data) == (0 if premium is None else 2)
    chosen = {"proposed": proposed, "chosen": "anthropic/claude-3-haiku-20240307"}
    wanted = chosen.get(premium or "", "")
    assert omni("config", "get", "general.premium_model").out.strip() == wanted


def _on_a_terminal(answers: str, *args: str) -> str:
    """What a person sees who types ``answers``."""
    person, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "omni_cli", *args],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    os.close(terminal)
    os.write(person, answers.encode())
    shown = b""
    while True:
        try:
            piece = os.read(person, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(person)
    assert process.wait(timeout=60) == 0, shown.decode()
    return shown.decode()


def test_init_finds_a_local_server_and_its_models(
    omni: Omni, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{sim.port}")
    done = omni("init", "--yes", "--json").data
    found = {row["provider"]: row for row in done["found"]}
    assert found["ollama"]["served"] == ["llama3.1:70b", "mistral:7b"]
    rows = {row["id"]: row for row in omni("models", "list", "--json").data}
    for name in ("ollama/llama3.1:70b", "ollama/mistral:7b"):
        assert rows[name]["status"] == "active"
        assert rows[name]["price"]["state"] == "free"
    assert done["premium_model"] is None  # nothing there costs anything
    assert omni("providers", "list", "--json").data[0]["auth_method"] == "none"


def test_init_can_test_what_it_added(
    omni: Omni, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", f"http://127.0.0.1:{sim.port}")
    assert "ollama         ok" in omni("init", "--yes", "--test").out


def test_looking_for_local_servers_is_quick_and_not_fooled() -> None:
    started = time.monotonic()
    assert listening({"a": "http://127.0.0.1:9", "b": "http://192.0.2.1:80"}) == []
    assert time.monotonic() - started < 0.8
    for host, url in {
        "": "http://127.0.0.1:11434",
        "0.0.0.0": "http://127.0.0.1:11434",
        "box:1234": "http://box:1234",
        "https://box": "https://box:443",
        "http://box/ollama": "http://box:80/ollama",
        "[::1]:5": "http://[::1]:5",
    }.items():
        assert local_presets({"OLLAMA_HOST": host})["ollama"] == url


# --- doctor ---------------------------------------------------------------------------------


def checks(omni: Omni, *args: str) -> dict[str, dict]:
    ran = omni("doctor", "--json", *args)
    assert ran.code == (0 if ran.data["ok"] else 1)
    return {check["name"]: check for check in ran.data["checks"]}


def test_doctor_finds_a_fresh_installation_well(omni: Omni) -> None:
    found = checks(omni)
    assert found["store"]["state"] == "ok"
    assert found["providers"]["hint"].startswith("omni init")
    assert all(check["state"] != "fail" for check in found.values())
    assert {"sqlite", "settings", "time zone", "disk", "permissions", "catalogue"} <= set(found)


def test_doctor_names_missing_keys_prices_and_models(omni: Omni, home: Path) -> None:
    omni("providers", "add", "openai")
    found = checks(omni)
    assert found["provider openai"]["state"] == "warn"
    assert "OPENAI_API_KEY" in found["provider openai"]["hint"]
    assert found["models"]["state"] == "warn"
    omni("models", "add", "openai/no-price")
    (home / "omni.db").chmod(0o644)
    found = checks(omni)
    assert "openai/no-price" in found["prices"]["message"]
    assert "savings are unknown" in found["premium model"]["message"]
    assert found["permissions"]["state"] == "warn"
    assert "chmod go-rwx" in found["permissions"]["hint"]


def test_doctor_survives_what_is_broken_and_fails(omni: Omni, home: Path) -> None:
    (home / "config.toml").write_text("[general\n")
    found = checks(omni)
    assert found["settings"]["state"] == "fail"
    (home / "config.toml").unlink()
    with sqlite3.connect(home / "omni.db") as db:
        db.execute("INSERT INTO audit (at, who, action, target, previous_hash, hash)"
                   " VALUES (1, 'x', 'y', 'z', 'no', 'no')")  # fmt: skip
    db.close()
    assert checks(omni)["audit log"]["state"] == "fail"
    (home / "omni.db").write_bytes(b"not a database, but long enough to be looked at" * 200)
    for extra in ("-wal", "-shm"):
        Path(f"{home / 'omni.db'}{extra}").unlink(missing_ok=True)
    found = checks(omni)
    assert found["store"]["state"] == "fail"
    assert "damaged" in found["store"]["message"]


def test_doctor_online_asks_every_provider(omni: Omni, sim: Simulator) -> None:
    add(omni, sim, "openai", "--no-auth")
    omni("providers", "add", "dead", "--protocol", "openai", "--base-url", CLOSED, "--no-auth")
    assert not any(name.startswith("test ") for name in checks(omni))
    found = checks(omni, "--online")
    assert found["test openai"]["state"] == "ok"
    assert found["test dead"]["state"] == "fail"


def test_keys_say_what_a_user_would_not_expect(
    omni: Omni, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = omni("keys", "set", "openai", stdin=f'"{KEY}"\r\n')
    assert "the quotes around the key were left out" in ran.err
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    ran = omni("keys", "set", "openai", stdin=KEY)
    assert "OPENAI_API_KEY is set and comes before a stored key" in ran.err
    broken = omni("keys", "set", "openai", stdin="sk-abc def")
    assert broken.code == 3
    assert "sk-abc" not in broken.err
    made = omni("keys", "create", "app", "--budget", "5")
    assert "shown this once" in made.err
    assert made.out.strip() not in made.err
    assert "client keys of the gateway: 1; omni keys list --clients" in omni("keys", "list").err
    assert "its budget stays" in omni("keys", "revoke", "app").err
    assert "client keys of the gateway: none" in omni("keys", "list").err

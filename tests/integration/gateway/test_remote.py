"""``omni --remote``: a gateway's fleet from any terminal, with a key of scope (G6)."""

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import typer

from omni_cli.cli.app import app, main
from omni_cli.domain.commands import (
    DENIED,
    LOCAL,
    ORGANISATION,
    READS_STDIN,
    REMOTE,
    SCREENS,
    named,
    spelled,
)
from omni_cli.records import SCOPES, ClientKey
from omni_cli.simulator import Simulator
from omni_cli.store.gateway_keys import GatewayKeyStore
from tests.gateway_server import Served, serving


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Omni = Callable[..., Ran]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Simulator(seed=5) as sim, serving(tmp_path_factory.mktemp("far"), sim) as found:
        store = GatewayKeyStore(found.app.store)
        for name, scope, org in (
            *((scope, scope, "") for scope in SCOPES), ("acme", "admin", "acme"), ("plain", "", "")
        ):  # fmt: skip
            made = ClientKey(name=name, shown="omni-...", created_at=1, scope=scope, org=org)
            store.add(made, f"omni-{name}")
        time.sleep(0.5)
        yield found


@pytest.fixture
def omni(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Omni:
    """Runs a command far away, from a machine without a fleet of its own."""
    monkeypatch.setenv("OMNI_HOME", str(tmp_path))
    monkeypatch.setenv("OMNI_REMOTE", served.url)

    def run(*args: str, key: str = "admin", stdin: str = "") -> Ran:
        monkeypatch.setenv("OMNI_REMOTE_KEY", f"omni-{key}")
        monkeypatch.setattr("sys.argv", ["omni", *args])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Ran(int(left.value.code or 0), said.out, said.err)

    return run


def test_the_same_as_on_the_gateways_machine(
    served: Served, omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Well?"}]}
    headers = {"authorization": "Bearer omni-plain"}
    path = f"{served.url}/v1/chat/completions"
    assert httpx.post(path, json=asked, headers=headers, trust_env=False).status_code == 200
    served.settle(1)
    for args in (
        ("models", "list", "--json"),
        ("providers", "list", "--json"),
        ("usage", "--json"),
        ("why", "last", "--json"),
        ("daily", "--json"),
        ("batches", "list", "--json"),
        ("roles", "list"),
    ):
        far = omni(*args)
        assert far.code == 0, far
        with monkeypatch.context() as here:
            here.setenv("OMNI_HOME", str(served.home))
            near = omni("--remote", "", *args)
        assert far.out == near.out
    assert omni("blocks", "--json").data["blocks"]
    assert "--live does not work from afar" in omni("blocks", "--live").err
    kept = served.home / "kept"
    for option in (("-o", str(kept)), (f"-o{kept}",), (f"--output={kept}",)):
        assert "does not work from afar" in omni("report", *option, key="read").err
    assert not kept.exists()


def test_changes_are_made_there_and_audited_with_the_key(served: Served, omni: Omni) -> None:
    for args in (
        ("budgets", "set", "all", "50"),
        ("models", "price", "openai/gpt-4o", "--price-in", "2.5", "--price-out", "10"),
        ("roles", "assign", "reviewer", "openai/gpt-4o"),
        ("providers", "disable", "moonshot"),
        ("keys", "create", "for-a-friend", "--scope", "read"),
    ):
        ran = omni(*args)
        assert ran.code == 0, ran
    assert omni("roles", "list", "--json").data[-1]["name"] in ("heartbeat", "reviewer")
    whos = {entry.who for entry in served.app.audit.entries(limit=5)}
    assert whos == {"key admin"}
    kept = omni("keys", "set", "openai", stdin="sk-a-key-from-afar-9876\n")
    assert kept.code == 0, kept
    assert "9876" not in kept.out + kept.err
    listed = omni("keys", "list", "--json")
    assert "sk-a-key-from-afar" not in listed.out
    assert {row["provider"] for row in listed.data} >= {"openai"}


def test_a_scope_bounds_what_a_key_may(served: Served, omni: Omni) -> None:
    before = served.app.fleet.document()
    for key, args in (
        ("read", ("models", "disable", "openai/gpt-4o")),
        ("read", ("recommend", "apply", "1")),
        ("read", ("recommend", "--all", "apply", "1")),
        ("operate", ("budgets", "set", "all", "1")),
        ("plain", ("models", "list")),
        ("nobody", ("models", "list")),
    ):
        ran = omni(*args, key=key)
        assert ran.code in (2, 3), (key, args, ran)
        assert ran.out == ""
    assert "scope" in omni("models", "disable", "openai/gpt-4o", key="read").err
    assert omni("models", "standby", "openai/gpt-4o-mini", key="operate").code == 0
    assert omni("models", "activate", "openai/gpt-4o-mini", key="operate").code == 0
    assert served.app.fleet.document() == before


def test_an_organisations_key_has_its_own_fleet(served: Served, omni: Omni) -> None:
    made = omni("providers", "add", "openai", "--base-url", served.sim.url, "--no-auth", key="acme")
    assert made.code == 0, made
    listed = omni("providers", "list", "--json", key="acme").data
    assert "openai@acme" in {row["slug"] for row in listed}
    assert "openai@acme" not in omni("providers", "list").out
    # Whose key is of no organisation may work for one.
    assert "openai@acme" in omni("--org", "acme", "providers", "list").out
    assert omni("--org", "globex", "providers", "list", key="acme").code != 0
    for args in (("logs",), ("recommend",), ("budgets", "held"), ("audit",)):
        ran = omni(*args, key="acme")
        assert ran.code in (2, 3), ran
        assert "of the whole fleet" in ran.err


@pytest.mark.parametrize(
    "args",
    [("chat", "hello"), ("config", "set", "alerts.command", "x"),
     ("fleet", "export", "--output", "x"), ("models", "update", "--file", "x"),
     *((*name.split(), "x") for name in LOCAL if name not in ("help", "version", "completion",
                                                              "__complete"))],
)  # fmt: skip
def test_what_cannot_be_done_from_afar_says_so(
    omni: Omni, tmp_path: Path, args: tuple[str, ...]
) -> None:
    """And why; nothing falls through to the fleet of the machine where it is typed."""
    ran = omni(*args)
    assert ran.code == 2, ran
    assert "on this machine's own fleet only" in ran.err
    assert any(why in ran.err for why in LOCAL.values()), ran.err
    assert not list(tmp_path.iterdir())


def test_every_command_is_known_to_work_from_afar_or_not(omni: Omni, tmp_path: Path) -> None:
    found = {*dict(_commands(typer.main.get_command(app)))}
    spoken = {name for name in REMOTE if name in ("session stop", "session resume")}
    assert found | spoken == REMOTE.keys() | LOCAL.keys() | SCREENS
    assert not REMOTE.keys() & LOCAL.keys()
    # Screens need a terminal; without one omni alone is its help, as on its own machine.
    assert "needs a terminal" in omni("dash").err
    assert "Usage" in omni().out
    assert not (tmp_path / "omni.db").exists()
    ran = omni("session", "--json")
    assert ran.code == 0, ran
    assert omni("route", "Write a haiku", "--json").data["model"]
    assert "does not work from afar" in omni("route", "--file", "x").err
    assert omni("session", "stop", "nobody", key="read").code in (2, 3)
    assert omni("session", "--json", "stop", "nobody", key="operate").code == 2


def test_what_does_not_exist_or_stands_behind_the_command_is_said_so(omni: Omni) -> None:
    for args in (("nosuch",), ("models", "lst"), ("config", "shwo")):
        ran = omni(*args)
        assert (ran.code, "No such command" in ran.err) == (2, True), ran
    asked = omni("chat", "my secret plan")
    assert "secret" not in asked.err
    for args in (("models", "list", "--org", "a"), ("chat", "--remote", "http://x", "hi")):
        ran = omni("--remote", "", *args)
        assert (ran.code, "it goes before the command: omni --" in ran.err) == (2, True), ran
    assert "OMNI_REMOTE_KEY" in omni("models", "list", key="nobody").err
    assert "omni serve" in omni("--remote", "http://127.0.0.1:9", "models", "list").err


def test_a_listing_fits_the_terminal_that_shows_it_and_is_whole_in_a_pipe(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "badges" in omni("models", "list").out
    monkeypatch.setattr("omni_cli.cli.remote.room", lambda: 60)
    narrow = omni("models", "list")
    assert max(map(len, narrow.out.splitlines())) <= 60
    assert "left out: " in narrow.err
    assert "badges" in narrow.err


def test_what_would_show_a_key_or_spend_is_left_out(omni: Omni) -> None:
    mine = ("--protocol", "openai", "--base-url", "http://127.0.0.1:9/v1")
    for args in (("providers", "key", "openai", "--show"), ("recommend", "--prove=3"),
                 ("health", "--probe"), ("health", "--check"), ("doctor", "--online"),
                 ("providers", "add", "mine", *mine, "--key-env", "ITS_SECRET"),
                 ("providers", "edit", "openai", "--key-env=ITS_SECRET")):  # fmt: skip
        ran = omni(*args)
        assert ran.code != 0, ran
        assert "does not work from afar" in ran.err


def test_what_no_process_can_be_given_is_said(omni: Omni) -> None:
    ran = omni("models", "list", "x" * 200_000)
    assert ran.code != 0
    assert "bytes" in ran.err


def test_nothing_in_the_gateways_folder_is_a_module(served: Served, omni: Omni) -> None:
    planted = served.home / "typer.py"
    planted.write_text("raise SystemExit(99)")
    try:
        assert omni("roles", "list").code == 0
    finally:
        planted.unlink()


def test_who_cannot_be_reached_or_is_no_gateway(
    served: Served, omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert omni("--remote", "http://127.0.0.1:9", "models", "list").code == 5
    assert omni("--remote", "not a url", "models", "list").code == 2
    assert omni("--remote", served.sim.url, "models", "list").code != 0
    monkeypatch.delenv("OMNI_REMOTE_KEY", raising=False)
    monkeypatch.setattr("omni_cli.cli.remote.is_here", lambda _: False)
    monkeypatch.setattr("omni_cli.cli.remote.KEY_ENV", "NOBODYS_KEY")
    refused = omni("--remote", "https://omni.example", "models", "list")
    assert refused.code == 3
    assert "omni keys set remote" in refused.err


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not hasattr(group, "list_commands"):
        yield " ".join(path), group
        return
    if path and group.invoke_without_command:
        yield " ".join(path), group
    for name in group.list_commands(None):
        yield from _commands(group.get_command(None, name), (*path, name))


def test_nothing_in_the_table_reads_or_writes_a_file_of_the_gateways() -> None:
    """A command that gets an option for a file is noticed here, and one that is renamed."""
    found = dict(_commands(typer.main.get_command(app)))
    found |= dict.fromkeys(("session stop", "session resume"), found["session"])
    assert REMOTE.keys() <= found.keys()
    assert found.keys() >= ORGANISATION
    assert READS_STDIN | DENIED.keys() <= REMOTE.keys()
    for name in REMOTE:
        denied = DENIED.get(name, frozenset())
        for option in found[name].params:
            if denied.issuperset(option.opts):
                continue
            kind = type(option.type).__name__
            assert kind not in ("Path", "File"), (name, option.name)
            assert option.name not in ("file", "output", "image", "path", "command"), name
    assert set(REMOTE.values()) == set(SCOPES)


def test_an_option_cannot_hide_a_subcommand() -> None:
    assert named(["recommend", "--all"]) == "recommend"
    assert named(["recommend", "--all", "apply", "3"]) == ""
    assert named(["--json", "models", "list"]) == named([]) == ""
    # What is checked is what is run: a group alone is its list, whatever option comes first.
    assert named(["models"]) == named(["models", "--json", "remove", "x"]) == "models list"
    assert spelled(["models", "--json", "remove", "x"])[:2] == ["models", "list"]

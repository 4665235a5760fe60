"""An organisation at the command line: its own over what all share, and nothing of another's."""

from pathlib import Path

import pytest

from tests.integration.cli.conftest import Omni

FOR = {"acme": ("--org", "acme"), "globex": ("--org", "globex"), "": ()}


@pytest.fixture(autouse=True)
def fleet(omni: Omni) -> None:
    for args in (
        ("config", "set", "general.org_private_addresses", "true"),
        ("providers", "add", "openai", "--base-url", "http://127.0.0.1:9/v1", "--no-auth"),
        ("models", "activate", "openai/gpt-4o"),
        ("roles", "assign", "coder", "openai/gpt-4o"),
    ):
        assert omni(*args).code == 0


def test_own_over_shared(omni: Omni) -> None:
    own = ("--org", "acme")
    for args in (
        ("providers", "add", "openai", "--base-url", "http://127.0.0.1:8/v1"),
        ("models", "activate", "openai/gpt-4o-mini"),
        ("roles", "assign", "coder", "gpt-4o-mini"),
        ("rules", "add", "taskType == 'coding'", "openai/gpt-4o-mini"),
        ("chains", "create", "Fast", "openai/gpt-4o-mini"),
        ("budgets", "set", "all", "5"),
    ):
        ran = omni(*own, *args)
        assert ran.code == 0, ran
    told = {
        org: {
            what: omni(*args, what, "list", "--json").data
            for what in ("providers", "models", "roles", "rules", "chains", "budgets")
        }
        for org, args in FOR.items()
    }
    assert [p["slug"] for p in told["acme"]["providers"]] == ["openai@acme"]
    assert told["acme"]["providers"][0]["base_url"] == "http://127.0.0.1:8/v1"
    assert [m["id"] for m in told["acme"]["models"]] == ["openai@acme/gpt-4o-mini"]
    assert told["acme"]["models"][0]["price"]["input"] is not None
    assert {m["model"] for m in told["acme"]["roles"][0]["models"]} == {
        "openai@acme/gpt-4o", "openai@acme/gpt-4o-mini"
    }  # fmt: skip
    assert told["acme"]["rules"][0]["condition"] == "taskType == 'coding'"
    assert told["acme"]["budgets"][0]["scope"] == "all"
    for other in ("globex", ""):
        assert [p["slug"] for p in told[other]["providers"]] == ["openai"]
        assert told[other]["roles"][0]["models"][0]["model"] == "openai/gpt-4o"
        assert told[other]["chains"] == []
    assert told["globex"]["rules"] == told["globex"]["budgets"] == []
    # To whom all of it belongs, the limit is the organisation's.
    assert [(b["scope"], b["value"]) for b in told[""]["budgets"]] == [("org", "acme")]
    # Without what is its own, the shared is its again.
    assert omni(*own, "roles", "remove", "coder").code == 0
    back = omni(*own, "roles", "list", "--json").data
    assert back[0]["models"][0]["model"] == "openai@acme/gpt-4o"


def test_what_is_shared_is_not_an_organisations_to_change(omni: Omni) -> None:
    before = omni("fleet", "export").out
    for args in (
        ("models", "disable", "openai/gpt-4o"),
        ("models", "price", "openai/gpt-4o", "--price-in", "1", "--price-out", "2"),
        ("roles", "remove", "coder"),
        ("providers", "remove", "openai"),
        ("keys", "set", "openai"),
        ("providers", "add", "lab@globex", "--protocol", "openai", "--base-url", "http://h/v1"),
        ("roles", "assign", "coder@globex", "openai/gpt-4o"),
        ("budgets", "set", "org:globex", "5"),
        ("keys", "create", "theirs", "--org", "globex"),
        ("providers", "edit", "openai", "--key-env", "HOME"),
    ):
        ran = omni("--org", "acme", *args, stdin="sk-a-key-of-somebody\n")
        assert ran.code == 2, ran
    assert omni("fleet", "export").out == before
    assert omni("keys", "list", "--clients", "--json").data == []


def test_keys_of_another_are_not_even_named(omni: Omni) -> None:
    for org in FOR:
        added = omni(
            *FOR[org], "providers", "add", "groq", "--key-stdin", stdin="sk-abcdefgh1234\n"
        )
        assert added.code == 0, added
    for org in ("acme", "globex"):
        rows = {row["provider"]: row for row in omni(*FOR[org], "keys", "list", "--json").data}
        assert [name for name in rows if "@" in name] == [f"groq@{org}"]
        assert rows[f"groq@{org}"]["key_masked"] is not None
        assert all(row["key_masked"] is None for name, row in rows.items() if "@" not in name)


def test_where_a_shared_provider_is_stays_everybodys_to_say(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of the environment's goes to no address but the one that the environment says."""
    assert omni("providers", "add", "groq").code == 0
    monkeypatch.setenv("GROQ_API_KEY", "gsk-abcdefgh12345678")
    monkeypatch.setenv("GROQ_BASE_URL", "http://127.0.0.1:9")
    for args in (("add", "groq", "--base-url", "http://127.0.0.1:8/v1"),
                 ("edit", "groq", "--base-url", "http://127.0.0.1:7/v1")):  # fmt: skip
        assert omni("--org", "acme", "providers", *args).code == 0
    refused = omni("providers", "test", "groq", "--json")
    assert "was not sent there" in refused.out + refused.err


def test_an_own_provider_leads_out_of_the_gateway_s_network(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or an organisation's admin would read what only this machine reaches: a cloud's keys."""
    assert omni("config", "unset", "general.org_private_addresses").code == 0
    names = {"rebound.example": "169.254.169.254", "public.example": "93.184.215.14"}
    # As the C library reads them.
    names |= dict.fromkeys(("localhost", "2130706433", "0x7f.1"), "127.0.0.1")

    def lookup(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host.endswith((".internal", ".local")):
            raise OSError("no such name")
        return [(0, 0, 0, "", (names.get(host, host), 0))]

    monkeypatch.setattr("socket.getaddrinfo", lookup)
    within = (
        "127.0.0.1:8", "localhost:8", "169.254.169.254", "10.1.2.3", "192.168.0.9:11434", "[::1]",
        "[fd00::7]", "[::ffff:10.0.0.1]", "0.0.0.0", "100.64.0.1", "2130706433", "0x7f.1",
        "rebound.example", "db.internal", "printer.local",
    )  # fmt: skip
    for host in within:
        words = ("providers", "add", "openai", "--base-url", f"http://{host}/v1", "--no-auth")
        refused = omni("--org", "acme", *words)
        assert refused.code == 2, host
        assert "within the gateway's own network" in refused.err
        assert "general.org_private_addresses" in refused.err
    words = ("providers", "add", "openai", "--base-url", "https://public.example/v1", "--no-auth")
    assert omni("--org", "acme", *words).code == 0
    for host, code in (("10.0.0.7", 2), ("8.8.8.8", 0)):
        edited = ("providers", "edit", "openai", "--base-url", f"https://{host}/v1")
        assert omni("--org", "acme", *edited).code == code
    # Everybody's is the owner's to place.
    assert omni("providers", "edit", "openai", "--base-url", "http://10.0.0.7/v1").code == 0


def test_the_limit_of_all_of_it_only_gets_tighter_from_within(omni: Omni) -> None:
    assert omni("budgets", "set", "org:acme", "5").code == 0
    own = ("--org", "acme")
    for args in (
        ("set", "all", "6"),
        ("set", "all", "5", "--stop", "200"),
        ("set", "all", "5", "--allow-unknown"),
        ("set", "all", "5", "--zone", "Asia/Tokyo"),
        ("raise", "1", "--by", "1", "--for", "1d"),
        ("disable", "1"),
        ("remove", "1"),
    ):
        ran = omni(*own, "budgets", *args)
        assert ran.code == 2, ran
        assert "may only lower" in ran.err
    assert omni(*own, "budgets", "set", "all", "4", "--alert", "70").code == 0
    assert omni(*own, "budgets", "set", "all", "1", "--per", "day").code == 0
    kept = {b["period"]: b["limit_usd"] for b in omni("budgets", "list", "--json").data}
    assert kept == {"month": "4", "day": "1"}
    assert omni("budgets", "raise", "1", "--by", "1", "--for", "1d").code == 0
    assert omni("budgets", "remove", "1").code == 0


def test_a_rollback_restores_organisations_too(omni: Omni) -> None:
    own = ("--org", "acme")
    assert omni(*own, "roles", "assign", "coder", "openai/gpt-4o").code == 0
    number = omni("history", "--json").data[0]["number"]
    before = omni("fleet", "export").out
    assert "coder@acme" in before
    assert omni(*own, "roles", "remove", "coder").code == 0
    assert omni("rollback", str(number)).code == 0
    assert omni("fleet", "export").out == before


def test_commands_of_the_whole_fleet_say_so(omni: Omni, tmp_path: Path) -> None:
    for args in (("logs",), ("recommend",), ("fleet", "export"), ("db", "check"), ("serve",)):
        ran = omni("--org", "acme", *args)
        assert ran.code == 2
        assert "of the whole fleet" in ran.err
    assert omni("--org", "no org", "models", "list").code == 2

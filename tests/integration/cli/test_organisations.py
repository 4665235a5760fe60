"""An organisation at the command line: its own over what all share, and nothing of another's."""

from pathlib import Path

import pytest

from tests.integration.cli.conftest import Omni

FOR = {"acme": ("--org", "acme"), "globex": ("--org", "globex"), "": ()}


@pytest.fixture(autouse=True)
def fleet(omni: Omni) -> None:
    for args in (
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

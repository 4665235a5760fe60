"""Models, roles, rules, chains and settings from the command line, on a store of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from tests.integration.cli.conftest import Omni
from tests.paths import REPO
from tests.unit.catalog.test_build import as_published
from tools import catalogue

LOCAL = ("--protocol", "openai", "--base-url", "http://127.0.0.1:9/v1", "--no-auth")


@pytest.fixture
def fleet(omni: Omni) -> Omni:
    """A provider with two models of the user's own."""
    assert omni("providers", "add", "mine", *LOCAL).code == 0
    add = ("models", "add")
    assert omni(*add, "mine/big", "--price-in", "10", "--price-out", "30").code == 0
    assert omni(*add, "mine/small", "--alias", "tiny", "--free", "--context", "8000").code == 0
    return omni


# --- models ---------------------------------------------------------------------------------


def test_models_list_shows_models_at_work_and_says_how_many_stand_by(fleet: Omni) -> None:
    rows = fleet("models", "list", "--json").data
    assert [row["id"] for row in rows] == ["mine/big", "mine/small"]
    assert fleet("providers", "add", "openai").code == 0
    shown = fleet("models", "list")
    assert "openai/" not in shown.out
    assert "stand by" in shown.err


def test_the_whole_catalogue_is_there_offline(omni: Omni) -> None:
    """A5: the nine models of the fleet spec under its names."""
    aliases = {
        alias for row in omni("models", "list", "--all", "--json").data for alias in row["aliases"]
    }
    wanted = {
        "claude-opus", "claude-sonnet", "claude-haiku", "gpt-4", "gpt-4-turbo", "deepseek-v3",
        "gemini-pro", "gemini-flash", "kimi-k2.5",
    }  # fmt: skip
    assert wanted <= aliases


def test_a_listed_model_has_these_keys(fleet: Omni) -> None:
    (row,) = fleet("models", "list", "big", "--json").data
    assert set(row) >= {
        "id", "provider", "wire_name", "name", "aliases", "type", "status", "context_window",
        "max_output", "input_types", "output_types", "badges", "scores", "score_sources",
        "strengths", "recommended_for", "parameters_b", "complexity_factor", "token_weights",
        "price", "is_system", "is_default", "hidden", "retired_on", "added_at", "updated_at",
        "quality", "quality_class", "speed_class", "latency_ms", "calls",
    }  # fmt: skip
    assert row["price"]["state"] == "priced"
    assert (row["price"]["input"], row["price"]["output"]) == ("10", "30")
    assert row["price"]["cached"] is None
    assert row["context_window"] is None


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        (("--provider", "anthropic"), lambda r: r["provider"] == "anthropic"),
        (("--capability", "vision"), lambda r: "vision" in r["badges"]),
        (("--capability", "coding"), lambda r: "coding" in r["scores"]),
        (("--max-price-in", "0.2"), lambda r: r["price"]["state"] in ("priced", "free")),
        (("--free",), lambda r: r["price"]["state"] == "free"),
        (("--quality", "high"), lambda r: r["quality_class"] == "high"),
        (("--min-context", "1000000"), lambda r: r["context_window"] >= 1_000_000),
        (("--type", "multimodal"), lambda r: r["type"] == "multimodal"),
        (("haiku",), lambda r: "haiku" in (r["id"] + r["name"]).lower()),
    ],
)
def test_filters_keep_what_fits_and_drop_the_rest(omni: Omni, options, holds) -> None:
    rows = omni("models", "list", "--all", "--json", *options).data
    assert rows
    assert all(holds(row) for row in rows)
    with App() as app:
        assert len(rows) < len(app.models.all())


def test_sorting_puts_unknown_last(fleet: Omni) -> None:
    fleet("models", "add", "mine/odd")
    rows = fleet("models", "list", "--sort", "cost", "--json").data
    assert [row["id"] for row in rows] == ["mine/small", "mine/big", "mine/odd"]
    rows = fleet("models", "list", "--all", "--sort", "quality", "--json").data
    known = [row["quality"] for row in rows if row["quality"] is not None]
    assert known == sorted(known, reverse=True)
    assert all(row["quality"] is None for row in rows[len(known) :])


def test_table_grid_and_comparison_show_the_same_models(fleet: Omni) -> None:
    for shown in (
        fleet("models", "list"),
        fleet("models", "list", "--grid"),
        fleet("models", "compare", "mine/big", "tiny"),
    ):
        assert "mine/big" in shown.out
        assert "mine/small" in shown.out
    assert fleet("models", "compare", "tiny", "mine/small").code == 2


def test_adding_without_a_price_says_so_and_never_shows_zero(fleet: Omni) -> None:
    added = fleet("models", "add", "mine/odd")
    assert "price unknown" in added.err
    assert "models price mine/odd" in added.err
    shown = fleet("models", "show", "mine/odd")
    assert "price (unknown)" in shown.out
    assert "$0" not in shown.out


def test_half_a_price_is_refused_and_nothing_is_added(fleet: Omni) -> None:
    refused = fleet("models", "add", "mine/half", "--price-in", "1")
    assert refused.code == 2
    assert "--price-out" in refused.err
    assert fleet("models", "show", "mine/half").code == 1


def test_adding_a_model_of_the_catalogue_activates_it_with_its_price(omni: Omni) -> None:
    omni("providers", "add", "openai")
    row = omni("models", "add", "openai/gpt-4o", "--capability", "coding=95", "--json").data
    assert row["status"] == "active"
    assert row["is_system"] is True
    assert row["price"]["origin"] == "catalogue"
    assert row["price"]["source"]
    assert row["scores"]["coding"] == 95
    assert row["score_sources"]["coding"] == "user"


def test_own_price_wins_and_reset_brings_the_catalogue_back(omni: Omni) -> None:
    omni("providers", "add", "openai")
    price = ("models", "price", "openai/gpt-4o")
    before = omni(*price, "--json").data
    mine = omni(*price, "--price-in", "1", "--price-out", "2", "--minimum", "0.01", "--json").data
    assert (mine["origin"], mine["input"], mine["minimum_usd"]) == ("user", "1", "0.01")
    assert omni(*price, "--reset", "--json").data == before
    assert omni(*price, "--price-in", "-1", "--price-out", "2").code == 2
    assert omni(*price, "--free", "--price-in", "1").code == 2


def test_a_system_model_is_hidden_not_deleted(omni: Omni) -> None:
    omni("providers", "add", "openai")
    assert "hid openai/gpt-4o" in omni("models", "remove", "openai/gpt-4o").out
    ids = [row["id"] for row in omni("models", "list", "--all", "--json").data]
    assert "openai/gpt-4o" not in ids
    assert omni("models", "add", "openai/gpt-4o").code == 0
    assert "openai/gpt-4o" in [row["id"] for row in omni("models", "list", "--json").data]


def test_aliases_are_names_and_cannot_be_taken_twice(fleet: Omni) -> None:
    assert fleet("models", "show", "tiny", "--json").data["id"] == "mine/small"
    spaced = fleet("models", "alias", "mine/big", "My Big One")
    assert (spaced.code, "'my-big-one'" in spaced.err) == (2, True)
    assert fleet("models", "alias", "mine/big", "My-Big-One").out == "mine/big: my-big-one\n"
    assert fleet("models", "show", "my-big-one", "--json").data["id"] == "mine/big"
    taken = fleet("models", "alias", "mine/big", "tiny")
    assert taken.code == 2
    assert "already names mine/small" in taken.err
    assert fleet("models", "alias", "mine/big", "my-big-one", "--remove").code == 0
    assert fleet("models", "show", "my-big-one").code == 1


def test_a_name_of_the_catalogue_is_free_until_its_provider_is_there(fleet: Omni) -> None:
    assert fleet("models", "alias", "mine/big", "gpt-4").code == 0
    assert fleet("models", "show", "gpt-4", "--json").data["id"] == "mine/big"


def test_a_vision_badge_means_that_images_go_in(fleet: Omni) -> None:
    row = fleet("models", "edit", "tiny", "--badge", "vision,streaming", "--json").data
    assert (row["type"], row["input_types"]) == ("multimodal", ["text", "image"])
    assert row["badges"] == ["streaming", "vision"]


def test_status_commands(fleet: Omni) -> None:
    for command, status in (
        ("disable", "disabled"),
        ("standby", "standby"),
        ("activate", "active"),
    ):
        assert fleet("models", command, "tiny").code == 0
        assert fleet("models", "show", "tiny", "--json").data["status"] == status


def test_show_names_what_uses_a_model_and_its_complexity_factor(fleet: Omni) -> None:
    fleet("models", "edit", "tiny", "--parameters-b", "70")
    fleet("roles", "assign", "heartbeat", "tiny")
    fleet("rules", "add", "taskType == 'chat'", "tiny")
    fleet("chains", "create", "spare", "mine/big", "tiny")
    row = fleet("models", "show", "tiny", "--json").data
    assert row["complexity_factor"] == pytest.approx(70 / 175)
    assert (row["roles"], row["rules"], row["chains"]) == (["heartbeat"], ["1"], ["spare"])
    assert "0.40 (parameters / 175 B)" in fleet("models", "show", "tiny").out
    refused = fleet("models", "remove", "tiny")
    assert refused.code == 2
    assert "role heartbeat" in refused.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("add", "mine/x", "--badge", "sings"), "unknown badge"),
        (("add", "mine/x", "--capability", "coding=195"), "0 to 100"),
        (("add", "mine/x", "--capability", "coding"), "NAME=NUMBER"),
        (("add", "mine/x", "--type", "smell"), "--type is one of"),
        (("add", "noprovider/x"), "no provider 'noprovider'"),
        (("add", "mine/"), "PROVIDER/MODEL"),
        (("edit", "tiny"), "nothing to change"),
        (("list", "--sort", "smell"), "--sort is one of"),
        (("list", "--max-price-in", "cheap"), "US dollars"),
        (("show", "smal"), "no model"),
    ],
)
def test_mistakes_are_named_with_a_hint(fleet: Omni, args: tuple[str, ...], words: str) -> None:
    wrong = fleet("models", *args)
    assert wrong.code in (1, 2)
    assert words in wrong.err
    assert fleet("models", *args, "--json").data["error"]["message"] in wrong.err


# --- updating the catalogue -----------------------------------------------------------------


def test_an_update_that_fails_changes_nothing(omni: Omni, tmp_path: Path) -> None:
    before = omni("models", "list", "--all", "--json").out
    broken = tmp_path / "data.json"
    broken.write_text("[]")
    failed = omni("models", "update", "--file", str(broken))
    assert failed.code == 3
    assert "unchanged" in failed.err
    offline = omni("models", "update", "--url", "http://127.0.0.1:9/data.json")
    assert offline.code == 5
    assert "nothing was changed" in offline.err
    assert omni("models", "update", "--file", str(tmp_path / "none.json")).code == 2
    assert omni("models", "list", "--all", "--json").out == before


def test_an_update_brings_new_prices_and_leaves_the_users(omni: Omni, tmp_path: Path) -> None:
    omni("providers", "add", "openai")
    omni("models", "price", "openai/gpt-4o-mini", "--price-in", "7", "--price-out", "8")
    data = catalogue.source_json()
    openai = next(provider for provider in data if provider["id"] == "openai")
    for model in openai["models"]:
        if model["id"] in ("gpt-4o", "gpt-4o-mini"):
            model["prices"] = {"input_mtok": 123, "output_mtok": 456}
    file = tmp_path / "data.json"
    file.write_bytes(as_published(data))
    report = omni("models", "update", "--file", str(file), "--json").data
    assert "openai/gpt-4o" in report["repriced"]
    assert "openai/gpt-4o-mini" not in report["repriced"]
    assert omni("models", "price", "openai/gpt-4o", "--json").data["input"] == "123"
    assert omni("models", "price", "openai/gpt-4o-mini", "--json").data["input"] == "7"
    again = omni("models", "update", "--file", str(file), "--json").data
    assert (again["added"], again["repriced"]) == ([], [])


# --- roles, rules, chains -------------------------------------------------------------------


def test_roles_keep_models_in_order_of_priority(fleet: Omni) -> None:
    fleet("roles", "assign", "primary_coder", "mine/big", "--priority", "2")
    role = fleet(
        "roles", "assign", "primary_coder", "tiny", "--priority", "1", "--description", "code",
        "--json",
    ).data  # fmt: skip
    assert role == {
        "name": "primary_coder",
        "description": "code",
        "models": [
            {"model": "mine/small", "priority": 1},
            {"model": "mine/big", "priority": 2},
        ],
    }
    assert fleet("roles", "list", "--json").data == [role]
    assert fleet("roles", "show", "primary_coder", "--json").data == role
    left = fleet("roles", "unassign", "primary_coder", "tiny", "--json").data
    assert [item["model"] for item in left["models"]] == ["mine/big"]
    assert fleet("roles", "unassign", "primary_coder", "tiny").code == 1
    assert fleet("roles", "remove", "primary_coder").code == 0
    assert fleet("roles", "show", "primary_coder").code == 1
    assert fleet("roles", "assign", "Bad Name", "tiny").code == 2


def test_assigning_a_model_on_standby_puts_it_to_work(fleet: Omni) -> None:
    fleet("models", "standby", "tiny")
    fleet("roles", "assign", "heartbeat", "tiny")
    assert fleet("models", "show", "tiny", "--json").data["status"] == "active"


def test_rules_show_the_column_of_a_mistake(fleet: Omni) -> None:
    wrong = fleet("rules", "add", "taskType = 'coding'", "tiny")
    assert wrong.code == 2
    lines = wrong.err.splitlines()
    assert lines[1] == "taskType = 'coding'"
    assert lines[2].index("^") == len("taskType ")
    assert "==" in lines[3]


def test_rules_are_added_tried_switched_and_removed(fleet: Omni) -> None:
    condition = "taskType == 'coding' && complexity == 'medium'"
    rule = fleet("rules", "add", condition, "tiny", "--priority", "3", "--json").data
    assert rule == {
        "id": 1, "condition": condition, "model": "mine/small", "priority": 3, "enabled": True,
    }  # fmt: skip
    assert fleet("rules", "disable", "1").code == 0
    assert fleet("rules", "list", "--json").data[0]["enabled"] is False
    edited = fleet("rules", "edit", "1", "--model", "mine/big", "--priority", "1", "--json").data
    assert (edited["model"], edited["priority"], edited["enabled"]) == ("mine/big", 1, False)
    assert fleet("rules", "edit", "1").code == 2
    assert fleet("rules", "remove", "1").code == 0
    assert fleet("rules", "remove", "1").code == 1


def test_rules_test_says_whether_it_holds_and_on_what_facts(fleet: Omni) -> None:
    fleet("rules", "add", "prompt contains 'invoice'", "tiny")
    tried = fleet("rules", "test", "1", "read this invoice", "--json").data
    assert tried["holds"] is True
    assert tried["facts"]["prompt"] == "read this invoice"
    assert {"taskType", "complexity", "inputTokens", "hasImages"} <= set(tried["facts"])
    shown = fleet("rules", "test", "inputTokens > 5000", "short")
    assert "does not hold" in shown.out
    assert "inputTokens =" in shown.out
    assert "prompt =" not in shown.out
    assert fleet("rules", "test", "prompt contains 'x'", stdin="xyz").out.startswith("holds")


def test_an_agents_slots_are_shown_set_up_once_and_tried_on_a_request(
    fleet: Omni, tmp_path: Path
) -> None:
    for name in ("big", "small"):
        assert fleet("models", "edit", f"mine/{name}", "--badge", "function-calling").code == 0
    fleet("rules", "add", "prompt contains 'invoice'", "tiny")
    shown = fleet("init", "--for", "claude", "--dry-run", "--json").data
    assert (shown["applied"], shown["agent"]) == (False, "claude-code")
    assert all(slot["why"] for slot in shown["slots"])
    assert [row["condition"] for row in fleet("rules", "list", "--json").data] == [
        "prompt contains 'invoice'"
    ]
    assert fleet("init", "--for", "claude-code").code == 2  # nobody to ask
    done = fleet("init", "--for", "claude-code", "--yes", "--json").data
    wanted = [slot["rule"] for slot in done["slots"] if slot["rule"]]
    rules = fleet("rules", "list", "--json").data
    assert [row["condition"] for row in rules[1:]] == wanted
    assert [row["priority"] for row in rules] == sorted(row["priority"] for row in rules)
    assert not fleet("init", "--for", "claude-code", "--yes", "--json").data["applied"]
    assert fleet("init", "--for", "nobody").code == 2
    request = REPO / "fixtures/clients/claude_code_first.json"
    tried = fleet("rules", "test", "--request", str(request), "--json").data
    (fires,) = [rule for rule in tried["rules"] if rule["id"] == tried["rule"]]
    assert fires["holds"]
    assert fires["model"] == tried["model"]
    assert tried["facts"]["agent"] == "claude-code"
    assert fleet("rules", "test", "agent == 'codex'", "--request", str(request)).out.startswith(
        "does not hold"
    )
    assert "fires" in fleet("rules", "test", "--request", str(request)).out
    # A body alone, without the headers: its metadata tells, or what is missing is said.
    body = json.loads(request.read_text("utf-8"))["body"]
    alone = tmp_path / "body.json"
    user = {
        "user_id": f"user_{'ab' * 32}_account__session_0b1c2d3e-0000"
    }  # as Claude Code sends it
    alone.write_text(json.dumps({**body, "metadata": user}))
    again = fleet("rules", "test", "--request", str(alone), "--json").data
    assert (again["facts"]["agent"], again["rule"]) == ("claude-code", tried["rule"])
    alone.write_text(json.dumps({**body, "metadata": {}}))
    assert "nothing says which agent asks" in fleet("rules", "test", "--request", str(alone)).err
    assert fleet("rules", "test").code == 2
    assert fleet("rules", "test", "--request", str(tmp_path / "no.json")).code == 2


def test_chains_are_made_and_changed(fleet: Omni) -> None:
    fleet("models", "add", "mine/third:8b")
    chain = fleet(
        "chains", "create", "Production Chain", "mine/big:retries=3,timeout_ms=30000",
        "mine/third:8b", "--max-cost-multiple", "2.5", "--json",
    ).data  # fmt: skip
    assert chain == {
        "name": "Production Chain",
        "max_cost_multiple": 2.5,
        "any_cost": False,
        "allow_free_to_paid": None,
        "hedge_ms": None,
        "links": [
            {"model": "mine/big", "max_retries": 3, "timeout_ms": 30000},
            {"model": "mine/third:8b", "max_retries": 2, "timeout_ms": 30000},
        ],
    }
    name = ("Production Chain",)
    fleet("chains", "add", *name, "tiny:retries=0", "--at", "1")
    fleet("chains", "move", *name, "mine/third:8b", "1")
    fleet("chains", "edit-link", *name, "mine/big", "--timeout-ms", "60000", "--retries", "1")
    shown = fleet("chains", "show", *name, "--json").data
    assert [link["model"] for link in shown["links"]] == [
        "mine/third:8b",
        "mine/small",
        "mine/big",
    ]
    assert shown["links"][2] == {"model": "mine/big", "max_retries": 1, "timeout_ms": 60000}
    edited = fleet("chains", "edit", *name, "--any-cost", "--free-to-paid", "--json").data
    assert (edited["max_cost_multiple"], edited["allow_free_to_paid"]) == (None, True)
    assert edited["any_cost"] is True
    exported = fleet("fleet", "export").out
    assert "any_cost = true" in exported
    listed = fleet("chains", "edit", *name, "--as-listed", "--no-free-to-paid", "--json").data
    assert (listed["any_cost"], listed["allow_free_to_paid"]) == (False, False)
    assert "its models at any cost, never free to paid" in fleet("chains", "list").out
    assert fleet("chains", "edit", *name, "--any-cost", "--max-cost-multiple", "2").code == 2
    assert fleet("chains", "edit", *name, "--hedge-ms", "800", "--json").data["hedge_ms"] == 800
    assert "hedged after 800 ms" in fleet("chains", "list").out
    assert "hedge_ms = 800" in fleet("fleet", "export").out
    assert "50 to 120000" in fleet("chains", "edit", *name, "--hedge-ms", "5").err
    assert fleet("chains", "edit", *name, "--no-hedge", "--json").data["hedge_ms"] is None
    fleet("chains", "remove-link", *name, "mine/third:8b")
    fleet("chains", "remove-link", *name, "mine/big")
    assert fleet("chains", "remove-link", *name, "tiny").code == 2  # the last one
    fleet("chains", "rename", *name, "spare")
    assert [chain["name"] for chain in fleet("chains", "list", "--json").data] == ["spare"]
    assert fleet("chains", "delete", "spare").code == 0
    assert fleet("chains", "list", "--json").data == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("mine/big:retries=11",), "retries run from 0 to 10"),
        (("mine/big:timeout_ms=999",), "1000 to 120000"),
        (("mine/big:speed=9",), "unknown setting"),
        (("mine/big", "mine/big"), "stands twice"),
        (("mine/none",), "no model"),
        (("mine/big", "--max-cost-multiple", "0.5"), "1 or more"),
        (("mine/big", "--any-cost", "--max-cost-multiple", "2"), "exclude each other"),
        ((), "Missing argument"),
    ],
)
def test_chains_that_do_not_fit_are_refused(fleet: Omni, args: tuple[str, ...], words: str) -> None:
    refused = fleet("chains", "create", "c", *args)
    assert refused.code in (1, 2)
    assert words in refused.err
    assert fleet("chains", "list", "--json").data == []


def test_a_chain_is_not_replaced_by_accident(fleet: Omni) -> None:
    fleet("chains", "create", "c", "mine/big")
    assert fleet("chains", "create", "c", "tiny").code == 2
    assert fleet("chains", "create", "c", "tiny", "--replace").code == 0
    assert fleet("chains", "show", "c", "--json").data["links"][0]["model"] == "mine/small"


# --- settings -------------------------------------------------------------------------------


def test_settings_are_set_shown_and_unset(fleet: Omni, home: Path) -> None:
    assert fleet("config", "set", "routing.cost_weight", "0.5").code == 0
    assert fleet("config", "get", "routing.cost_weight").out == "0.5\n"
    row = fleet("config", "get", "routing.cost_weight", "--json").data
    assert row == {
        "key": "routing.cost_weight", "value": 0.5, "default": 0.4, "source": "user",
    }  # fmt: skip
    assert "cost_weight = 0.5" in (home / "config.toml").read_text()
    fleet("config", "unset", "routing.cost_weight")
    assert fleet("config", "get", "routing.cost_weight", "--json").data["source"] == "default"


def test_a_model_setting_is_kept_by_id_and_must_exist(fleet: Omni) -> None:
    fleet("config", "set", "general.premium_model", "tiny")
    assert fleet("config", "get", "general.premium_model").out == "mine/small\n"
    assert fleet("config", "set", "general.premium_model", "nothing-like-it").code == 1


def test_a_projects_file_wins_and_is_named(omni: Omni, tmp_path: Path) -> None:
    (tmp_path / ".omni.toml").write_text('[routing]\npriority = "cheap"\n')
    rows = {row["key"]: row for row in omni("config", "list", "--json").data}
    assert rows["routing.priority"]["value"] == "cheap"
    assert rows["routing.priority"]["source"] == str(tmp_path / ".omni.toml")
    assert "that wins" in omni("config", "set", "routing.priority", "best").err
    assert omni("config", "path", "--json").data["project"] == str(tmp_path / ".omni.toml")


def test_wrong_settings_are_refused(omni: Omni) -> None:
    for args in (
        ("set", "general.zone", "Mars/Base"),
        ("set", "routing.priority", "dear"),
        ("set", "providers.key", "x"),
        ("get", "no.such"),
    ):
        assert omni("config", *args).code == 3


def test_editing_takes_only_a_file_that_parses(
    omni: Omni, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor.py"
    write = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text({text!r})"
    monkeypatch.setenv("VISUAL", f"{sys.executable} {editor}")
    editor.write_text(write.format(text="[chat]\nmax_retries = 4\n"))
    assert omni("config", "edit").code == 0
    assert omni("config", "get", "chat.max_retries").out == "4\n"
    editor.write_text(write.format(text='[chat]\nmax_retries = "many"\n'))
    refused = omni("config", "edit")
    assert refused.code == 3
    assert "nothing was changed" in refused.err
    assert omni("config", "get", "chat.max_retries").out == "4\n"


# --- history --------------------------------------------------------------------------------


def test_every_change_is_audited_and_makes_a_revision(fleet: Omni) -> None:
    fleet("roles", "assign", "heartbeat", "tiny")
    revisions = fleet("history", "--json").data
    assert [row["number"] for row in revisions] == [4, 3, 2, 1]
    assert revisions[0]["reason"] == "role.assign heartbeat"
    assert revisions[0]["who"] == "tester"
    assert "heartbeat" in fleet("history", "4").out
    assert "heartbeat" not in fleet("history", "3").out
    entry = fleet("audit", "heartbeat", "--json").data[0]
    assert (entry["action"], entry["target"], entry["before"]) == ("role.assign", "heartbeat", None)
    assert entry["after"]["models"] == [{"model": "mine/small", "priority": 1}]
    assert fleet("history", "99").code == 1
    by_alias = fleet("audit", "tiny", "--json").data
    assert by_alias
    assert {entry["target"] for entry in by_alias} == {"mine/small"}


def test_a_changed_audit_entry_is_found(fleet: Omni, home: Path) -> None:
    import sqlite3

    assert fleet("audit", "--verify", "--json").data == {"ok": True, "first_broken": None}
    with sqlite3.connect(home / "omni.db") as db:
        db.execute("UPDATE audit SET who = 'nobody' WHERE id = 2")
    db.close()
    broken = fleet("audit", "--verify", "--json")
    assert broken.code == 1
    assert broken.data["first_broken"] == 2


# --- completion -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "file"), [("bash", "omni.bash"), ("zsh", "_omni"), ("fish", "omni.fish")]
)
def test_the_shipped_completions_are_up_to_date(omni: Omni, shell: str, file: str) -> None:
    assert (REPO / "completions" / file).read_text() == omni("completion", shell).out


def test_completion_of_commands_options_and_names(fleet: Omni) -> None:
    fleet("chains", "create", "spare", "tiny")
    fleet("roles", "assign", "heartbeat", "tiny")

    def offered(line: str) -> list[str]:
        return fleet("__complete", "bash", line).out.split("\n")[:-1]

    assert offered("omni prov") == ["providers"]
    assert "__complete" not in offered("omni ")
    assert offered("omni chains remove") == ["remove-link", "remove"]
    assert offered("omni chat --pri") == ["--priority"]
    assert offered("omni chat -m ti") == ["tiny"]
    assert offered("omni chat -m mine/s") == ["mine/small"]
    assert offered("omni chat -m auto:ch") == ["cheap"]  # bash cuts words at colons
    assert offered("omni chat --model=heart") == ["heartbeat"]
    assert offered("omni chat --role hea") == ["heartbeat"]
    assert offered("omni chains show s") == ["spare"]
    assert offered("omni providers test m") == ["mine"]
    assert offered("omni config get general.z") == ["general.zone"]
    assert offered("omni chat -f /etc/ho") == []  # the shell completes files itself
    assert fleet("__complete", "zsh", "omni chat -m auto:ch").out == "auto\\:cheap\n"
    assert fleet("__complete", "fish", "omni prov").out.startswith("providers\t")


def test_completion_makes_no_store_and_no_noise(omni: Omni, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("OMNI_HOME", str(tmp_path / "none"))
    shown = omni("__complete", "bash", "omni models show ")
    assert (shown.out, shown.err) == ("", "")
    assert not (tmp_path / "none").exists()


def test_bash_itself_completes_with_the_script(fleet: Omni, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "omni"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m omni_cli "$@"\n')
    program.chmod(0o755)
    script = (
        f"source '{REPO}/completions/omni.bash'; COMP_LINE='omni chat -m ti'; COMP_POINT=15; "
        "_omni; printf '%s|' \"${COMPREPLY[@]}\"; complete -p omni"
    )
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": path, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "tiny|complete -o default -F _omni omni\n"


# --- as a process ---------------------------------------------------------------------------


def test_lists_import_nothing_heavy(fleet: Omni, home: Path) -> None:
    heavy = ("httpx", "pydantic", "rich", "textual", "genai_prices", "sqlite_utils", "plotext")
    code = (
        "import sys\nfrom omni_cli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n"
        f"    sys.stderr.write('loaded:' + ','.join(m for m in {heavy!r} if m in sys.modules))\n"
        "    raise\n"
    )
    for args in (("models", "list"), ("providers", "list"), ("roles", "list"), ("doctor",)):
        done = subprocess.run(
            [sys.executable, "-c", code, *args],
            env={**os.environ, "PYTHONPATH": str(REPO)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stderr.endswith("loaded:"), (args, done.stderr)


# --- the reference --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "page"),
    [
        ("providers", "providers"),
        ("keys", "providers"),
        ("models", "models"),
        ("roles", "roles"),
        ("rules", "roles"),
        ("chains", "roles"),
        ("config", "settings"),
    ],
)
def test_the_reference_names_every_command(group: str, page: str) -> None:
    import typer

    from omni_cli.cli.app import Root

    text = (REPO / "docs" / f"{page}.md").read_text("utf-8")
    section = text.partition(f"## `omni {group}`")[2].partition("\n## ")[0] or text
    command = Root(name="omni", commands={}).get_command(None, group)
    with typer.Context(command) as context:
        names = command.list_commands(context)
    assert names
    for name in names:
        assert f"`{name}" in section or f"omni {group} {name}" in section, name


def test_a_local_embedder_is_never_chosen_for_a_chat(omni: Omni) -> None:
    assert omni("providers", "add", "ollama").code == 0
    omni("models", "add", "ollama/llama3.1:70b", "--free")
    added = omni("models", "add", "ollama/nomic-embed-text", "--free")
    assert added.code == 0, added.err
    assert "the router never chooses it" in added.err
    shown = omni("models", "show", "ollama/nomic-embed-text", "--json").data
    assert shown["output_types"] == ["embedding"]
    candidates = omni("route", "--json", "What is 2 + 2?").data["candidates"]
    reasons = {c["model"]: (c["eligible"], c["reason"]) for c in candidates}
    assert reasons["ollama/nomic-embed-text"] == (False, "writes embedding, not text")
    # The user knows better than a name.
    assert omni("models", "edit", "ollama/nomic-embed-text", "--gives", "text").code == 0
    assert omni("models", "show", "ollama/nomic-embed-text", "--json").data["output_types"] == [
        "text"
    ]
    wrong = omni("models", "edit", "ollama/nomic-embed-text", "--gives", "vectors")
    assert wrong.code == 2
    assert "embedding" in wrong.err


def test_a_model_whose_provider_is_missing_says_which(omni: Omni) -> None:
    done = omni("chat", "--model", "openai/gpt-4o-mini", "hi")
    assert done.code != 0
    assert "openai, is not in the fleet" in done.err
    assert "omni providers add openai" in done.err


def test_only_servers_that_run_weights_here_get_a_limit_unasked(omni: Omni) -> None:
    """A hosted provider, and a proxy on this machine, say themselves what is too much."""
    asked = {
        "openai": ((), None),
        "proxy": (LOCAL, None),
        "ollama": (("--base-url", "http://127.0.0.1:9", "--no-auth"), 8),
        "vllm": (("--base-url", "http://10.0.0.9:8000/v1", "--no-auth"), None),
        "mine": ((*LOCAL, "--max-concurrency", "3"), 3),
    }
    for slug, (words, limit) in asked.items():
        assert omni("providers", "add", slug, *words).code == 0
        shown = omni("providers", "show", slug, "--json").data
        assert shown["max_concurrency"] == limit, slug

"""Whose session a request is, by what agents send of themselves; and what is then kept by it."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.domain.budgets import Budget, BudgetScope
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import NotFound
from omni_cli.domain.ids import id_text
from omni_cli.domain.imports import ImportedCall
from omni_cli.domain.ledger import RequestRow
from omni_cli.domain.sessions import Session
from omni_cli.records import ClientKey
from omni_cli.services.money.receipt import receipt_document
from omni_cli.services.money.sessions import tree_document
from omni_cli.services.money.usage import Dimension, UsageQuery
from omni_cli.simulator import Simulator
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.connection import SqliteStore
from tests.gateway_server import Served, serving
from tests.paths import REPO

UUID = "0a1b2c3d-1111-4222-8333-444455556666"
CHAT = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "fix the test"}]}
MINI = "openai/gpt-4o-mini"
CLAUDE = "claude-cli/2.1.197 (external, sdk-cli)"
QWEN = {"sessionId": "q1", "promptId": "p"}
CODEX = "codex_cli_rs/0.171.0 (Debian 12.0.0; x86_64) xterm"


def ask(
    gateway: Served, headers: dict[str, str], body: dict[str, Any], path: str = ""
) -> httpx.Response:
    where = gateway.url + (path or "/v1/chat/completions")
    return httpx.post(where, json=body, headers=headers, timeout=20, trust_env=False)


def rows(gateway: Served, count: int) -> list[RequestRow]:
    """Oldest first."""
    gateway.settle(count)
    return sorted(gateway.app.ledger.recent(limit=count), key=lambda row: row.id)


def claude(user_id: str) -> dict[str, Any]:
    return {**CHAT, "max_tokens": 64, "metadata": {"user_id": user_id}}


@pytest.mark.parametrize(
    ("headers", "body", "path", "agent", "session"),
    [
        (
            {"user-agent": CLAUDE},
            claude(f"user_{'ab' * 32}_account__session_{UUID}"),
            "/v1/messages",
            "claude-code",
            UUID,
        ),
        (
            {"user-agent": CLAUDE},
            claude(json.dumps({"device_id": "d", "account_uuid": "", "session_id": UUID})),
            "/v1/messages",
            "claude-code",
            UUID,
        ),
        (  # behind another proxy
            {"user-agent": "axios/1.7"},
            claude(f"user_{'ab' * 32}_account__session_{UUID}"),
            "/v1/messages",
            "claude-code",
            UUID,
        ),
        ({"user-agent": "axios/1.7"}, claude("user_12"), "/v1/messages", "", ""),
        (
            {"user-agent": CLAUDE, "x-claude-code-session-id": UUID, "x-claude-code-agent-id": "a"},
            claude("somebody"),
            "/v1/messages",
            "claude-code:subagent",
            f"{UUID}/a",
        ),
        ({"user-agent": CODEX, "session_id": UUID}, CHAT, "", "codex", UUID),
        ({"user-agent": CODEX}, {**CHAT, "prompt_cache_key": UUID}, "", "codex", UUID),
        ({"user-agent": "opencode/1.18.3", "x-session-affinity": "s"}, CHAT, "", "opencode", "s"),
        ({"user-agent": "QwenCode/0.9"}, {**CHAT, "metadata": QWEN}, "", "qwen-code", "q1"),
        ({"user-agent": "python-httpx", "x-session-id": "mine"}, CHAT, "", "", "mine"),
        ({"x-omni-session": "s", "x-omni-agent": "own", "session-id": "no"}, CHAT, "", "own", "s"),
        ({"user-agent": "curl/8"}, {**CHAT, "prompt_cache_key": "k"}, "", "", ""),
    ],
)  # fmt: skip
def test_agents_say_which_session_it_is(
    gateway: Served,
    headers: dict[str, str],
    body: dict[str, Any],
    path: str,
    agent: str,
    session: str,
) -> None:
    assert ask(gateway, headers, body, path).status_code == 200
    (row,) = rows(gateway, 1)
    assert (row.agent, row.session) == (agent, session)


def test_an_agent_that_names_none_has_one_by_its_first_question(gateway: Served) -> None:
    recorded = json.loads((REPO / "fixtures" / "clients" / "codex_first.json").read_text("utf-8"))
    first = recorded["body"] | {"model": "openai/gpt-4o", "stream": False}
    del first["prompt_cache_key"]
    more = {"type": "message", "role": "user", "content": "go on"}
    later = {**first, "input": [*first["input"], more]}
    other = {**first, "input": [{"type": "message", "role": "user", "content": "something else"}]}
    for body in (first, later, other):
        headers = {"user-agent": recorded["headers"]["user-agent"]}
        assert ask(gateway, headers, body, recorded["path"]).status_code == 200
    sessions = [row.session for row in rows(gateway, 3)]
    assert sessions[0] == sessions[1] != sessions[2]
    assert all(name.startswith("prefix-") for name in sessions)


def test_a_launchers_headers_tell_all_of_a_session(gateway: Served) -> None:
    headers = {
        "x-omni-session": "s1",
        "x-omni-agent": "codex",
        "x-omni-project": "/home/me/shop",
        "x-omni-git-remote": "github.com/me/shop",
        "x-omni-git-branch": "main",
        "x-omni-session-title": "mend the till",
    }
    assert ask(gateway, headers, CHAT).status_code == 200
    (row,) = rows(gateway, 1)
    assert (row.session, row.project, row.agent) == ("s1", "shop", "codex")
    known = gateway.app.sessions.of(["s1", "s2"])
    assert [item.session for item in known.values()] == [
        Session("s1", "codex", "shop", "github.com/me/shop", "main", title="mend the till")
    ]
    wanted: tuple[tuple[Dimension, str], ...] = (
        ("session", "s1"),
        ("project", "shop"),
        ("agent", "codex"),
    )
    for by, name in wanted:
        report = gateway.app.usage.report(UsageQuery(by=by))
        assert [(line.name, line.totals.cost_nusd) for line in report.rows] == [
            (name, report.total.totals.cost_nusd)
        ]


def test_a_launchers_key_puts_what_comes_with_it_below_its_session(
    tmp_path: Path, sim: Simulator
) -> None:
    """An agent whose headers nobody can set has a key instead; and others need none for that."""
    launched = Session("run-1", "codex", "shop", branch="main")
    with serving(tmp_path, sim) as gateway:
        key = ClientKey("launch", "sk-…", session=launched)
        gateway.app.client_keys.add(key, "sk-omni-launched")
    headers = {"authorization": "Bearer sk-omni-launched"}
    with serving(tmp_path, sim) as gateway:
        for more in ({}, {"user-agent": CODEX, "session_id": UUID}):
            assert ask(gateway, headers | more, CHAT).status_code == 200
        assert ask(gateway, {}, CHAT).status_code == 200
        found = [(row.key, row.session, row.project) for row in rows(gateway, 3)]
        assert found == [("launch", "run-1", "shop"), ("launch", UUID, "shop"), ("", "", "")]
        child = gateway.app.sessions.of([UUID])[UUID].session
    assert (child.parent, child.branch, child.agent) == ("run-1", "main", "codex")


def test_a_session_stays_where_its_prompt_is_cached(gateway: Served) -> None:
    """And the decision, which the receipt shows, says so."""
    long = [
        {"role": "user", "content": "Tell me a little about Paris, please. " * 600},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Thanks! And what is the capital of Spain?"},
    ]
    with gateway.app.fleet.change("test", "only what costs something", None, "fleet"):
        for model in ("ollama/llama3.1:70b", "deepseek/deepseek-chat"):
            gateway.app.fleet.set_status(model, "standby")
    for session in ("s1", "s2"):
        first = {**CHAT, "model": MINI if session == "s1" else "auto"}
        for body in (first, {**CHAT, "model": "auto", "messages": long}):
            assert ask(gateway, {"x-omni-session": session}, body).status_code == 200
    _, warm, begun, cold = rows(gateway, 4)
    assert warm.model == MINI != cold.model == begun.model
    for row in (warm, cold):  # each where it began
        told = json.dumps(receipt_document(gateway.app.receipts.read(id_text(row.id))))
        assert "the conversation stays" in told


SCOPES: tuple[tuple[BudgetScope, str], ...] = (("session", "s1"), ("project", "shop"))


@pytest.mark.parametrize(("scope", "value"), SCOPES)
def test_a_budget_of_a_session_or_project_stops_it_alone(
    gateway: Served, scope: BudgetScope, value: str
) -> None:
    gateway.app.budgets.put(Budget(0, scope, value, "day", 0))
    headers = {"x-omni-session": "s1", "x-omni-project": "shop"}
    refused = ask(gateway, headers, CHAT)
    assert refused.status_code == 402, refused.text
    assert f"{scope} {value}" in refused.text
    other = {"x-omni-session": "s2", "x-omni-project": "farm"}
    assert ask(gateway, other, CHAT).status_code == 200


def test_what_a_session_spends_is_in_its_budgets(gateway: Served) -> None:
    """Also of what was imported, and of what the ledger held before the budget was made."""
    headers = {"x-omni-session": "s1", "x-omni-project": "shop"}
    assert ask(gateway, headers, CHAT).status_code == 200
    (row,) = rows(gateway, 1)
    for scope, value in SCOPES:
        gateway.app.budgets.put(Budget(0, scope, value, "day", 10**12))
    assert ask(gateway, headers, CHAT).status_code == 200
    spent = sum(row.cost_nusd or 0 for row in rows(gateway, 2))
    call = ImportedCall(
        "codex", "x", row.created_at, "openai", "gpt-4o", Usage(input_tokens=1000, output_tokens=9),
        session_id="s1", project="shop",
    )  # fmt: skip
    plan = gateway.app.importing.plan("codex", [call])
    gateway.app.importing.apply(plan)
    spent += plan.added.cost_nusd
    assert plan.added.cost_nusd > 0
    statuses = gateway.app.budget_admin.statuses()
    assert [status.spent_nusd for status in statuses] == [spent, spent]
    store = gateway.app.store
    assert isinstance(store, SqliteStore)
    assert not BudgetStore(store).drifts()


def test_live_sessions_and_the_tree_of_one(tmp_path: Path, sim: Simulator) -> None:
    """A launched session with a sub-agent of its own name and one under another."""
    with serving(tmp_path, sim) as gateway:
        session = Session("launch:1", "codex", "shop")
        key = ClientKey("launch:1", "sk-…", created_at=gateway.app.now_ms(), session=session)
        gateway.app.client_keys.add(key, "sk-omni-launched")
        gateway.app.budgets.put(Budget(0, "key", "launch:1", "month", 10**9))
        (begun,) = gateway.app.agent_sessions.live()
        assert (begun.id, begun.calls, begun.state, begun.stoppable) == (
            "launch:1", 0, "active", True,
        )  # fmt: skip
    mine = {"authorization": "Bearer sk-omni-launched", "user-agent": CLAUDE}
    child = {**mine, "x-claude-code-session-id": UUID}
    with serving(tmp_path, sim) as gateway:
        for headers in (child, {**child, "x-claude-code-agent-id": "a"}, {"x-omni-session": "s2"}):
            assert ask(gateway, headers, CHAT).status_code == 200
        told = rows(gateway, 3)
        service = gateway.app.agent_sessions
        live = {one.id: one for one in service.live()}
        assert set(live) == {"launch:1", "s2"}
        one = live["launch:1"]
        spent = sum(row.cost_nusd or 0 for row in told[:2])
        assert (one.calls, one.cost_nusd, one.sub_sessions) == (2, spent, 2)
        assert (one.cap_nusd, one.cap_left_nusd) == (10**9, 10**9 - spent)
        assert (one.agent, one.project, one.model, one.state) == (
            "codex", "shop", told[1].model, "active",
        )  # fmt: skip
        assert one.hour_nusd is not None
        assert one.hour_nusd >= spent
        assert live["s2"].cap_nusd is None
        tree = service.tree("launch:1")
        assert (tree.calls, tree.cost_nusd, tree.turns) == (2, spent, ())
        (part,) = tree.parts
        assert [turn.id for turn in part.turns] == [id_text(told[0].id)]
        (agent,) = part.parts
        assert agent.session == Session(f"{UUID}/a", "claude-code:subagent", "shop", parent=UUID)
        assert [turn.cost_nusd for turn in agent.turns] == [told[1].cost_nusd]
        assert part.cost_nusd == spent
        assert tree_document(tree)["parts"][0]["parts"][0]["calls"] == 1
        with pytest.raises(NotFound):
            service.tree("nothing")


def test_a_sessions_budget_holds_for_what_its_sub_agents_ask(engine: str, gateway: Served) -> None:
    """Though each of them is a session of its own."""
    gateway.app.budgets.put(Budget(0, "session", UUID, "month", 2_000_000))
    agent = {"user-agent": CLAUDE, "x-claude-code-session-id": UUID}
    inner = {"x-claude-code-agent-id": "b", "x-claude-code-parent-agent-id": "a"}
    turns = (agent, {**agent, **inner}, {**agent, "x-claude-code-agent-id": "a"}) * 4
    short = {**CHAT, "max_tokens": 50}
    codes = [ask(gateway, headers, short).status_code for headers in turns]
    assert (codes[0], set(codes[-3:])) == (200, {402})
    other = {**agent, "x-claude-code-session-id": UUID[::-1], "x-claude-code-agent-id": "a"}
    assert ask(gateway, other, CHAT).status_code == 200
    (budget,) = gateway.app.budgets.all()
    assert gateway.app.budgets.status(budget, gateway.app.now_ms()).spent_nusd <= 2_000_000
    assert gateway.app.budgets.drifts() == []
    known = gateway.app.sessions.of([f"{UUID}/b", f"{UUID}/a"])
    assert {name: row.session.parent for name, row in known.items()} == {
        f"{UUID}/b": f"{UUID}/a", f"{UUID}/a": UUID,
    }  # fmt: skip


def test_a_stopped_session_is_refused_with_its_sub_agents_until_it_resumes(
    gateway: Served,
) -> None:
    child = {"x-omni-session": "s1-sub", "x-omni-session-parent": "s1"}
    mine, other = {"x-omni-session": "s1"}, {"x-omni-session": "s2"}
    for headers in (mine, child, other):
        assert ask(gateway, headers, CHAT).status_code == 200
    rows(gateway, 3)
    service = gateway.app.agent_sessions
    assert service.stop("s1").id == "s1"
    until = time.monotonic() + 10
    while ask(gateway, mine, CHAT).status_code == 200 and time.monotonic() < until:
        time.sleep(0.05)
    for headers in (mine, child):
        refused = ask(gateway, headers, CHAT)
        assert refused.status_code == 410
        assert "no more calls of s1 " in refused.text
    assert ask(gateway, other, CHAT).status_code == 200
    assert {one.id: one.state for one in service.live()}["s1"] == "stopped"
    service.stop("s1", again=True)
    while ask(gateway, mine, CHAT).status_code != 200 and time.monotonic() < until:
        time.sleep(0.05)
    assert ask(gateway, child, CHAT).status_code == 200
    assert time.monotonic() < until

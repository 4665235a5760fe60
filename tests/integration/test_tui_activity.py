"""Activity as a live tail: found by a query, followed, paused, its receipts (E2, tui.md D7)."""

from pathlib import Path

import pytest
from textual.widgets import Input, Static

from omni_cli.bootstrap import App
from omni_cli.domain.batch import Batch, Progressed
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import ChatRequest, Message, Usage
from omni_cli.domain.ids import id_text, make_id
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd, RequestRow
from omni_cli.domain.search import parse
from omni_cli.domain.sessions import Session, SessionRow
from omni_cli.services.engine.routing import RouteOptions, decision_document
from omni_cli.services.engine.settlement import estimated_usage
from omni_cli.services.money.activity import Found
from omni_cli.services.money.prices import cost_or_none
from omni_cli.tui.screens import activity
from omni_cli.tui.screens.activity import ActivityPane, path_text
from omni_cli.tui.screens.receipt import ReceiptScreen, decision_text
from omni_cli.tui.screens.sessions import LiveSessions, SessionScreen
from omni_cli.tui.widgets.table import Table
from tests.beginning import begin
from tests.integration.cli_process import omni
from tests.integration.tui_pilot import copy_home, opened, press, read, shown
from tests.snapshot.scene import NOW_MS, clock, env_of
from tests.snapshot.steps import settle

SONNET, TURBO = "anthropic/claude-sonnet-4-20250514", "openai/gpt-4-turbo"


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "omni", tmp_path_factory.mktemp("scene"), past=True)


def call(
    omni: App,
    at: int,
    *tries: tuple[str, str],
    task: str = "chat",
    done: bool = True,
    session: str = "",
) -> int:
    """A request whose (model, error code or "") tries are these; the last one stays open unless
    ``done``."""
    request = make_id(at, 11)
    new = NewRequest(
        request, at, "gateway", "test", agent="Tail", task=task, session=session, project="shop"
    )
    omni.ledger.open(new, None)
    for n, (name, code) in enumerate(tries, 1):
        model = omni.fleet.model(name)
        price = omni.browser.listed(model).price
        attempt = NewAttempt(
            request=request,
            n=n,
            model=name,
            provider=model.provider,
            started_at=at,
            input_estimate=1_000,
            price=None if price is None else price.id,
            reserve_nusd=0,
        )
        writer = begin(omni.ledger, attempt)
        if not done and n == len(tries):
            writer.write(Batch(progress=[Progressed(request, n, at + 5, 4_000)]))
            return request
        end = AttemptEnd("failed" if code else "ok", at + 10, Usage(), error_code=code or None)
        omni.ledger.end_attempt(request, n, end, priced="priced")
    state = "failed" if tries[-1][1] else "ok"
    last, code = tries[-1]
    end_of_it = RequestEnd(state, at + 20, last, last.partition("/")[0], error_code=code or None)
    omni.ledger.end_request(request, end_of_it)
    return request


def cells(pane: ActivityPane, row: int) -> dict[str, str]:
    table = pane.query_one("#requests", Table)
    values = table.get_row_at(row)
    return {str(c.key.value): str(v) for c, v in zip(table.ordered_columns, values, strict=True)}


async def again(pilot: object) -> None:
    pilot.app.action_reload()
    await settle(pilot)


async def test_new_requests_come_in_lit_and_a_pause_holds_them_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "_FLASH_S", 3_600.0)  # a busy machine looks later
    async with opened(home, "activity", (100, 30)) as pilot:
        pane = pilot.app.query_one(ActivityPane)
        assert "follows" in shown(pilot.app, "#state")
        with App(env_of(home), clock=clock) as omni:
            first = call(omni, NOW_MS - 2_000, (SONNET, ""))
            await again(pilot)
            assert pane.query_one("#requests", Table).chosen == str(first)
            assert first in pane._lit
            await press(pilot, "space")
            second = call(omni, NOW_MS - 1_000, (SONNET, ""))
            await again(pilot)
        assert "paused, 1 new" in shown(pilot.app, "#state")
        assert pane.query_one("#requests", Table).chosen == str(first)
        await press(pilot, "space")
        assert pane._value.listing.found[0].row.id == second


async def test_failover_and_what_is_under_way_are_told_in_the_row(home: Path) -> None:
    with App(env_of(home), clock=clock) as omni:
        at = NOW_MS - 4_000
        call(omni, at, (SONNET, "overloaded"), (SONNET, "overloaded"), (TURBO, ""))
        call(omni, NOW_MS - 3_000, (TURBO, "bad_request"))
        call(omni, NOW_MS - 2_500, (SONNET, ""), done=False)
        price = omni.browser.listed(omni.fleet.model(SONNET)).price
        expected = cost_or_none(estimated_usage(1_000, 4_000, None), price.price)
    async with opened(home, "activity", (100, 30)) as pilot:
        pane = pilot.app.query_one(ActivityPane)
        running, failed, over = (cells(pane, row) for row in range(3))
        assert pane._value.listing.found[0].running_nusd == expected
        assert running["cost"].startswith("~$")
        assert running["error"] == "under way"
        assert running["took"] == "2.5s"
        assert failed["error"] == "bad_request"
        assert over["model"] == "□ Claude Sonnet 4 ×2 > □ GPT-4 Turbo"
        assert over["error"] == "(overloaded)"


async def test_a_query_finds_all_that_match_or_says_what_is_wrong(home: Path) -> None:
    async with opened(home, "activity", (100, 30)) as pilot:
        pane = pilot.app.query_one(ActivityPane)
        words = "model:sonnet cost>0.01 since:3d"
        pilot.app.query_one("#filter", Input).value = words
        await settle(pilot)
        every = read(home, lambda omni: omni.activity.find(parse(words), limit=9_999))
        assert every.found
        assert [one.row.id for one in pane._value.listing.found] == [o.row.id for o in every.found]
        assert f"all {len(every.found)}" in shown(pilot.app, "#state")
        await press(pilot, "o")
        costs = [one.cost_nusd for one in pane._value.listing.found]
        assert costs == sorted(costs, reverse=True)
        pilot.app.query_one("#filter", Input).value = "modle:sonnet"
        await settle(pilot)
        assert "did you mean model?" in shown(pilot.app, "#empty")
        await press(pilot, "escape", "m")
        assert len(pane._value.listing.found) == 400
        assert "400 shown, m: more" in shown(pilot.app, "#state")


async def test_the_receipt_beside_follows_the_cursor(home: Path) -> None:
    async with opened(home, "activity", (120, 40)) as pilot:
        pane = pilot.app.query_one(ActivityPane)
        place = pane.query_one("#side #receipt", Static)
        seen = []
        for _ in range(3):
            row = pane._value.listing.found[pane.query_one("#requests", Table).cursor_row].row
            seen.append(str(place.content))
            assert f"{row.usage.input_tokens:,} in" in seen[-1]
            await press(pilot, "j")
        assert len(set(seen)) == 3
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, ReceiptScreen)


@pytest.mark.parametrize(("tab", "size"), [("activity", (120, 40)), ("fleet", (160, 44))])
async def test_a_live_session_opens_as_a_tree_and_is_stopped(
    home: Path, tab: str, size: tuple[int, int]
) -> None:
    with App(env_of(home), clock=clock) as omni:
        main = Session("main-1", "claude-code", "shop", title="Mend the cart")
        sub = Session("sub-1", "claude-code", "shop", parent="main-1", title="Look around")
        omni.sessions.note(
            [SessionRow(one, NOW_MS - 600_000, NOW_MS - 9_000) for one in (main, sub)]
        )
        turn = call(omni, NOW_MS - 60_000, (SONNET, ""), session="main-1")
        call(omni, NOW_MS - 50_000, (TURBO, "overloaded"), session="sub-1")
        omni.budgets.put(Budget(0, "session", "main-1", "month", 2_000_000_000))
    async with opened(home, tab, size) as pilot:
        strip = pilot.app.query_one(LiveSessions)
        assert (strip.display, strip.size.height) == (True, 2)
        (row,) = [" ".join(map(str, strip.get_row_at(0)))]
        assert "claude-code · shop · Mend the cart + 1 sub-agent" in row
        assert "$2.00" in row
        strip.focus()
        await press(pilot, "enter")
        screen = pilot.app.screen
        assert isinstance(screen, SessionScreen)
        table = screen.query_one(Table)
        lines = [str(table.get_row_at(n)[1]) for n in range(table.row_count)]
        assert [len(line) - len(line.lstrip()) for line in lines] == [0, 2, 2, 4]
        assert "overloaded" in lines[3]
        await press(pilot, "j", "enter")
        assert isinstance(pilot.app.screen, ReceiptScreen)
        assert pilot.app.screen._request == turn
        await press(pilot, "escape", "x", "y")
        assert "stopped" in shown(pilot.app, "#title")
        (live,) = read(home, lambda o: o.agent_sessions.live())
        assert live.state == "stopped"
        await press(pilot, "x")
        assert "stopped" not in shown(pilot.app, "#title")


def test_candidates_are_a_table_whose_bars_add_up_to_the_score(home: Path) -> None:
    with App(env_of(home), clock=clock) as omni:
        request = ChatRequest(messages=(Message.text_of("user", "Refactor this function"),))
        found = decision_document(omni.routing.decide(request, RouteOptions()))
    told = decision_text(found, 94, answered=TURBO).plain.splitlines()
    named = {line[3:].split()[0]: line for line in told if " $" in line}
    assert named[found["model"]].startswith("▸")
    assert any(line.lstrip("▸ ").startswith(("✓", TURBO)) and "✓" in line for line in told)
    for candidate in found["candidates"][:12]:
        if candidate["eligible"] and candidate["score"] is not None:
            bar = sum(named[candidate["model"]].count(sign) for sign in "█▓▒")
            assert abs(bar / 12 - candidate["score"]) < 0.06


def test_omni_logs_finds_what_activity_finds(home: Path) -> None:
    query = ("model:sonnet", "cost>0.01", "!agent:dev", "state:ok")
    done = omni(env_of(home), "logs", *query, "-n", "500", "--order", "cost", "--json")
    found = read(home, lambda o: o.activity.find(parse(" ".join(query)), limit=500, order="cost"))
    assert [row["id"] for row in done.json] == [id_text(one.row.id) for one in found.found]
    assert found.found
    wrong = omni(env_of(home), "logs", "cost>much")
    assert wrong.code == 2
    assert "no figure for cost" in wrong.err


def test_who_answered_is_named_though_there_is_little_room() -> None:
    names = {"a/one": "Claude Sonnet 5.5", "b/two": "Gemini 3.5 Flash"}
    row = RequestRow(id=1, created_at=0, source="chat", owner="t", state="ok")
    one = Found(row, (("a/one", 4), ("b/two", 1)), "overloaded")

    def drawn(width: int) -> str:
        return path_text(one, names, lambda _: "", frozenset({"b"}), width).plain

    assert drawn(60) == "■ Claude Sonnet 5.5 ×4 > □ Gemini 3.5 Flash"
    assert drawn(26) == "■ Claude… ×4 > □ Gemini…"
    assert all(len(drawn(width)) <= width for width in range(20, 60))

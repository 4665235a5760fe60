"""The queue of a provider's slots: first come, first served, over all that share a store."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.batch import Opening, RequestEnding
from omni_cli.domain.bounds import Most
from omni_cli.domain.errors import Busy
from omni_cli.domain.ledger import AttemptEnd, NewRequest, RequestEnd
from omni_cli.domain.models import Provider
from omni_cli.services.engine import commits as commits_module
from omni_cli.services.engine import own as own_module
from omni_cli.services.engine.commits import Commits
from omni_cli.services.engine.own import Singly
from omni_cli.store import slots as slots_module
from omni_cli.store.writer import Writer
from tests.engine import DATABASES, on_a_file
from tests.gateway_server import seeded

pytestmark = pytest.mark.usefixtures("engine")

NOW = 1_790_000_000_000
_IDS = itertools.count(1)


def _app(home: Path) -> App:
    if DATABASES.engine == "sqlite" and not (home / "omni.db").exists():
        (home / "omni.db").write_bytes(seeded())
    app = App({"OMNI_HOME": str(home), "USER": "test"}, durable=False)
    app.providers.put(Provider("p", "p", "openai", "http://127.0.0.1:1", "none", max_concurrency=8))
    return app


def _commits(app: App) -> Commits:
    writer = Writer(app.store, app.ledger)
    return Commits(writer, new_id=lambda: next(_IDS), note=print)


def _opening(commits: Commits, slots: int) -> Opening:
    new = NewRequest(next(_IDS), NOW, "gateway", commits.owner)
    return Opening(new, 1, "p/m", "p", NOW, 1, Most(1, 1), slots)


def _singly(app: App) -> Singly:
    writer = Writer(app.store, app.ledger, alone=True)
    return Singly(writer, clock=time.time, pause=writer.rung, reclaim=lambda: None)


def _begun(singly: Singly, slots: int) -> Opening:
    """Of a request that has its row."""

    def make() -> NewRequest:
        return NewRequest(next(_IDS), NOW, "chat", singly.owner)

    new = singly.begin(make, "{}", lambda _: None)
    at = int(time.time() * 1000)
    return Opening(new, 1, "p/m", "p", at, 1, Most(1, 1), slots, opened=True)


def _end(commits: Commits, opening: Opening) -> None:
    end = AttemptEnd("ok", opening.started_at + 5, cost_nusd=0)
    commits.end_attempt(opening.request.id, 1, end, priced="priced")
    done = RequestEnd("ok", opening.started_at + 5, "p/m", "p")
    commits.end(RequestEnding(opening.request.id, done))


@contextmanager
def _nobody_looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only a bell wakes who waits."""
    with monkeypatch.context() as patch:
        if DATABASES.engine == "sqlite":  # over a network nobody rings, and who waits looks
            patch.setattr(commits_module, "LOOK_S", 60.0)
            patch.setattr(own_module, "_SLOT_LOOK_S", 60.0)
        yield


async def _loops(commits: list[Commits], callers: int, slots: int, total: int) -> list[int]:
    """Closed loops, spread over gateways; returns who was served, in the order of service."""
    came: list[int] = []
    served: list[int] = []

    async def caller(number: int) -> None:
        mine = commits[number % len(commits)]
        while len(served) < total:
            came.append(number)
            opening = _opening(mine, slots)
            await mine.open(opening)
            served.append(number)
            await asyncio.sleep(0.001)
            _end(mine, opening)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    if len(commits) == 1:
        assert served == came[: len(served)]  # nobody was overtaken, not once
    return served


async def test_sixteen_callers_on_eight_slots_are_served_in_the_order_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _nobody_looks(monkeypatch), _app(tmp_path) as app:
        commits = _commits(app)
        counts = Counter(await _loops([commits], 16, 8, 480))
        assert max(counts.values()) - min(counts.values()) <= 1
        await commits.close()
        waited = app.windows.slots(0)["p"]
        assert (waited.in_use, waited.waiting) == (0, 0)
        assert waited.waits > 200  # half of the callers, each time
        assert app.store.db.execute("SELECT count(*) FROM slot_tickets").fetchone()[0] == 0


async def test_two_gateways_share_the_slots_evenly_and_wake_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a bell the one that finds the other's calls under way would sleep for a minute."""
    with _nobody_looks(monkeypatch), _app(tmp_path) as first, _app(tmp_path) as second:
        both = [_commits(first), _commits(second)]
        counts = Counter(await asyncio.wait_for(_loops(both, 12, 3, 240), 30))
        assert max(counts.values()) <= 2 * min(counts.values())
        for commits in both:
            await commits.close()


async def test_a_command_waits_in_the_same_queue_as_a_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes second of three: the third, which the gateway would know first, goes after it."""
    order: list[str] = []
    with _nobody_looks(monkeypatch), _app(tmp_path) as app, _app(tmp_path) as other:
        commits = _commits(app)
        first, third = _opening(commits, 1), _opening(commits, 1)
        await commits.open(first)
        singly = _singly(other)
        mine = _begun(singly, 1)

        async def command() -> None:
            await singly.open(mine)
            order.append("command")
            end = AttemptEnd("ok", NOW + 9, cost_nusd=0)
            singly.end_attempt(mine.request.id, 1, end, priced="priced")
            singly.flush()

        waits = asyncio.create_task(command())
        await asyncio.sleep(0.02)
        waiting = commits.open(third)
        waiting.add_done_callback(lambda _: order.append("gateway"))
        await asyncio.sleep(0.05)
        _end(commits, first)
        await asyncio.wait_for(waiting, 20)
        await waits
        assert order == ["command", "gateway"]
        assert third.waited_ms >= 50
        assert mine.waited_ms >= 50
        await commits.close()


async def test_who_gives_up_and_who_dies_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        commits = _commits(app)
        first, left, last = (_opening(commits, 1) for _ in range(3))
        await commits.open(first)
        leaving = commits.open(left)
        while left.ticket is None or commits._apart is not None:  # one connection: no two at once
            await asyncio.sleep(0.01)
        dead = slots_module.now_ms() - 10_000
        with app.store.transaction() as db:  # of a process that was killed
            ticket = slots_module.take_ticket(db, "p", "1-dead", 7, 0)
            db.execute("UPDATE slot_tickets SET seen_at = ? WHERE id = ?", (dead, ticket))
        waiting = commits.open(last)
        await asyncio.sleep(0.02)
        leaving.cancel()
        _end(commits, first)
        await asyncio.wait_for(waiting, 5)
        _end(commits, last)
        await commits.close()


async def test_the_wait_for_a_slot_ends_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits_module, "SLOT_WAIT_S", 0.05)
    with _app(tmp_path) as app:
        commits = _commits(app)
        first = _opening(commits, 1)
        await commits.open(first)
        with pytest.raises(Busy, match="all 1 slots of p were taken"):
            await asyncio.wait_for(commits.open(_opening(commits, 1)), 5)
        await asyncio.sleep(0.02)
        assert app.windows.slots(0)["p"].waiting == 0
        _end(commits, first)
        await commits.close()


@on_a_file
async def test_without_a_limit_nobody_counts_and_nobody_waits(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        commits = _commits(app)
        openings = [_opening(commits, 1) for _ in range(40)]
        for opening in openings:
            opening.slots = None
        asked: list[str] = []
        app.store.db.set_trace_callback(asked.append)
        await asyncio.gather(*(commits.open(opening) for opening in openings))
        assert not [statement for statement in asked if "slot_tickets" in statement]
        for opening in openings:
            _end(commits, opening)
        await commits.close()
        assert not [statement for statement in asked if "slot_tickets" in statement]


@on_a_file
async def test_a_waiting_command_is_woken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By counts: it looks twice, when it begins to wait and when it is rung; so does one that waits
    beside the call that ends."""
    looks: list[int] = []
    take = slots_module.Turns.take

    def counted(self: slots_module.Turns, ticket: int | None, slots: int) -> bool:
        looks.append(slots)
        return take(self, ticket, slots)

    with _nobody_looks(monkeypatch), _app(tmp_path) as app, _app(tmp_path) as other:
        monkeypatch.setattr(slots_module.Turns, "take", counted)
        one, two = _singly(app), _singly(other)
        for at_work, waits in ((one, two), (one, one)):
            first, second = _begun(at_work, 1), _begun(waits, 1)
            await at_work.open(first)
            looks.clear()
            waiting = asyncio.create_task(waits.open(second))
            await asyncio.sleep(0.02)
            assert len(looks) == 1
            end = AttemptEnd("unsent", NOW + 9, cost_nusd=0)
            at_work.end_attempt(first.request.id, 1, end, priced=None)
            await asyncio.wait_for(waiting, 20)
            assert len(looks) == 2
            waits.end_attempt(second.request.id, 1, end, priced=None)


async def test_a_command_that_gives_up_leaves_its_place(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        singly = _singly(app)
        first, left, last = (_begun(singly, 1) for _ in range(3))
        await singly.open(first)
        leaving = asyncio.create_task(singly.open(left))
        await asyncio.sleep(0.02)
        waiting = asyncio.create_task(singly.open(last))
        await asyncio.sleep(0.02)
        assert app.windows.slots(0)["p"].waiting == 2
        leaving.cancel()
        end = AttemptEnd("ok", NOW + 9, cost_nusd=0)
        singly.end_attempt(first.request.id, 1, end, priced="priced")
        singly.flush()
        await asyncio.wait_for(waiting, 5)
        assert app.windows.slots(0)["p"].waiting == 0

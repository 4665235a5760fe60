"""From a job to a plan to a settled request (services/engine/chat.py and answer.py)."""

import json
from typing import Any

import pytest

from omni_cli.domain.batch import Batch
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import ChatChunk, Message
from omni_cli.domain.errors import (
    AllProvidersFailed,
    BudgetExceeded,
    NoRoute,
    Overloaded,
    UnknownPrice,
)
from omni_cli.domain.models import Chain, ChainLink, Role, RoleModel, Rule
from omni_cli.domain.record import replace
from omni_cli.services.engine.answer import result_document
from omni_cli.services.engine.chat import ChatRun, ChatService
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.store.ledger import LedgerStore
from tests import stable
from tests.engine import on_a_file
from tests.unit.world import World, answer, ask

AUTO = Selector("auto", "")


@pytest.fixture
def fleet(world: World) -> World:
    """Three models: cheap and fair, dear and good, and one of unknown price."""
    world.model("p/cheap", "1", "1", quality=0.80)
    world.model("q/good", "4", "4", quality=0.82)
    world.model("r/vague", None, quality=0.70)
    return world


def chat(world: World, job: ChatJob, premium: str = "") -> tuple[ChatRun, str]:
    service = world.service(premium)
    run = service.start(service.plan(job))
    text = "".join(chunk.text for chunk in service.chunks(run, new_turns=job.request.messages))
    return run, text


def targets(service: ChatService, job: ChatJob) -> list[str]:
    return [target.model.id for target in service.plan(job).targets]


class TestBatchesOfOne:
    def test_a_call_is_written_as_the_gateway_writes_its_own(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its row, its attempt before it goes, and both ends with all that belongs to them: one
        transaction each, and whole rows, which nobody changes afterwards."""
        world.model("p/a")
        world.budgets.put(Budget(0, "all", "", "day", 10**9))
        world.script("p/a", answer())
        batches: list[tuple[int, int, list[str], int]] = []
        write = world.writer.write

        def noted(batch: Batch) -> None:
            ends = [type(ending).__name__ for ending in batch.endings]
            if not batch.progress:
                batches.append((len(batch.requests), len(batch.openings), ends, len(batch.jobs)))
            write(batch)

        monkeypatch.setattr(world.writer, "write", noted)
        monkeypatch.setattr(LedgerStore, "end_attempt", None)
        monkeypatch.setattr(LedgerStore, "end_request", None)
        run, text = chat(world, ChatJob(ask(), world.names.select("p/a")))
        assert text == "hello"
        assert batches == [
            (1, 0, [], 1),
            (0, 1, [], 0),
            (0, 0, ["AttemptEnding", "RequestEnding"], 1),
        ]
        assert run.row is not None
        assert (run.row.state, run.row.cost_nusd, run.row.attempts) == ("ok", 20_000, 1)
        assert json.loads(world.ledger.decision(run.id) or "")["model"] == "p/a"
        assert world.budgets.drifts() == []

    def test_ends_are_written_where_what_belongs_to_them_cannot_be(self, world: World) -> None:
        world.model("p/a")
        world.script("p/a", answer())
        job = ChatJob(ask(), world.names.select("p/a"), settled=lambda _: 1 / 0)  # type: ignore[arg-type,return-value]  # breaks
        service = world.service()
        run = service.start(service.plan(job))
        with pytest.raises(ZeroDivisionError):
            list(service.chunks(run))
        row = world.ledger.get(run.id)
        assert row is not None
        assert (row.state, row.cost_nusd) == ("ok", 20_000)

    def test_who_was_asked_last_is_named_where_nobody_answered(self, world: World) -> None:
        for model in ("p/a", "q/b"):
            world.model(model)
            world.script(model, Overloaded("busy", status=529), Overloaded("busy", status=529))
        job = ChatJob(ask(), world.names.select("p/a"), fallback=True)
        service = world.service()
        run = service.start(service.plan(job))
        with pytest.raises(AllProvidersFailed):
            list(service.chunks(run))
        assert run.row is not None
        assert (run.row.state, run.row.model, run.row.attempts) == ("failed", "q/b", 4)


class TestPlan:
    def test_auto_takes_the_best_score_and_all_others_stand_in(self, fleet: World) -> None:
        assert targets(fleet.service(), ChatJob(ask(), AUTO)) == ["p/cheap", "q/good", "r/vague"]

    def test_a_named_model_stands_alone_unless_others_may_stand_in(self, fleet: World) -> None:
        named = ChatJob(ask(), Selector("model", "q/good"))
        assert targets(fleet.service(), named) == ["q/good"]
        plan = fleet.service().plan(replace(named, fallback=True))
        assert [t.model.id for t in plan.targets] == ["q/good", "p/cheap", "r/vague"]
        # The expected costs are those of the same request: consent can be judged.
        assert [t.expected_nusd is None for t in plan.targets] == [False, False, True]
        assert plan.consent.first == "q/good"
        refusals = [plan.consent.refusal(t.model.id, t.expected_nusd) for t in plan.targets]
        assert [refusal is None for refusal in refusals] == [True, True, False]

    def test_a_named_model_heeds_neither_rule_nor_role(self, fleet: World) -> None:
        fleet.assignments.put_rule(Rule(0, "priority == 'balanced'", "p/cheap"))
        fleet.assignments.put_role(Role("coder", "", (RoleModel("p/cheap"),)))
        job = ChatJob(ask(), Selector("model", "q/good"), RouteOptions(role="coder"))
        plan = fleet.service().plan(job)
        assert plan.decision.model == "q/good"
        assert plan.decision.by == "named"
        assert "not eligible" not in plan.decision.reason

    def test_a_role_comes_before_the_score(self, fleet: World) -> None:
        fleet.assignments.put_role(Role("coder", "", (RoleModel("q/good"),)))
        plan = fleet.service().plan(ChatJob(ask(), Selector("role", "coder")))
        assert plan.decision.model == "q/good"
        assert plan.job.options.role == "coder"

    def test_auto_with_a_word_is_a_priority_or_a_latency(self, fleet: World) -> None:
        plan = fleet.service().plan(ChatJob(ask(), Selector("auto", "best")))
        assert (plan.decision.model, plan.decision.by) == ("q/good", "quality")
        assert (
            fleet.service().plan(ChatJob(ask(), Selector("auto", "fast"))).decision.by == "fastest"
        )

    def test_a_chain_keeps_its_order_and_adds_the_others_cheapest_first(self, fleet: World) -> None:
        fleet.model("s/free", free=True, quality=0.8)
        fleet.assignments.put_rule(Rule(0, "priority == 'cheap'", "r/vague"))
        chain = Chain("c", (ChainLink("q/good", 3, 9_000), ChainLink("gone/model")))
        fleet.assignments.put_chain(chain)
        plan = fleet.service().plan(ChatJob(ask(), Selector("chain", "c")))
        assert [t.model.id for t in plan.targets] == ["q/good", "s/free", "p/cheap", "r/vague"]
        assert (plan.targets[0].max_retries, plan.targets[0].timeout_ms) == (3, 9_000)
        assert plan.chain == "c"

    def test_no_route_says_why_for_each(self, fleet: World) -> None:
        with pytest.raises(NoRoute, match="p/cheap: quality 80% is below 99%"):
            fleet.service().plan(ChatJob(ask(), AUTO, RouteOptions(min_quality=0.99)))

    def test_an_empty_fleet_says_what_to_type(self, world: World) -> None:
        with pytest.raises(NoRoute) as raised:
            world.service().plan(ChatJob(ask(), AUTO))
        assert "omni init" in raised.value.hint

    def test_money_decides_the_kind_of_refusal(self, fleet: World) -> None:
        with pytest.raises(BudgetExceeded, match="maximum cost"):
            fleet.service().plan(ChatJob(ask(), AUTO, RouteOptions(max_cost_nusd=1)))
        vague = ChatJob(
            ask(), Selector("model", "r/vague"), RouteOptions(allow_unknown_price=False)
        )
        with pytest.raises(UnknownPrice):
            fleet.service().plan(vague)


class TestRun:
    def test_the_row_is_written_before_the_call_and_settled_after(self, fleet: World) -> None:
        states: list[str] = []

        def look() -> None:
            (row,) = fleet.ledger.recent(limit=9)
            states.append(row.state + "/" + fleet.ledger.attempts(row.id)[0].state)

        fleet.transport.before = look
        fleet.script("p/cheap", answer())
        run, text = chat(fleet, ChatJob(ask("hello there"), AUTO), premium="q/good")
        assert states == ["pending/sent"]
        assert text == "hello"
        assert run.row is not None
        assert (run.row.state, run.row.model, run.row.cost_nusd) == ("ok", "p/cheap", 15_000)
        assert (run.row.premium_cost_nusd, run.row.savings_nusd) == (60_000, 45_000)

    def test_the_decision_is_kept_with_the_request(self, fleet: World) -> None:
        fleet.script("p/cheap", answer())
        run, _ = chat(fleet, ChatJob(ask(), AUTO))
        stored = json.loads(fleet.ledger.decision(run.id) or "")
        assert stored["model"] == "p/cheap"
        assert {c["model"] for c in stored["candidates"]} == {"p/cheap", "q/good", "r/vague"}

    def test_ids_that_collide_are_drawn_again(self, fleet: World) -> None:
        fleet.script("p/cheap", answer("one"), answer("two"))
        draws = iter([5, 5, 6])
        service = fleet.service()
        service._random_bits = lambda: next(draws)
        runs = [service.start(service.plan(ChatJob(ask(), AUTO))) for _ in range(2)]
        assert runs[0].id + 1 == runs[1].id
        assert ["".join(c.text for c in service.chunks(run)) for run in runs] == ["one", "two"]

    def test_a_conversation_keeps_every_turn_also_one_asked_twice(self, fleet: World) -> None:
        fleet.script("p/cheap", answer("first"), answer("second"))
        run, _ = chat(fleet, ChatJob(ask("go on"), AUTO))
        conversation = run.plan.job.conversation
        assert conversation == run.id
        again = Message.text_of("user", "go on")
        earlier = fleet.conversations.messages(run.id)
        service = fleet.service()
        request = replace(ask(), messages=(*earlier, again))
        second = service.start(service.plan(ChatJob(request, AUTO, conversation=conversation)))
        list(service.chunks(second, new_turns=[again]))
        said = [(m.role, m.text) for m in fleet.conversations.messages(run.id)]
        assert said == [
            ("user", "go on"),
            ("assistant", "first"),
            ("user", "go on"),
            ("assistant", "second"),
        ]
        assert fleet.conversations.last_model(run.id) == "p/cheap"

    @on_a_file
    def test_nothing_of_the_text_is_kept_when_not_wanted(self, fleet: World) -> None:
        fleet.script("p/cheap", answer("a secret answer"))
        chat(fleet, ChatJob(ask("a secret question"), AUTO, keep=False))
        fleet.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert b"secret" not in fleet.store.path.read_bytes()

    def test_a_refusal_is_a_refused_request(self, fleet: World) -> None:
        from omni_cli.domain.budgets import Budget

        fleet.budgets.put(Budget(0, "all", "", "month", 10))
        service = fleet.service()
        run = service.start(service.plan(ChatJob(ask(), Selector("model", "p/cheap"))))
        with pytest.raises(BudgetExceeded):
            list(service.chunks(run))
        assert run.row is not None
        assert (run.row.state, run.row.attempts, run.row.cost_nusd) == ("refused", 0, None)

    def test_failure_interrupt_and_fault_leave_their_names(self, fleet: World) -> None:
        service = fleet.service()
        job = ChatJob(ask(), Selector("model", "p/cheap"))

        def end_of(run: ChatRun) -> tuple[str, str | None]:
            assert run.row is not None
            return run.row.state, run.row.error_code

        fleet.script("p/cheap", Overloaded("x", status=503), Overloaded("x", status=503))
        failed = service.start(service.plan(job))
        with pytest.raises(AllProvidersFailed):
            list(service.chunks(failed))
        assert end_of(failed) == ("failed", "all_providers_failed")
        for thrown, expected in (
            (KeyboardInterrupt(), ("cancelled", "cancelled")),
            (RuntimeError("a bug"), ("failed", "error")),
        ):
            fleet.script("p/cheap", [ChatChunk(text="abc"), ChatChunk(text="def")])
            run = service.start(service.plan(job))
            chunks = service.chunks(run)
            next(chunks)
            with pytest.raises(type(thrown)):
                chunks.throw(thrown)
            assert end_of(run) == expected
            assert run.row is not None
            assert run.row.cost_nusd
        assert list(fleet.ledger.abandoned()) == []


class TestDocument:
    def document(self, world: World, model: str, **job: Any) -> dict[str, Any]:
        run, _ = chat(world, ChatJob(ask(), Selector("model", model)), **job)
        return result_document(run)

    def test_has_exactly_the_stable_keys(self, fleet: World) -> None:
        fleet.script("p/cheap", Overloaded("x", status=503), answer())
        document = self.document(fleet, "p/cheap", premium="q/good")
        assert list(document) == stable.CHAT
        assert list(document["usage"]) == stable.USAGE
        assert [list(a) for a in document["attempts"]] == [stable.ATTEMPT] * 2
        assert (document["cost_usd"], document["savings_usd"]) == ("0.000015", "0.000045")
        assert document["attempts"][0]["error"] == "overloaded"

    def test_an_unknown_price_is_null_never_zero(self, fleet: World) -> None:
        fleet.script("r/vague", answer())
        document = self.document(fleet, "r/vague", premium="q/good")
        assert (document["cost_usd"], document["savings_usd"]) == (None, None)
        assert document["price_state"] == "unknown"
        assert document["premium_cost_usd"] == "0.00006"

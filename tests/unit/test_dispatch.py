"""Retries, failover, consent, breakers, slots, and what each end costs (B6, C3)."""

import json
import sqlite3
from collections.abc import Generator
from decimal import Decimal
from pathlib import Path

import pytest

from omni_cli.domain.batch import Batch
from omni_cli.domain.breaker import DEFAULT_SETTINGS
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import FRAME_TOKENS, ChatChunk, MediaPart, Usage
from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import (
    AllProvidersFailed,
    AuthError,
    BadRequest,
    BudgetExceeded,
    Busy,
    ConfigError,
    ConnectionFailed,
    ContentFiltered,
    ContextTooLong,
    MissingKey,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    StreamInterrupted,
    TimedOut,
    UnknownPrice,
    Untrusted,
)
from omni_cli.domain.ids import id_text
from omni_cli.domain.models import Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.domain.record import replace
from omni_cli.domain.tokens import estimate_tokens
from omni_cli.services.engine.attempts import Progress, Target
from omni_cli.services.engine.chat_plan import ChatJob
from tests.engine import on_a_file
from tests.unit.world import Clock, World, answer, ask


def outcomes(progress: Progress) -> list[tuple[str, str, str | None]]:
    return [(a.model, a.outcome, a.error) for a in progress.attempts]


class TestRetries:
    def test_a_retry_that_succeeds_is_one_answer_and_two_attempts(self, world: World) -> None:
        world.model("p/a")
        world.script("p/a", Overloaded("busy", status=529), answer())
        text, progress, request = world.run(world.target("p/a", retries=2))
        assert text == "hello"
        assert outcomes(progress) == [("p/a", "failed", "overloaded"), ("p/a", "ok", None)]
        rows = world.ledger.attempts(request)
        # A refusal in words costs nothing; 10 in at $1 and 5 out at $2 are 20 micro-dollars.
        assert [(row.n, row.state, row.cost_nusd) for row in rows] == [
            (1, "failed", 0),
            (2, "ok", 20_000),
        ]
        assert len(world.clock.slept) == 1
        assert 0 <= world.clock.slept[0] <= 0.5

    def test_the_wait_that_a_provider_asks_for_is_kept(self, world: World) -> None:
        world.model("p/a")
        world.script("p/a", RateLimited("slow down", status=429, retry_after_s=7.0), answer())
        world.run(world.target("p/a", retries=1))
        assert 7.0 <= world.clock.slept[0] <= 7.5

    def test_a_wait_that_is_too_long_goes_to_the_next_model_at_once(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        world.script("p/a", RateLimited("tomorrow", status=429, retry_after_s=3_600.0))
        world.script("q/b", answer("from b"))
        text, _, _ = world.run(world.target("p/a", retries=5), world.target("q/b"))
        assert text == "from b"
        assert world.clock.slept == []

    @pytest.mark.parametrize(
        "error",
        [
            AuthError("wrong key", status=401),
            BadRequest("no such field", status=400),
            QuotaExceeded("no credit", status=402),
        ],
    )
    def test_what_waiting_cannot_cure_is_not_retried(
        self, world: World, error: AuthError | BadRequest | QuotaExceeded
    ) -> None:
        world.model("p/a")
        world.script("p/a", error, answer())
        raised, progress, _ = world.fails(world.target("p/a", retries=5))
        assert world.transport.models == ["a"]
        assert len(progress.attempts) == 1
        assert type(raised) in (type(error), AllProvidersFailed)

    def test_each_try_has_the_links_own_timeout(self, world: World) -> None:
        world.model("p/a")
        world.script("p/a", TimedOut("silence"), answer())
        world.run(world.target("p/a", retries=1, timeout_ms=2_500))
        assert world.transport.timeouts == [2.5, 2.5]


class TestOtherModels:
    def test_what_another_model_did_is_charged_at_its_own_price(self, world: World) -> None:
        world.model("p/a", "3", "15")
        dearer = Price("priced", input=Rate(Decimal(5)), output=Rate(Decimal(25)))
        target = replace(world.target("p/a"), price_of={"b": dearer}.get)
        used = Usage(
            1000,
            output_tokens=100,
            estimated=True,
            beside=(("b", Usage(15_000, output_tokens=700)),),
        )
        world.script("p/a", [ChatChunk(text="yes", usage=used, finish_reason="stop")])
        _, _, request = world.run(target)
        (attempt,) = world.ledger.attempts(request)
        assert attempt.cost_nusd == 97_000_000
        assert attempt.usage == replace(used, beside=())

    def test_a_model_of_unknown_price_leaves_the_cost_estimated(self, world: World) -> None:
        world.model("p/a", "3", "15")
        used = Usage(1000, output_tokens=100, estimated=True, beside=(("b", Usage(9)),))
        world.script("p/a", [ChatChunk(text="yes", usage=used, finish_reason="stop")])
        target = replace(world.target("p/a"), price_of=lambda _: None)
        _, _, request = world.run(target)
        (attempt,) = world.ledger.attempts(request)
        assert (attempt.cost_nusd, attempt.usage.estimated) == (4_500_000, True)


class TestDearerPlaces:
    @pytest.mark.parametrize(("origin", "cost"), [("catalogue", 4_950_000), ("user", 4_500_000)])
    def test_a_region_costs_more_than_the_list_price(
        self, world: World, origin: str, cost: int
    ) -> None:
        world.model("p/a", "3", "15")
        used = Usage(1000, output_tokens=100)
        world.script("p/a", [ChatChunk(text="yes", usage=used, finish_reason="stop")])
        target = world.target("p/a")
        assert target.price is not None
        place = replace(target.provider, base_url="https://eu.api.openai.com/v1")
        priced = replace(target.price, origin=origin)
        _, _, request = world.run(replace(target, provider=place, price=priced))
        (attempt,) = world.ledger.attempts(request)
        dearer = origin == "catalogue"
        assert (attempt.cost_nusd, attempt.usage.estimated) == (cost, dearer)


class TestFailover:
    def test_after_the_retries_the_next_answers_and_the_answer_says_who(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        world.script("p/a", Overloaded("1", status=503), Overloaded("2", status=503))
        world.script("q/b", answer("from b"))
        text, progress, _ = world.run(world.target("p/a", retries=1), world.target("q/b"))
        assert text == "from b"
        assert progress.target is not None
        assert progress.target.model.id == "q/b"
        assert world.transport.models == ["a", "a", "b"]
        assert any("falling back to q/b" in note for note in world.notes)

    def test_when_all_fail_every_cause_is_named(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        world.script("p/a", Overloaded("a is full", status=503))
        world.script("q/b", RateLimited("b is limited", status=429))
        raised, _, request = world.fails(world.target("p/a"), world.target("q/b"))
        assert isinstance(raised, AllProvidersFailed)
        assert [model for model, _ in raised.causes] == ["p/a", "q/b"]
        assert "a is full" in raised.message
        assert "b is limited" in raised.message
        assert world.ledger.open_attempts("p") == world.ledger.open_attempts("q") == 0
        assert len(world.ledger.attempts(request)) == 2

    def test_a_request_that_is_wrong_in_itself_is_not_sent_elsewhere(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        world.script("p/a", BadRequest("temperature is 9", status=400))
        raised, _, _ = world.fails(world.target("p/a"), world.target("q/b"))
        assert isinstance(raised, BadRequest)
        assert world.transport.models == ["a"]

    def test_what_one_model_does_not_take_is_asked_of_the_next(self, world: World) -> None:
        for name in ("p/a", "q/b", "r/c"):
            world.model(name)
        refusal = BadRequest("this model takes no temperature", status=400)
        refusal.everywhere = False
        world.script("p/a", refusal)
        world.script("q/b", ContentFiltered("not here", status=400))
        world.script("r/c", answer("from c"))
        consent = Consent(listed=("p/a", "q/b", "r/c"))
        targets = [world.target(name) for name in ("p/a", "q/b", "r/c")]
        assert world.run(*targets, consent=consent)[0] == "from c"

    def test_two_providers_that_refuse_it_end_what_nobody_listed(self, world: World) -> None:
        for name in ("p/a", "q/b", "r/c"):
            world.model(name)
        for name in ("p/a", "q/b"):
            refusal = BadRequest("what is that", status=400)
            refusal.everywhere = False
            world.script(name, refusal)
        raised, _, _ = world.fails(*(world.target(name) for name in ("p/a", "q/b", "r/c")))
        assert isinstance(raised, BadRequest)
        assert world.transport.models == ["a", "b"]

    def test_what_is_too_long_goes_to_the_model_with_more_room(self, world: World) -> None:
        for name, window in (("p/a", 8_000), ("q/b", 4_000), ("r/c", 100_000)):
            world.model(name, context_window=window)
        world.script("p/a", ContextTooLong("too long", status=400))
        world.script("r/c", answer("from c"))
        targets = [world.target(name) for name in ("p/a", "q/b", "r/c")]
        assert world.run(*targets)[0] == "from c"
        assert world.transport.models == ["a", "c"]

    def test_a_certificate_that_is_not_trusted_is_not_tried_again(self, world: World) -> None:
        world.model("p/a")
        world.script("p/a", Untrusted("not trusted"), answer())
        raised, _, _ = world.fails(world.target("p/a", retries=5))
        assert world.transport.models == ["a"]
        assert isinstance(raised, AllProvidersFailed)

    def test_what_one_protocol_cannot_say_the_next_one_may(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        world.adapter.refuses["a"] = BadRequest("this protocol cannot carry a video")
        world.script("q/b", answer("from b"))
        text, progress, _ = world.run(world.target("p/a"), world.target("q/b"))
        assert text == "from b"
        assert outcomes(progress)[0] == ("p/a", "skipped", "bad_request")

    def test_a_missing_key_of_one_provider_does_not_stop_the_chain(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")

        def keys(provider: Provider) -> str | None:
            if provider.slug == "p":
                raise MissingKey("no key for p", hint="set P_API_KEY")
            return "k"

        world.keys = keys
        world.script("q/b", answer("from b"))
        assert world.run(world.target("p/a"), world.target("q/b"))[0] == "from b"
        raised, progress, _ = world.fails(world.target("p/a"))
        assert isinstance(raised, ConfigError)
        assert outcomes(progress) == [("p/a", "skipped", "missing_key")]

    def test_the_attempt_names_itself_on_the_wire(self, world: World) -> None:
        world.model("p/a")
        world.script("p/a", Overloaded("x", status=503), answer())
        _, _, request = world.run(world.target("p/a", retries=1))
        names = [call.headers["x-omni-attempt"] for call in world.transport.calls]
        assert names == [f"{id_text(request)}-1", f"{id_text(request)}-2"]


class TestConsent:
    def test_a_fallback_that_costs_many_times_more_needs_consent(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        cheap, dear = world.target("p/a", expected=100), world.target("q/b", expected=501)
        world.script("p/a", *[Overloaded("x", status=503)] * 3)
        strict = Consent(floor_nusd=0)
        raised, progress, _ = world.fails(cheap, dear, consent=strict)
        assert world.transport.models == ["a"]
        assert outcomes(progress)[-1] == ("q/b", "skipped", "consent")
        assert "q/b" in raised.message
        assert "5 times" in raised.message
        for way in ("omni chat --any-cost", "x-omni-any-cost", "routing.max_fallback_multiple"):
            assert way in raised.hint
        world.script("q/b", answer(), answer())
        near = world.target("q/b", expected=500)
        assert world.run(cheap, near, consent=strict)[0] == "hello"
        assert world.run(cheap, dear, consent=replace(strict, multiple=None))[0] == "hello"

    def test_a_price_that_nobody_knows_counts_as_too_dear(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b", None)
        world.script("p/a", Overloaded("x", status=503))
        _, progress, _ = world.fails(world.target("p/a", expected=1), world.target("q/b"))
        assert outcomes(progress)[-1] == ("q/b", "skipped", "consent")

    def test_leaving_free_for_paid_needs_consent(self, world: World) -> None:
        world.model("p/a", free=True)
        world.model("q/b")
        targets = world.target("p/a", expected=0), world.target("q/b", expected=10)
        world.script("p/a", *[Overloaded("x", status=503)] * 2)
        strict = Consent(floor_nusd=0)
        raised, progress, _ = world.fails(*targets, consent=strict)
        assert outcomes(progress)[-1] == ("q/b", "skipped", "consent")
        assert "routing.allow_free_to_paid" in raised.hint
        world.script("q/b", answer())
        text, _, _ = world.run(*targets, consent=replace(strict, free_to_paid=True))
        assert text == "hello"


class TestTurns:
    """Who is asked after whom (G1)."""

    def fleet(self, world: World, *models: str) -> list[Target]:
        for model in models:
            world.model(model)
        return [world.target(model) for model in models]

    def test_everybody_is_asked_until_one_answers(self, world: World) -> None:
        models = [f"p{n}/m{n}" for n in range(9)]
        targets = self.fleet(world, *models)
        for model in models[:-1]:
            world.script(model, Overloaded("x", status=503))
        world.script(models[-1], answer("the last one"))
        assert world.run(*targets)[0] == "the last one"

    @pytest.mark.parametrize(
        "error", [Overloaded("x", status=503), AuthError("y", status=401), TimedOut("z")]
    )
    def test_providers_that_have_just_failed_come_last(
        self, world: World, error: ProviderError
    ) -> None:
        targets = self.fleet(world, "p/a", "p/b", "q/c", "p/d", "r/e")
        world.script("p/a", error)
        world.script("q/c", Overloaded("x", status=503))
        world.script("r/e", answer("from e"))
        assert world.run(*targets)[0] == "from e"
        assert world.transport.models == ["a", "c", "e"]

    def test_silence_is_not_tried_again_while_another_may_be_asked(self, world: World) -> None:
        """A second silence takes as long as the first, and may cost as much."""
        first, second = self.fleet(world, "p/a", "q/b")
        first, second = replace(first, max_retries=2), replace(second, max_retries=2)
        world.script("p/a", TimedOut("silent"))
        world.script("q/b", TimedOut("silent"), TimedOut("silent"), answer("at last"))
        assert world.run(first, second)[0] == "at last"
        assert world.transport.models == ["a", "b", "b", "b"]

    def test_a_model_that_is_gone_is_no_fault_of_its_provider(self, world: World) -> None:
        targets = self.fleet(world, "p/a", "p/b", "q/c")
        world.script("p/a", ModelNotFound("gone", status=404))
        world.script("p/b", answer("from b"))
        assert world.run(*targets)[0] == "from b"

    def test_what_was_listed_keeps_its_order(self, world: World) -> None:
        targets = self.fleet(world, "p/a", "p/b", "q/c")
        world.script("p/a", Overloaded("x", status=503))
        world.script("p/b", answer("from b"))
        listed = Consent(listed=("p/a", "p/b"))
        assert world.run(*targets, consent=listed)[0] == "from b"

    def test_a_providers_own_budget_leaves_the_others(self, world: World) -> None:
        targets = self.fleet(world, "p/a", "p/b", "q/c")
        world.budgets.put(Budget(0, "provider", "p", "day", 1))
        world.script("q/c", answer("from c"))
        assert world.run(*targets)[0] == "from c"

    def test_a_budget_of_all_that_is_spent_ends_it(self, world: World) -> None:
        world.model("s/free", free=True)
        targets = [*self.fleet(world, "p/a", "q/c"), world.target("s/free")]
        world.budgets.put(Budget(0, "all", "", "day", 0))
        raised, progress, _ = world.fails(*targets)
        assert isinstance(raised, BudgetExceeded)
        assert outcomes(progress) == [("p/a", "skipped", "budget_exceeded")]

    def test_budgets_that_keep_each_out_are_all_named(self, world: World) -> None:
        targets = self.fleet(world, "p/a", "q/c")
        world.budgets.put(Budget(0, "provider", "p", "day", 1))
        world.budgets.put(Budget(0, "model", "q/c", "day", 1))
        raised, _, _ = world.fails(*targets)
        assert isinstance(raised, BudgetExceeded)
        assert "day budget of provider p" in raised.message
        assert "day budget of model q/c" in raised.message

    def test_nobody_is_asked_when_the_requests_time_is_over(self, world: World) -> None:
        targets = self.fleet(world, "p/a", "q/c")
        world.limit_s = 7.0
        world.transport.before = lambda: world.clock.sleep(5.0)
        world.script("p/a", *[Overloaded("x", status=503)] * 2)
        raised, _, _ = world.fails(replace(targets[0], max_retries=1), targets[1])
        assert world.transport.models == ["a", "a"]
        assert world.transport.timeouts[0] == 5.0
        assert world.transport.timeouts[1] < 2.0  # what is left
        assert "chat.limit_s" in raised.hint


class TestBreaker:
    def test_it_opens_skips_and_lets_one_probe_through(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        targets = world.target("p/a"), world.target("q/b")
        failures = DEFAULT_SETTINGS.failures
        world.script("p/a", *[Overloaded("x", status=503)] * failures)
        world.script("q/b", *[answer("from b")] * (failures + 1))
        for _ in range(failures):
            world.run(*targets)
        _, progress, _ = world.run(*targets)
        assert outcomes(progress)[0] == ("p/a", "skipped", "breaker")
        assert world.transport.models[-1] == "b"
        # Its time is up: the next call is the probe, and heals it.
        world.clock.now += DEFAULT_SETTINGS.open_ms / 1000 + 1
        world.script("p/a", answer("a is back"), answer("still"))
        assert world.run(*targets)[0] == "a is back"
        assert world.run(*targets)[0] == "still"

    def test_a_model_that_stands_alone_is_tried_whatever_its_breaker_says(
        self, world: World
    ) -> None:
        world.model("p/a")
        world.script("p/a", AuthError("wrong key", status=401), answer())
        world.fails(world.target("p/a"))
        assert world.run(world.target("p/a"))[0] == "hello"

    def test_a_probe_that_is_not_sent_is_given_back(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        targets = world.target("p/a"), world.target("q/b")
        world.script("p/a", AuthError("wrong key", status=401), answer("a again"))
        world.script("q/b", answer(), answer())
        world.run(*targets)
        world.clock.now += DEFAULT_SETTINGS.fatal_open_ms / 1000 + 1
        world.adapter.refuses["a"] = BadRequest("cannot say that")
        world.run(*targets)  # claims the probe, and cannot make the call
        del world.adapter.refuses["a"]
        assert world.run(*targets)[0] == "a again"

    def test_a_dead_provider_takes_its_models_along(self, world: World) -> None:
        world.model("p/a")
        world.model("p/c")
        world.model("q/b")
        world.script("p/a", *[ConnectionFailed("nothing listens")] * DEFAULT_SETTINGS.failures)
        world.script("q/b", *[answer()] * 9)
        for _ in range(DEFAULT_SETTINGS.failures):
            world.run(world.target("p/a"), world.target("q/b"))
        _, progress, _ = world.run(world.target("p/c"), world.target("q/b"))
        assert outcomes(progress)[0] == ("p/c", "skipped", "breaker")


class TestStreams:
    def test_cut_after_the_first_token_ends_it_and_bills_what_came(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        cut = ConnectionFailed("reset")
        world.script("p/a", [ChatChunk(text="x" * 40), cut])
        progress, request = Progress(), world.open()
        seen: list[str] = []
        stream = world.stream(
            request,
            ask(),
            (world.target("p/a", retries=3), world.target("q/b")),
            Consent(),
            progress,
        )
        with pytest.raises(StreamInterrupted) as raised:
            seen.extend(chunk.text for chunk in stream)
        assert "".join(seen) == "x" * 40
        assert raised.value.received_chars == 40
        assert raised.value.cause is cut
        assert world.transport.models == ["a"]
        (row,) = world.ledger.attempts(request)
        assert row.state == "failed"
        assert row.usage.estimated
        # By the estimator, at $2 and the input at $1 per million; the rest of the worst case, of
        # 1,000 tokens of answer, is held.
        tokens = estimate_tokens("x" * 40)
        assert row.usage.output_tokens == tokens
        assert row.cost_nusd == tokens * 2_000 + row.input_estimate * 1_000
        assert row.cost_nusd + row.held_nusd > 1_000 * 2_000
        assert progress.completion is not None
        assert progress.completion.text == "x" * 40

    def test_cut_before_the_first_token_falls_over(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        opening = ChatChunk(model="a", usage=Usage(12))
        world.script("p/a", [opening, ConnectionFailed("reset")])
        world.script("q/b", answer("from b"))
        text, _, request = world.run(world.target("p/a"), world.target("q/b"))
        assert text == "from b"
        first, _ = world.ledger.attempts(request)
        assert first.usage.input_tokens == 12  # said by the provider, so it may be charged

    def test_silence_after_sending_is_charged_at_the_inputs_price(self, world: World) -> None:
        world.model("p/a")
        world.script("p/a", TimedOut("silence"))
        _, _, request = world.fails(world.target("p/a"))
        (row,) = world.ledger.attempts(request)
        assert row.usage.estimated
        assert row.cost_nusd == row.input_estimate * 1_000

    def test_a_call_that_never_arrived_costs_nothing(self, world: World) -> None:
        world.model("p/a")
        refused = ConnectionFailed("nothing listens")
        refused.reached = False
        world.script("p/a", refused)
        _, _, request = world.fails(world.target("p/a"))
        (row,) = world.ledger.attempts(request)
        assert (row.cost_nusd, row.usage) == (0, Usage())

    def test_a_provider_that_counts_nothing_is_estimated(self, world: World) -> None:
        world.model("p/a")
        world.script("p/a", [ChatChunk(text="one two three", finish_reason="stop")])
        _, progress, request = world.run(world.target("p/a"))
        (row,) = world.ledger.attempts(request)
        assert row.usage.estimated
        tokens = estimate_tokens("one two three")
        assert row.usage.output_tokens == progress.usage.output_tokens == tokens

    @pytest.mark.parametrize("text", ["one two three", "\N{GRINNING FACE}" * 9])
    def test_what_an_uncounted_answer_may_cost_beyond_its_estimate_is_held(
        self, world: World, text: str
    ) -> None:
        """A provider may honestly count a token for each byte of what was sent and came."""
        world.model("p/a")
        world.budgets.put(Budget(0, "all", "", "day", 10**9))
        world.script("p/a", [ChatChunk(text=text, finish_reason="stop")])
        _, _, request = world.run(world.target("p/a"))
        (row,) = world.ledger.attempts(request)
        assert row.cost_nusd
        sent, came = len(world.transport.calls[-1].body or b""), len(text.encode())
        most = row.cost_nusd + row.held_nusd
        assert most >= sent * 1_000 + came * 2_000
        # The body was measured before its limit was written into it.
        assert most <= (sent + 10) * 1_000 + (came + FRAME_TOKENS) * 2_000
        assert world.open_leases() == row.held_nusd
        assert row.outcome == "uncounted"

    def test_hidden_reasoning_of_an_uncounted_answer_is_held(self, world: World) -> None:
        world.model("p/a", badges=frozenset({"reasoning"}))
        world.script("p/a", [ChatChunk(text="one", finish_reason="stop")])
        _, _, request = world.run(world.target("p/a"))
        (row,) = world.ledger.attempts(request)
        assert row.cost_nusd
        assert row.cost_nusd + row.held_nusd > 1_000 * 2_000

    def test_pictures_that_are_not_counted_are_held_as_all_that_was_asked(
        self, world: World
    ) -> None:
        world.model("p/a")
        picture = MediaPart("image/png", data="cG5n")
        world.script("p/a", [ChatChunk(text="see", images=(picture,), finish_reason="stop")])
        _, _, request = world.run(world.target("p/a"))
        (row,) = world.ledger.attempts(request)
        assert (row.cost_nusd or 0) + row.held_nusd > 1_000 * 2_000

    def test_nothing_is_held_for_what_is_counted_or_free(self, world: World) -> None:
        world.model("p/a")
        world.model("r/free", free=True)
        world.script("p/a", answer("counted"))
        world.script("r/free", [ChatChunk(text="one two three", finish_reason="stop")])
        for model in ("p/a", "r/free"):
            _, _, request = world.run(world.target(model))
            (row,) = world.ledger.attempts(request)
            assert row.held_nusd == 0, model
            assert row.outcome == "ok"

    @pytest.mark.parametrize(
        "counts",
        [
            Usage(),
            Usage(input_tokens=9),
            Usage(input_tokens=-5, output_tokens=10),
            Usage(input_tokens=9, output_tokens=-1),
            Usage(input_tokens=1 << 70, output_tokens=3),
            Usage(input_tokens=9, output_tokens=1 << 63),
            Usage(input_tokens=9, output_tokens=3, reasoning_tokens=1 << 64),
            Usage(input_tokens=80_001, output_tokens=3),
            Usage(input_tokens=9, output_tokens=3, reported_cost_nusd=1 << 63),
        ],
    )
    def test_counts_that_cannot_be_so_are_estimated(self, world: World, counts: Usage) -> None:
        world.model("p/a", context_window=8_000)
        text = "an answer of several words, paid for"
        world.script("p/a", [ChatChunk(text=text, usage=counts, finish_reason="stop")])
        told, _, request = world.run(world.target("p/a"))
        assert told == text
        (row,) = world.ledger.attempts(request)
        assert row.usage == Usage(
            row.input_estimate, output_tokens=row.usage.output_tokens, estimated=True
        )
        assert row.usage.output_tokens == estimate_tokens(text)
        assert row.cost_nusd
        assert row.held_nusd

    def test_an_answer_without_text_may_count_nothing(self, world: World) -> None:
        world.model("p/a")
        usage = Usage(input_tokens=9)
        world.script("p/a", [ChatChunk(usage=usage, finish_reason="refusal")])
        _, _, request = world.run(world.target("p/a"))
        (row,) = world.ledger.attempts(request)
        assert row.usage == usage


class TestLeaving:
    def read_one(self, world: World, progress: Progress) -> tuple[Generator[ChatChunk], int]:
        world.model("p/a")
        world.script("p/a", [ChatChunk(text="z" * 8), ChatChunk(text="more")])
        request = world.open()
        stream = world.stream(request, ask(), (world.target("p/a"),), Consent(), progress)
        assert next(stream).text == "z" * 8
        return stream, request

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit])
    def test_settles_what_was_received(self, world: World, kind: type[BaseException]) -> None:
        progress = Progress()
        stream, request = self.read_one(world, progress)
        if kind is GeneratorExit:
            stream.close()
        else:
            with pytest.raises(KeyboardInterrupt):
                stream.throw(KeyboardInterrupt())
        (row,) = world.ledger.attempts(request)
        assert (row.state, row.error_code) == ("cancelled", "cancelled")
        assert row.cost_nusd == 2 * 2_000 + row.input_estimate * 1_000
        assert progress.completion is not None
        assert progress.completion.text == "z" * 8

    def test_a_fault_of_ours_is_a_failure_and_still_billed(self, world: World) -> None:
        progress = Progress()
        stream, request = self.read_one(world, progress)
        with pytest.raises(ZeroDivisionError):
            stream.throw(ZeroDivisionError())
        (row,) = world.ledger.attempts(request)
        assert (row.state, row.error_message) == ("failed", "unexpected ZeroDivisionError")
        assert row.cost_nusd

    def test_an_interrupt_before_sending_leaves_nothing_open(self, world: World) -> None:
        world.model("p/a")
        world.budgets.put(Budget(0, "all", "", "day", 10**9))
        request = world.open()
        write = world.writer.write

        def interrupted(batch: Batch) -> None:
            write(batch)
            if batch.openings:
                raise KeyboardInterrupt

        world.writer.write = interrupted  # type: ignore[method-assign]  # right after the row
        with pytest.raises(KeyboardInterrupt):
            list(world.stream(request, ask(), (world.target("p/a"),), Consent(), Progress()))
        (row,) = world.ledger.attempts(request)
        assert (row.state, row.cost_nusd) == ("unsent", 0)
        assert world.open_leases() == 0


class TestMoney:
    def test_a_budget_shortens_the_answer_to_what_it_can_pay(self, world: World) -> None:
        world.model("p/a", "0", "2")
        world.budgets.put(Budget(0, "all", "", "day", 2_000 * 500))
        world.script("p/a", answer(output_tokens=500))
        _, _, request = world.run(world.target("p/a"))
        assert json.loads(world.transport.calls[0].body or b"")["max"] == 500
        assert any("limited to 500 tokens instead of 1,000" in note for note in world.notes)
        assert world.ledger.attempts(request)[0].output_bound == 500
        assert world.open_leases() == 0

    def test_without_a_budget_the_request_goes_out_as_it_is(self, world: World) -> None:
        world.model("p/a")
        world.script("p/a", answer())
        world.run(world.target("p/a"))
        assert json.loads(world.transport.calls[0].body or b"")["max"] is None

    def test_no_room_is_a_refusal_and_nothing_is_sent(self, world: World) -> None:
        world.model("p/a")
        world.budgets.put(Budget(0, "model", "p/a", "day", 100))
        raised, progress, request = world.fails(world.target("p/a"))
        assert isinstance(raised, BudgetExceeded)
        assert "day budget of model p/a" in raised.message
        assert world.transport.calls == []
        assert world.ledger.attempts(request) == []
        assert outcomes(progress) == [("p/a", "skipped", "budget_exceeded")]

    def test_a_budget_of_one_model_leaves_the_next(self, world: World) -> None:
        world.model("p/a")
        world.model("q/b")
        world.budgets.put(Budget(0, "model", "p/a", "day", 100))
        world.script("q/b", answer("from b"))
        assert world.run(world.target("p/a"), world.target("q/b"))[0] == "from b"

    def test_an_unknown_price_is_refused_under_a_budget(self, world: World) -> None:
        world.model("p/a", None)
        budget = Budget(0, "all", "", "day", 10**9)
        world.budgets.put(budget)
        raised, _, _ = world.fails(world.target("p/a"))
        assert isinstance(raised, UnknownPrice)
        world.budgets.put(Budget(0, "all", "", "day", 10**9, allow_unknown=True))
        world.script("p/a", answer())
        _, _, request = world.run(world.target("p/a"))
        (row,) = world.ledger.attempts(request)
        assert row.cost_nusd is None

    def test_free_calls_pass_an_overspent_budget(self, world: World) -> None:
        world.model("p/a", free=True)
        world.budgets.put(Budget(0, "all", "", "day", 0))
        world.script("p/a", answer())
        assert world.run(world.target("p/a"))[0] == "hello"
        assert json.loads(world.transport.calls[0].body or b"")["max"] is None

    def test_an_estimate_never_exceeds_what_was_reserved(self, world: World) -> None:
        world.model("p/a", "0", "2")
        world.budgets.put(Budget(0, "all", "", "day", 2_000 * 300))
        world.script("p/a", [ChatChunk(text=" -" * 5_000), ConnectionFailed("reset")])
        progress, request = Progress(), world.open()
        with pytest.raises(StreamInterrupted):
            list(world.stream(request, ask(), (world.target("p/a"),), Consent(), progress))
        assert world.ledger.attempts(request)[0].cost_nusd == 2_000 * 300

    def test_a_rate_that_is_missing_makes_the_cost_unknown_not_zero(self, world: World) -> None:
        world.model("p/a", "1", None)
        world.script("p/a", answer())
        _, _, request = world.run(world.target("p/a"))
        row = world.ledger.get(request)
        assert row is not None
        assert (row.cost_nusd, row.price_state) == (None, "unknown")


class TestSlots:
    def test_a_taken_slot_is_waited_for_and_given_up_in_the_end(
        self, engine: str, tmp_path: Path
    ) -> None:
        world = World(tmp_path, clock=Clock(), slots=1)
        world.model("p/a")
        other = world.open()
        world.script("p/a", [ChatChunk(text="slow"), *answer()[1:]])
        taken = world.stream(other, ask(), (world.target("p/a"),), Consent(), Progress())
        next(taken)
        raised, progress, _ = world.fails(world.target("p/a"))
        assert isinstance(raised, Busy)
        assert outcomes(progress) == [("p/a", "skipped", "busy")]
        assert 29 <= sum(world.clock.slept) <= 31
        assert world.reclaims >= 10
        list(taken)
        world.script("p/a", answer("free now"))
        assert world.run(world.target("p/a"))[0] == "free now"
        world.close()


@on_a_file
class TestALockedStore:
    def test_the_answer_is_shown_and_its_row_is_written_later(self, world: World) -> None:
        world.model("p/a")
        world.budgets.put(Budget(0, "all", "", "day", 10**9))
        world.store.db.execute("PRAGMA busy_timeout = 20")
        other = sqlite3.connect(world.store.path, isolation_level=None)
        service = world.service()
        world.transport.before = lambda: other.execute("BEGIN IMMEDIATE")  # type: ignore[assignment,return-value]  # no value
        world.script("p/a", answer("paid for", input_tokens=10, output_tokens=5))
        run = service.start(service.plan(ChatJob(ask(), world.names.select("p/a"))))
        assert "".join(chunk.text for chunk in service.chunks(run)) == "paid for"
        assert run.late is not None
        assert "not in the ledger yet" in run.late.message
        row = world.ledger.get(run.id)
        assert row is not None
        assert row.state == "pending"
        other.execute("ROLLBACK")
        other.close()
        assert world.ledger.catch_up()
        assert world.ledger.catch_up()
        row = world.ledger.get(run.id)
        assert row is not None
        assert (row.state, row.cost_nusd, row.attempts) == ("ok", 10 * 1_000 + 5 * 2_000, 1)
        assert world.open_leases() == 0
        assert world.budgets.drifts() == []

    def test_what_nobody_has_room_for_is_told_to_the_last_figure(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.model("p/a")
        world.store.db.execute("PRAGMA busy_timeout = 20")
        monkeypatch.setattr("omni_cli.store.late_ledger._write", _no_room)
        other = sqlite3.connect(world.store.path, isolation_level=None)
        world.transport.before = lambda: other.execute("BEGIN IMMEDIATE")  # type: ignore[assignment,return-value]  # no value
        world.script("p/a", answer("paid for"))
        service = world.service()
        run = service.start(service.plan(ChatJob(ask(), world.names.select("p/a"))))
        assert "".join(chunk.text for chunk in service.chunks(run)) == "paid for"
        other.close()
        assert run.late is not None
        assert "no disk has room" in run.late.message
        assert '"output_tokens": 5' in run.late.hint


def _no_room(folder: Path, _: bytes) -> Path:
    raise OSError(28, "No space left on device", str(folder))

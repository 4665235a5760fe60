"""Answers from memory, for roles that opted in (B8): what ``omni chat`` remembers, too.

A request is looked up by what its protocol's words mean, so one that OpenAI's client sent answers
the same one of Anthropic's. Fields that omni has no word for may change an answer: a request with
any of them is neither answered from memory nor remembered.
"""

import asyncio
from typing import TYPE_CHECKING

from omni_cli.bootstrap import App
from omni_cli.domain.chat import Completion
from omni_cli.domain.ledger import RequestEnd
from omni_cli.domain.record import replace
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.fleet import Fleet
from omni_cli.gateway.plans import Plan
from omni_cli.gateway.receipts import Receipt
from omni_cli.http.request import Request
from omni_cli.services.engine.commits import Commits
from omni_cli.wire.server import Answered

if TYPE_CHECKING:
    from omni_cli.services.engine.answer_cache import AnswerCache, Remembered

#: Headers by which a caller says that it wants a fresh answer.
_FRESH = {"x-omni-cache": ("off", "no-store"), "cache-control": ("no-cache", "no-store")}


class Memory:
    """Args:
    writing: whose store the group commit writes through.
    """

    def __init__(self, fleet: Fleet, commits: Commits, writing: App) -> None:
        self._fleet = fleet
        self._commits = commits
        self._writing = writing

    def applies(self, ask: Ask, plan: Plan, request: Request) -> bool:
        """Whether the answer may come from memory, or go into it."""
        if plan.asked is None or ask.parsed().left:
            return False
        headers = request.headers
        return not any(
            word in headers.get(name, "").lower()
            for name, words in _FRESH.items()
            for word in words
        )

    def look(self, plan: Plan) -> "Remembered | None":
        assert plan.asked is not None
        return self._cache(self._fleet.app).look(plan.asked)

    async def answer(self, call: Receipt, remembered: "Remembered") -> None:
        """Commit a request that costs nothing, then answer it.

        Raises StoreError.
        """
        ask, plan = call.ask, call.plan
        call.new = new = replace(call.new, source="cache")
        target = plan.targets[0]
        premium, premium_cost = self._fleet.premium(remembered.usage)
        end = RequestEnd(
            state="ok",
            settled_at=new.created_at,
            model=target.model.id,
            provider=target.provider.slug,
            premium_model=premium,
            premium_cost_nusd=premium_cost,
            # A memory's speed says nothing about a model's.
            latency_ms=None,
            ttft_ms=None,
            finish_reason=remembered.completion.finish_reason,
            error_code=None,
            error_message=None,
        )

        def write() -> None:
            ledger = self._writing.ledger
            ledger.open(new, None)
            self._cache(self._writing).hit(new.id, remembered)
            ledger.end_request(new.id, end)

        await self._commits.within(write)
        call.asked, call.cached = target, "hit"
        about = Answered(
            f"{ask.caller.id_prefix}{call.name}",
            target.model.id,
            new.created_at // 1000,
            {name: ask.value(name) for name in ask.caller.answers_by},
            cost_nusd=0,
            premium_nusd=premium_cost,
            latency_ms=0,
            task=new.task,
        )
        if not ask.stream:
            call.whole(ask.caller.whole(remembered.completion, about))
            return
        writer = ask.caller.writer(about)
        call.request.begin(call.stream_head(ask.caller.stream_type))
        for chunk in remembered.chunks():
            await call.request.piece(writer.chunk(chunk))
            await asyncio.sleep(0)
        call.request.end(writer.end(remembered.completion) + call.comment())

    def keep(self, call: Receipt) -> None:
        """Remember what was answered, if it is a whole answer of the model that was meant."""
        plan, completion = call.plan, call.progress.completion
        target, cost = call.progress.target, call.total_nusd
        if plan.asked is None or completion is None or target is None:
            return
        request, model = call.new.id, target.model.id
        self._commits.job(lambda: self._keep(plan, request, model, completion, cost))

    def _keep(
        self, plan: Plan, request: int, model: str, completion: Completion, cost: int | None
    ) -> None:
        assert plan.asked is not None
        self._cache(self._writing).keep(plan.asked, request, model, completion, cost)

    @staticmethod
    def _cache(app: App) -> "AnswerCache":
        from omni_cli.services.engine.answer_cache import AnswerCache

        return AnswerCache(app.answers, clock=app.clock)

"""Services over a real store, with a scripted provider and a clock that only sleeping moves."""

import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from omni_cli.domain.bounds import CallBound
from omni_cli.domain.chat import ChatChunk, ChatRequest, Message, Usage
from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import OmniError, ProviderError
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import NewRequest, RequestEnd
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.ports import Endpoint, HttpCall, SentBody
from omni_cli.services.engine.attempts import Progress, Target
from omni_cli.services.engine.chat import ChatService
from omni_cli.services.engine.checks import Check
from omni_cli.services.engine.health import HealthRecorder
from omni_cli.services.engine.names import Names
from omni_cli.services.engine.own import Handover, OwnCall, Singly, Steps, Tools
from omni_cli.services.engine.recovery import Recovery
from omni_cli.services.engine.routing import RoutingService
from omni_cli.services.money.prices import PriceBook
from omni_cli.store.assignments import AssignmentStore
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.conversations import ConversationStore
from omni_cli.store.late_ledger import LateLedger
from omni_cli.store.learning import LearningStore
from omni_cli.store.models import ModelStore
from omni_cli.store.providers import BreakerStore, ProviderStore
from omni_cli.store.rollups import RollupStore
from omni_cli.store.writer import Writer
from tests.beginning import new_of
from tests.engine import open_store

#: 2026-06-15 12:00 UTC, in seconds.
NOON = 1_781_524_800.0

Step = ChatChunk | BaseException
#: What one call does: an error at once, or steps of an answer.
Act = BaseException | Sequence[Step]


class Clock:
    """Seconds since the epoch; ``slept`` are the waits that were asked for."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def answer(text: str = "hello", input_tokens: int = 10, output_tokens: int = 5) -> list[Step]:
    """A whole answer in two chunks, with its counts."""
    return [
        ChatChunk(text=text),
        ChatChunk(usage=Usage(input_tokens, output_tokens=output_tokens), finish_reason="stop"),
    ]


class Answer:
    """ports.AnswerStream over prepared steps."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = steps
        self.headers: Mapping[str, str] = {"x-request-id": "provider-1"}
        self.closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True

    async def __aiter__(self) -> AsyncIterator[ChatChunk]:
        for step in self._steps:
            if isinstance(step, BaseException):
                raise step
            yield step


class Adapter:
    """ports.ProviderAdapter whose calls name the model in their URL."""

    def __init__(self) -> None:
        self.refuses: dict[str, ProviderError] = {}

    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        if wire_name in self.refuses:
            raise self.refuses[wire_name]
        body = {"max": request.max_output_tokens, "text": request.last_user_text}
        headers = {"authorization": f"Bearer {endpoint.key}"}
        return HttpCall("POST", wire_name, headers, json.dumps(body).encode(), "sse")

    def parser(self, *, stream: bool) -> Any:
        raise AssertionError("the transport is scripted")

    def explain(self, status: int, headers: Mapping[str, str], body: str) -> Any:
        raise AssertionError("the transport is scripted")

    def bound(self, sent: SentBody) -> CallBound:
        return CallBound(sent.size, sent.value("max"))

    def limit(self, sent: SentBody, each: int, bound: CallBound) -> None:
        sent.put("max", each)

    def list_models(self, endpoint: Endpoint) -> Any:
        raise AssertionError("the transport is scripted")

    def parse_models(self, body: str) -> Any:
        raise AssertionError("the transport is scripted")


class Transport:
    """Acts out each model's script, one act a call; ``before`` runs when a call goes out."""

    def __init__(self) -> None:
        self.script: dict[str, list[Act]] = defaultdict(list)
        self.calls: list[HttpCall] = []
        self.timeouts: list[float] = []
        self.before: Callable[[], None] = lambda: None

    async def open(self, adapter: Any, call: HttpCall, *, timeout_s: float) -> Answer:
        self.calls.append(call)
        self.timeouts.append(timeout_s)
        self.before()
        act = self.script[call.url].pop(0)
        if isinstance(act, BaseException):
            raise act
        return Answer(act)

    async def fetch(self, adapter: Any, call: HttpCall, *, timeout_s: float) -> str:
        raise AssertionError("not used")

    @property
    def models(self) -> list[str]:
        """Which models were called, in order."""
        return [call.url for call in self.calls]


class World:
    """Everything one chat needs, on a store in ``folder``."""

    def __init__(self, folder: Path, *, clock: Clock | None = None, slots: int = 8) -> None:
        self.store = open_store(folder / "omni.db")
        self.clock = clock or Clock()
        self.slots = slots
        self.providers = ProviderStore(self.store)
        self.models = ModelStore(self.store)
        self.assignments = AssignmentStore(self.store)
        self.learning = LearningStore(self.store)
        self.conversations = ConversationStore(self.store)
        self.breakers = BreakerStore(self.store)
        self.rollups = RollupStore(self.store)
        self.budgets = BudgetStore(self.store)
        self.ledger = LateLedger(self.store)
        self.names = Names(self.providers, self.models, self.assignments)
        self.health = HealthRecorder(self.breakers, self.clock)
        self.recovery = Recovery(self.ledger, self.models, self.clock)
        self.transport = Transport()
        self.adapter = Adapter()
        self.keys: Callable[[Provider], str | None] = lambda _: None
        self.notes: list[str] = []
        self.quality: dict[str, float] = {}
        self.ids = iter(range(1, 10_000))
        self.reclaims = 0
        self.writer = Writer(self.store, self.ledger, alone=True)
        self.commits = Singly(
            self.writer, clock=self.clock, pause=self._sleep, reclaim=self._reclaim
        )
        self.steps = Steps()
        self.limit_s = 900.0
        self.routing = RoutingService(
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            learning=self.learning,
            breakers=self.breakers,
            has_key=lambda _: True,
            quality=lambda _, ids, _form: [(self.quality.get(i), 0.0, "scripted") for i in ids],
            clock=self.clock,
            budgets=self.budgets.of_models,
        )

    def close(self) -> None:
        self.steps.close()
        self.writer.hang_up()
        self.store.close()

    async def _sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def tools(self) -> Tools:
        return Tools(
            commits=self.commits,
            transport=lambda: self.transport,
            adapters=lambda _: self.adapter,
            keys=lambda provider: self.keys(provider),
            health=self.health,
            clock=self.clock,
            sleep=self._sleep,
            rng=random.Random(1),
            note=self.notes.append,
            limit_s=self.limit_s,
        )

    def stream(
        self,
        request_id: int,
        request: ChatRequest,
        targets: Sequence[Target],
        consent: Consent,
        progress: Progress,
        *,
        accept: Check | None = None,
    ) -> Generator[ChatChunk]:
        """The chunks of a request that is in the ledger."""

        row = self.ledger.get(request_id)
        assert row is not None
        new = new_of(row)

        async def answer(give: Any) -> None:
            try:
                await OwnCall(
                    self.tools(), new, request, targets, consent, progress, give, accept=accept
                ).answer()
            finally:
                self.commits.flush()

        return self.steps.chunks(Handover(answer))

    def service(self, premium: str = "") -> ChatService:
        return ChatService(
            models=self.models,
            assignments=self.assignments,
            conversations=self.conversations,
            ledger=self.ledger,
            learning=self.learning,
            routing=self.routing,
            tools=self.tools,
            steps=lambda: self.steps,
            recovery=self.recovery,
            names=self.names,
            clock=self.clock,
            random_bits=lambda: next(self.ids),
            premium_model=premium,
            default_retries=1,
            default_timeout_ms=5_000,
        )

    def model(
        self,
        model_id: str,
        price_in: str | None = "1",
        price_out: str | None = "2",
        *,
        free: bool = False,
        quality: float | None = None,
        **fields: Any,
    ) -> str:
        """Add a model and its provider; without prices it is one of unknown price."""
        slug, _, wire_name = model_id.partition("/")
        self.providers.put(
            Provider(slug, slug, "openai", "http://fake", "none", max_concurrency=self.slots)
        )
        info = ModelInfo(model_id, slug, wire_name, wire_name, **{"max_output": 1_000, **fields})
        self.models.put(info, now_ms=0)
        if free:
            self.models.set_price(model_id, Price("free"), origin="user", now_ms=0)
        elif price_in is not None:
            price = Price(
                "priced",
                input=Rate(Decimal(price_in)),
                output=None if price_out is None else Rate(Decimal(price_out)),
            )
            self.models.set_price(model_id, price, origin="user", now_ms=0)
        if quality is not None:
            self.quality[model_id] = quality
        return model_id

    def script(self, model_id: str, *acts: Act) -> None:
        self.transport.script[model_id.partition("/")[2]] += acts

    def target(
        self,
        model_id: str,
        *,
        retries: int = 0,
        expected: int | None = None,
        timeout_ms: int = 5_000,
    ) -> Target:
        model = self.models.get(model_id)
        provider = self.providers.get(model_id.partition("/")[0])
        assert model is not None
        assert provider is not None
        price = PriceBook(self.models, now_ms=0).current(model_id)
        return Target(model, provider, price, retries, timeout_ms, expected)

    def open(self, **fields: Any) -> int:
        """A pending request; returns its id."""
        now = int(self.clock() * 1000)
        request_id = make_id(now, next(self.ids))
        source = fields.pop("source", "chat")
        owner = fields.pop("owner", self.store.owner)
        assert self.ledger.open(NewRequest(request_id, now, source, owner, **fields), None)
        return request_id

    def end(self, request_id: int, state: Any = "ok") -> None:
        self.ledger.end_request(request_id, RequestEnd(state, int(self.clock() * 1000)))

    def run(
        self,
        *targets: Target,
        request: ChatRequest | None = None,
        consent: Consent | None = None,
        **fields: Any,
    ) -> tuple[str, Progress, int]:
        """Dispatch and read to the end: (text, progress, request id)."""
        progress, request_id = Progress(), self.open(**fields)
        chunks = self.stream(request_id, request or ask(), targets, consent or Consent(), progress)
        return "".join(chunk.text for chunk in chunks), progress, request_id

    def fails(
        self, *targets: Target, consent: Consent | None = None, **fields: Any
    ) -> tuple[OmniError, Progress, int]:
        """The same for a dispatch that must raise an error of omni's."""
        progress, request_id = Progress(), self.open(**fields)
        try:
            list(self.stream(request_id, ask(), targets, consent or Consent(), progress))
        except OmniError as exc:
            return exc, progress, request_id
        raise AssertionError("it answered")

    def open_leases(self) -> int:
        """Nano-dollars reserved now, over all budgets."""
        (leases,) = self.store.db.execute("SELECT coalesce(sum(held_nusd), 0) FROM attempts")
        (held,) = self.store.db.execute(
            "SELECT coalesce(sum(reserved_nusd), 0) FROM budget_periods"
        )
        assert leases[0] == held[0]
        return int(held[0])

    def _reclaim(self) -> None:
        self.reclaims += 1
        self.recovery.run()


def ask(text: str = "hi", **fields: Any) -> ChatRequest:
    return ChatRequest((Message.text_of("user", text),), **fields)

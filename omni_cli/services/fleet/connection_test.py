"""Ask a provider whether it answers: one unbilled call that lists its models (A3); and paid probes:
a tiny real call to a model, only on request, capped, in the ledger (D1)."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing

from msgspec import Struct

from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.errors import (
    BudgetExceeded,
    Busy,
    MissingKey,
    OmniError,
    ProviderError,
    UnknownPrice,
    UsageError,
)
from omni_cli.domain.models import Provider, ProviderStatus
from omni_cli.domain.money import format_usd
from omni_cli.domain.pricing import worst_case_nusd
from omni_cli.ports import Clock, RemoteModel, Transport
from omni_cli.repositories import Store
from omni_cli.services.engine.chat import ChatService
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Names, Selector
from omni_cli.services.fleet.listing import Lister, Listing
from omni_cli.services.judge.alerts import Alert, Chore, every
from omni_cli.services.judge.health_report import CheckRecorder, check_of

#: At most one test of a provider in this time, whatever process asks, seconds.
INTERVAL_S = 5.0
TIMEOUT_S = 15.0
#: Providers tested at once; more would only share the same line.
_AT_ONCE = 16


class TestResult(Struct, frozen=True):
    """``models``: how many the provider lists. ``wait_s``: above zero where nothing was sent,
    because the last test is too fresh."""

    __test__ = False  # not a test case, whatever pytest makes of its name

    slug: str
    ok: bool
    status: ProviderStatus
    latency_ms: int | None = None
    models: int | None = None
    error: OmniError | None = None
    wait_s: float = 0.0


class ConnectionTester(Struct, kw_only=True, eq=False):
    """Args:
    recorder: keeps what a test found, where health and routing look for it.
    timer: seconds of a clock that never jumps.
    """

    recorder: CheckRecorder
    claims: Store
    lister: Lister
    clock: Clock
    timer: Clock

    def test(self, provider: Provider) -> TestResult:
        """Test one and record the outcome. A provider's failure is in the result, not raised.

        Raises:
            Busy: the last test is less than INTERVAL_S old; says how long to wait.
            UsageError: this protocol has no call that is free of charge.
        """
        wait_s = self._claim(provider.slug)
        if wait_s > 0:
            raise Busy(
                f"{provider.slug} was tested {INTERVAL_S - wait_s:.1f} s ago",
                hint=f"wait {wait_s:.1f} s: tests are limited to one in {INTERVAL_S:.0f} s",
            )
        try:
            listing = self._prepare(provider)
        except MissingKey as exc:
            return self._record(provider, _unasked(provider, exc))
        return self._record(provider, self._ask([(provider, listing)])[0])

    def test_all(self, providers: Sequence[Provider]) -> list[TestResult]:
        """Test many at once, in the order given; too fresh ones are skipped and say so."""
        found: dict[str, TestResult] = {}
        ready: list[tuple[Provider, Listing]] = []
        for provider in providers:
            wait_s = self._claim(provider.slug)
            if wait_s:
                status = provider.status
                found[provider.slug] = TestResult(
                    provider.slug, status == "connected", status, wait_s=wait_s
                )
                continue
            try:
                ready.append((provider, self._prepare(provider)))
            except OmniError as exc:
                found[provider.slug] = self._record(provider, _unasked(provider, exc))
        probed = self._ask(ready) if ready else []
        for (provider, _), result in zip(ready, probed, strict=True):
            found[provider.slug] = self._record(provider, result)
        return [found[provider.slug] for provider in providers]

    def listing(self, provider: Provider, *, timeout_s: float = TIMEOUT_S) -> list[RemoteModel]:
        """What a provider serves now.

        Raises:
            MissingKey, ProviderError, UsageError (the protocol has no listing).
        """
        return self.lister.fetcher().run(self._prepare(provider, timeout_s=timeout_s))

    def _prepare(self, provider: Provider, timeout_s: float = TIMEOUT_S) -> Listing:
        """Raises MissingKey, UsageError."""
        try:
            return self.lister.prepare(provider, timeout_s=timeout_s)
        except UsageError as exc:
            exc.hint = f"omni chat -m {provider.slug}/MODEL makes a real one, which may be billed"
            raise

    def _ask(self, ready: Sequence[tuple[Provider, Listing]]) -> list[TestResult]:
        async def probe(transport: Transport) -> list[TestResult]:
            slots = asyncio.Semaphore(_AT_ONCE)

            async def one(provider: Provider, listing: Listing) -> TestResult:
                async with slots:
                    return await self._probe(provider, listing, transport)

            return await asyncio.gather(*(one(*item) for item in ready))

        return self.lister.fetcher().run(probe)

    async def _probe(
        self, provider: Provider, listing: Listing, transport: Transport
    ) -> TestResult:
        slug, started = provider.slug, self.timer()
        try:
            found = await listing(transport)
        except ProviderError as exc:
            return TestResult(slug, False, "error", self._since(started), error=exc)
        return TestResult(slug, True, "connected", self._since(started), len(found))

    def _since(self, started: float) -> int:
        return round((self.timer() - started) * 1000)

    def _record(self, provider: Provider, result: TestResult) -> TestResult:
        if isinstance(result.error, UsageError):
            return result
        now_ms = int(self.clock() * 1000)
        took_ms = result.latency_ms or 0
        check = check_of(result.error or result.models or 0, now_ms, took_ms)
        self.recorder.keep([(provider, check)], started_ms=now_ms - took_ms, asked=True)
        return result

    def _claim(self, slug: str) -> float:
        """Seconds to wait, or 0 and the right to test: no other process gets it meanwhile."""
        key = f"tested:{slug}"
        with self.claims.transaction():
            now_ms = int(self.clock() * 1000)
            last = self.claims.get_meta(key)
            # A clock that was set back must not lock tests out for long.
            age_ms = now_ms - int(last) if last else None
            if age_ms is not None and 0 <= age_ms < INTERVAL_S * 1000:
                return INTERVAL_S - age_ms / 1000
            self.claims.set_meta(key, str(now_ms))
        return 0.0


def _unasked(provider: Provider, error: OmniError) -> TestResult:
    """Nothing was sent: it has no key, or no call that is free."""
    status = provider.status if isinstance(error, UsageError) else "disconnected"
    return TestResult(provider.slug, False, status, error=error)


QUESTION = "Reply with the single word: OK"
#: Enough for the word and for a thinking model's least thought.
_MOST_TOKENS = 64
_INPUT_BOUND = 64


class ProbeResult(Struct, frozen=True):
    """``error`` None: it answered. ``cost_nusd`` None: its price is unknown."""

    model: str
    latency_ms: int | None
    cost_nusd: int | None
    error: OmniError | None = None


class Prober(Struct, kw_only=True, eq=False):
    """Args:
    spent: nano-dollars that probes cost today.
    cap_nusd: the most that they may cost in a day.
    """

    chat: ChatService
    names: Names
    spent: Callable[[], int]
    cap_nusd: int

    def probe(self, name: str) -> ProbeResult:
        """Ask a model for one word. A failing model is in the result, not raised.

        Raises:
            NotFound: no such model.
            BudgetExceeded: the day's cap leaves no room; nothing was sent.
            UnknownPrice: a cap cannot be kept at an unknown price; nothing was sent.
        """
        model = self.names.model(name)
        request = ChatRequest(
            (Message.text_of("user", QUESTION),), max_output_tokens=_MOST_TOKENS, stream=False
        )
        job = ChatJob(request, Selector("model", model), source="probe", keep=False)
        plan = self.chat.plan(job)
        price = plan.targets[0].price
        if price is None or price.price.state == "unknown":
            raise UnknownPrice(
                f"the price of {model} is unknown, so a probe cannot be capped",
                hint=f"omni models price {model} --price-in USD --price-out USD sets one",
            )
        worst = worst_case_nusd(_INPUT_BOUND, _MOST_TOKENS, price.price)
        spent = self.spent()
        if spent + worst > self.cap_nusd:
            raise BudgetExceeded(
                f"probes cost {format_usd(spent)} today, and this one may cost "
                f"{format_usd(worst)}: the cap is {format_usd(self.cap_nusd)} a day",
                hint="raise --probe-cap",
            )
        run = self.chat.start(plan)
        error: OmniError | None = None
        try:
            with closing(self.chat.chunks(run)) as chunks:
                for _ in chunks:
                    pass
        except OmniError as exc:
            error = exc
        row = run.row
        return ProbeResult(
            model,
            None if row is None else row.latency_ms,
            None if row is None else row.total_nusd,
            error,
        )


def probe_chore(prober: Prober, models: list[str], every_s: float) -> Chore:
    """Probes on a schedule. When the day's cap is reached, one alert says so."""

    def run() -> list[Alert]:
        alerts = []
        for name in models:
            try:
                result = prober.probe(name)
            except OmniError as exc:
                alerts.append(Alert(f"probe:{name}", "warning", f"no probe of {name}", exc.message))
                continue
            if result.error is None:
                text = f"answered in {result.latency_ms} ms"
                alerts.append(Alert(f"probe:{name}", "ok", f"{name} answers", text))
            else:
                text = result.error.message
                alerts.append(Alert(f"probe:{name}", "error", f"{name} does not answer", text))
        return alerts

    return every("probe", every_s, run)

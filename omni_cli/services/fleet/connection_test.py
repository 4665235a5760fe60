"""Ask a provider whether it answers: one unbilled call that lists its models (A3)."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from omni_cli.domain.errors import Busy, MissingKey, OmniError, ProviderError, UsageError
from omni_cli.domain.models import Provider, ProviderStatus
from omni_cli.ports import Clock, RemoteModel, Transport
from omni_cli.repositories import Store
from omni_cli.services.fleet.listing import Lister, Listing
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

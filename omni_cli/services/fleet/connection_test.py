"""Ask a provider whether it answers: one unbilled call that lists its models (A3)."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import Busy, OmniError, ProviderError, UsageError
from omni_cli.domain.models import Provider, ProviderStatus
from omni_cli.ports import Clock, Endpoint, Fetcher, ProviderAdapter, RemoteModel
from omni_cli.repositories import Store
from omni_cli.services.fleet.listing import fetch_models
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
    key: the provider's key; raises MissingKey.
    recorder: keeps what a test found, where health and routing look for it.
    timer: seconds of a clock that never jumps.
    """

    recorder: CheckRecorder
    claims: Store
    adapters: Callable[[Any], ProviderAdapter]
    transport: Callable[[], Fetcher]
    key: Callable[[Provider], str | None]
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
        return self._record(provider, self._probe(provider, self._endpoint(provider)))

    def test_all(self, providers: Sequence[Provider]) -> list[TestResult]:
        """Test many at once, in the order given; too fresh ones are skipped and say so.

        The store is used by this thread alone; the others only wait for the network.
        """
        waits = {p.slug: self._claim(p.slug) for p in providers}
        endpoints = {p.slug: self._endpoint(p) for p in providers if not waits[p.slug]}
        self.transport()  # made here: several threads would make several
        with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(providers)) or 1) as pool:
            running = {
                p.slug: pool.submit(self._probe_safely, p, endpoints[p.slug])
                for p in providers
                if p.slug in endpoints
            }
            return [
                self._record(p, running[p.slug].result())
                if p.slug in running
                else TestResult(p.slug, p.status == "connected", p.status, wait_s=waits[p.slug])
                for p in providers
            ]

    def listing(self, provider: Provider, *, timeout_s: float = TIMEOUT_S) -> list[RemoteModel]:
        """What a provider serves now.

        Raises:
            MissingKey, ProviderError, UsageError (the protocol has no listing).
        """
        endpoint = Endpoint(provider.base_url, self.key(provider), provider.headers)
        return self._list(provider, endpoint, timeout_s)

    def _endpoint(self, provider: Provider) -> Endpoint | OmniError:
        try:
            return Endpoint(provider.base_url, self.key(provider), provider.headers)
        except OmniError as exc:
            return exc

    def _list(self, provider: Provider, endpoint: Endpoint, timeout_s: float) -> list[RemoteModel]:
        adapter = self.adapters(provider.protocol)
        call = adapter.list_models(endpoint)
        if call is None:
            raise UsageError(
                f"{provider.protocol} has no call that lists models, and none free of charge",
                hint=f"omni chat -m {provider.slug}/MODEL makes a real one, which may be billed",
            )
        return fetch_models(adapter, self.transport(), endpoint, call, timeout_s=timeout_s)

    def _probe(self, provider: Provider, endpoint: Endpoint | OmniError) -> TestResult:
        """Raises UsageError."""
        slug = provider.slug
        if isinstance(endpoint, OmniError):
            return TestResult(slug, False, "disconnected", error=endpoint)
        self.transport()  # made before the clock starts: importing it is not latency
        started = self.timer()
        try:
            found = self._list(provider, endpoint, TIMEOUT_S)
        except ProviderError as exc:
            return TestResult(slug, False, "error", self._since(started), error=exc)
        return TestResult(slug, True, "connected", self._since(started), len(found))

    def _probe_safely(self, provider: Provider, endpoint: Endpoint | OmniError) -> TestResult:
        try:
            return self._probe(provider, endpoint)
        except UsageError as exc:
            return TestResult(provider.slug, False, provider.status, error=exc)

    def _since(self, started: float) -> int:
        return round((self.timer() - started) * 1000)

    def _record(self, provider: Provider, result: TestResult) -> TestResult:
        if isinstance(result.error, UsageError):
            return result
        now_ms = int(self.clock() * 1000)
        took_ms = result.latency_ms or 0
        check = check_of(result.error or result.models or 0, now_ms, took_ms)
        self.recorder.keep(provider, check, started_ms=now_ms - took_ms, asked=True)
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

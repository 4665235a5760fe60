"""Why a model does or does not answer: one check after another, each with what to do."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from omni_cli.domain.breaker import Breaker
from omni_cli.domain.errors import OmniError
from omni_cli.domain.models import Provider, retirement_words
from omni_cli.domain.vendor_env import no_key_hint
from omni_cli.ports import Clock, RemoteModel
from omni_cli.repositories import Breakers
from omni_cli.services.fleet.browse import Browser
from omni_cli.services.fleet.fleet import FleetService
from omni_cli.services.money.prices import utc_day

Verdict = Literal["ok", "warning", "error"]


class Check(Struct, frozen=True):
    verdict: Verdict
    words: str
    hint: str = ""


class Diagnosis(Struct, kw_only=True, eq=False):
    """
    Args:
        has_key, key_place: of a provider; a place is None where no key is needed.
        listing: asks a provider what it serves, unbilled.
    """

    fleet: FleetService
    breakers: Breakers
    browser: Browser
    has_key: Callable[[Provider], bool]
    key_place: Callable[[Provider], str | None]
    listing: Callable[[Provider], Sequence[RemoteModel]]
    clock: Clock

    def checks(self, name: str) -> list[Check]:
        """All checks of a model; the last one asks its provider. Raises NotFound."""
        model = self.fleet.model(name)
        provider = self.fleet.provider(model.provider)
        slug = provider.slug
        checks = [_status(model.status)]
        if not provider.enabled:
            checks.append(Check("error", f"{slug} is disabled", f"omni providers enable {slug}"))
        elif provider.status == "maintenance":
            checks.append(
                Check(
                    "warning",
                    f"{slug} is in maintenance",
                    f"omni providers edit {slug} --no-maintenance",
                )
            )
        else:
            checks.append(
                Check("ok", f"{slug} is enabled, {provider.protocol} at {provider.base_url}")
            )
        if self.has_key(provider):
            place = self.key_place(provider)
            checks.append(Check("ok", f"key: {place}" if place else "needs no key"))
        else:
            checks.append(Check("error", f"no key for {slug}", no_key_hint(slug)))
        checks += self._open_breakers(model.id, slug)
        listed = self.browser.listed(model)
        if listed.price is None or listed.price.price.state == "unknown":
            hint = f"omni models price {model.id} --price-in USD --price-out USD"
            checks.append(Check("warning", "its price is unknown: budgets refuse it", hint))
        else:
            checks.append(Check("ok", f"its price is known ({listed.price.origin})"))
        if model.retired_on and not provider.simulated:
            said = retirement_words(model.retired_on, utc_day(int(self.clock() * 1000)))
            checks.append(Check("warning", f"its provider {said}"))
        if not self.fleet.uses(model.id):
            checks.append(Check("ok", "no role, rule or chain: chosen by score alone"))
        return [*checks, self._served(provider, model.wire_name)]

    def _open_breakers(self, *names: str) -> Iterator[Check]:
        now_ms = int(self.clock() * 1000)
        for name in names:
            stored = self.breakers.get(name)
            breaker = None if stored is None else Breaker.from_json(stored)
            if breaker is None or breaker.state == "closed":
                continue
            wait = max(breaker.until_ms - now_ms, 0) / 1000
            yield Check(
                "error" if not breaker.allows(now_ms) else "warning",
                f"circuit breaker of {name} is {breaker.state.replace('_', ' ')} after "
                f"{breaker.last_error or 'failures'}",
                f"tries again in {wait:.0f} s; a passed connection test closes it",
            )

    def _served(self, provider: Provider, wire_name: str) -> Check:
        slug = provider.slug
        try:
            served = self.listing(provider)
        except OmniError as exc:
            return Check("error", f"{slug}: {exc.message}", exc.hint)
        if any(remote.wire_name == wire_name for remote in served):
            return Check("ok", f"{slug} answers and lists it among {len(served)} models")
        return Check(
            "warning",
            f"{slug} answers, but does not list {wire_name}",
            f"omni providers models {slug} shows what it serves",
        )


def _status(status: str) -> Check:
    if status == "disabled":
        return Check("error", "the model is disabled", "d enables it")
    if status == "standby":
        return Check(
            "warning", "on standby: used when named, not chosen by itself", "d activates it"
        )
    return Check("ok", "the model is active")

"""Money that budgets hold for calls whose end or counts nobody saw: shown, asked for, released."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from omni_cli.domain.document import document
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.models import ProtocolName, Provider
from omni_cli.domain.money import usd, usd_string
from omni_cli.domain.periods import iso
from omni_cli.ports import Access, Clock, Endpoint, Fetcher, ProviderAdapter, TellsCost
from omni_cli.records import Charge, Correction
from omni_cli.repositories import Adjustments, Audit, Models, Providers
from omni_cli.services.money.prices import cost_or_none

_TIMEOUT_S = 20.0


class Report(Struct, frozen=True):
    """What the provider says a held call cost. ``cost_nusd`` None: it did not say, and ``why``."""

    charge: Charge
    cost_nusd: int | None
    why: str = ""


class HeldMoney(Struct, kw_only=True, eq=False):
    """Args:
    who: named in the audit log and in corrections.
    """

    adjustments: Adjustments
    models: Models
    providers: Providers
    audit: Audit
    adapters: Callable[[ProtocolName], ProviderAdapter]
    transport: Callable[[], Fetcher]
    key: Callable[[Provider], str | Access | None]
    clock: Clock
    who: str

    def all(self) -> list[Charge]:
        """Attempts that are over and hold money yet, oldest first."""
        return self.adjustments.held()

    def chosen(
        self, requests: Sequence[int] = (), *, model: str | None = None, day: str | None = None
    ) -> list[Charge]:
        """Those of some requests, or of a model, or of a day (UTC, ISO).

        Raises NotFound: a request holds nothing, or none fits.
        """
        found = self.all()
        if requests:
            found = [charge for charge in found if charge.request.id in set(requests)]
            missing = set(requests) - {charge.request.id for charge in found}
            if missing:
                raise NotFound(
                    f"nothing is held for request {id_text(min(missing))}",
                    hint="omni budgets held lists what is",
                )
        found = [
            charge
            for charge in found
            if model in (None, charge.attempt.model) and day in (None, _day(charge))
        ]
        if not found:
            raise NotFound("nothing is held", hint="omni budgets held lists what is")
        return found

    def release(self, charges: Sequence[Charge], cost_nusd: int | None, *, reason: str) -> int:
        """Hold nothing more for these calls; returns how many changed.

        Args:
            cost_nusd: what they cost together, shared out by what each holds; None: what is known
                to have come stays their cost.

        Raises:
            UsageError: they cannot have cost that little or that much.
        """
        known = sum(charge.current_nusd or 0 for charge in charges)
        held = sum(charge.attempt.held_nusd for charge in charges)
        if cost_nusd is not None and not 0 <= cost_nusd <= known + held:
            raise UsageError(
                f"these calls cost at most {usd_string(known + held)} together, "
                f"not {usd_string(cost_nusd)}",
                hint="omni reprice --request ID --cost USD sets any cost of one call",
            )
        return self.settle([(c, share) for c, share in _shares(charges, cost_nusd)], reason=reason)

    def settle(self, costs: Sequence[tuple[Charge, int]], *, reason: str) -> int:
        """Say what each call cost; nothing more is held for it. Audited."""
        now = int(self.clock() * 1000)
        corrections = [
            Correction(c.request.id, c.attempt.n, cost, None, None, final=True) for c, cost in costs
        ]
        written = self.adjustments.apply(corrections, at_ms=now, who=self.who, reason=reason)
        if written:
            released = sum(charge.attempt.held_nusd for charge, _ in costs)
            delta = sum(cost - (charge.current_nusd or 0) for charge, cost in costs)
            self.audit.record(
                at_ms=now,
                who=self.who,
                action="budget.release",
                target=id_text(costs[0][0].request.id) if len(costs) == 1 else f"{written} calls",
                after={
                    "released_usd": usd_string(released),
                    "delta_usd": usd_string(delta),
                    "reason": reason,
                },
            )
        return written

    def ask(self, charge: Charge) -> Report:
        """The provider's own report of a held call."""
        attempt = charge.attempt
        provider = self.providers.get(attempt.provider)
        if provider is None:
            return Report(charge, None, f"{attempt.provider} is not connected")
        adapter = self.adapters(provider.protocol)
        if attempt.provider_request_id is None or not isinstance(adapter, TellsCost):
            return Report(charge, None, "its provider cannot be asked about it")
        try:
            endpoint = Endpoint.of(provider, self.key(provider))
            call = adapter.ask_cost(endpoint, attempt.provider_request_id)
            if call is None:
                return Report(charge, None, "its provider cannot be asked about it")
            body = self.transport().fetch(adapter, call, timeout_s=_TIMEOUT_S)
        except OmniError as exc:
            return Report(charge, None, f"{provider.slug}: {exc.message}")
        return self.read(charge, adapter, body)

    def read(self, charge: Charge, adapter: TellsCost, body: str) -> Report:
        """What a provider's answer to that question says."""
        attempt = charge.attempt
        try:
            told = adapter.read_cost(body)
        except OmniError as exc:
            return Report(charge, None, f"{attempt.provider}: {exc.message}")
        if told is None:
            return Report(charge, None, "it is not over yet, or its provider says no cost")
        usage, cost = told
        if cost is None and usage is not None and attempt.price is not None:
            cost = cost_or_none(usage, self.models.price_by_id(attempt.price))
        return Report(charge, cost, "" if cost is not None else "its price is unknown")


def _day(charge: Charge) -> str:
    return datetime.fromtimestamp(charge.request.created_at / 1000, UTC).date().isoformat()


def _shares(charges: Sequence[Charge], cost_nusd: int | None) -> list[tuple[Charge, int]]:
    """What each call cost where ``cost_nusd`` is all of theirs: its known cost, and of the rest by
    what it holds; of less than what is known, by that."""
    known = [charge.current_nusd or 0 for charge in charges]
    if cost_nusd is None:
        return list(zip(charges, known, strict=True))
    more = cost_nusd - sum(known)
    weights = [c.attempt.held_nusd for c in charges] if more >= 0 else known
    whole, shares, left = sum(weights) or 1, [], more
    for weight in weights:
        share = more * weight // whole
        shares.append(share)
        left -= share
    shares[-1] += left
    return [
        (charge, base + share) for charge, base, share in zip(charges, known, shares, strict=True)
    ]


def held_document(charge: Charge) -> dict[str, Any]:
    """What ``omni budgets held --json`` prints of each."""
    attempt = charge.attempt
    return {
        "request": id_text(charge.request.id),
        "attempt": attempt.n,
        "at": iso(charge.request.created_at),
        **document(attempt, "provider", "model", "outcome", "provider_request_id"),
        "cost_usd": usd(charge.current_nusd),
        "held_usd": usd_string(attempt.held_nusd),
    }


def report_document(report: Report, *, applied: bool) -> dict[str, Any]:
    """What ``omni reconcile --held --json`` prints of each. ``applied``: it is written."""
    cost = report.cost_nusd
    return {
        **held_document(report.charge),
        "reported_usd": usd(cost),
        "why": report.why or None,
        "applied": applied and cost is not None,
    }

"""Ask every provider what it serves, say what changed, and add what is recommended (A7)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from msgspec import Struct

from omni_cli.domain.discovery import Facts, Finding, FindingKind, Known, findings
from omni_cli.domain.document import document
from omni_cli.domain.errors import Malformed, OmniError
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.periods import iso
from omni_cli.domain.prices import KINDS as PRICE_KINDS
from omni_cli.domain.prices import Price
from omni_cli.domain.record import replace
from omni_cli.ports import Clock, RemoteModel
from omni_cli.repositories import Discoveries, Models, Providers
from omni_cli.services.engine.at_once import at_once
from omni_cli.services.fleet.fleet import FleetService
from omni_cli.services.fleet.listing import Lister
from omni_cli.services.fleet.setup import LOCAL_SOURCE, add_listed, listed_price, runs_here
from omni_cli.services.judge.alerts import Alert
from omni_cli.services.money.prices import PriceBook, utc_day

#: Each provider's own time limit, seconds; all together take no longer.
LIMIT_S = 30.0
#: A retirement within so many days is told loudly, used or not.
SOON_DAYS = 60


class Found(Struct, frozen=True):
    """A finding in the fleet's terms. ``uses``: roles, rules and chains that name the model.

    ``recommended``: what ``--apply`` does about it, or "". ``fresh``: it was not known at the
    last look. ``today``: ISO date of the look.
    """

    model: str
    provider: str
    finding: Finding
    uses: tuple[str, ...]
    recommended: str
    fresh: bool
    today: str

    @property
    def kind(self) -> FindingKind:
        return self.finding.kind

    @property
    def loud(self) -> bool:
        """It takes something away that is in use, now or soon."""
        if self.kind == "deprecated":
            soon = self.finding.day is not None and self.finding.day <= _later(self.today)
            return bool(self.uses) or soon
        return self.kind == "gone" and bool(self.uses or self.finding.active)


class Asked(Struct, frozen=True):
    """How asking one provider went. ``listed``: models it lists, None where it failed."""

    provider: str
    listed: int | None
    took_ms: int
    error: OmniError | None = None


class Discovery(Struct, frozen=True):
    at_ms: int
    asked: tuple[Asked, ...]
    found: tuple[Found, ...]
    remote: Mapping[str, Mapping[str, RemoteModel]]

    def of(self, kind: FindingKind) -> list[Found]:
        return [item for item in self.found if item.kind == kind]


class DiscoveryService(Struct, kw_only=True, eq=False):
    providers: Providers
    models: Models
    fleet: FleetService
    history: Discoveries
    lister: Lister
    clock: Clock

    def discover(
        self,
        slugs: Iterable[str] | None = None,
        *,
        limit_s: float = LIMIT_S,
        progress: Callable[[Asked], None] = lambda _: None,
    ) -> Discovery:
        """Ask enabled providers, all at once; the history keeps what was found.

        Args:
            progress: told of each provider as it answers or fails.

        Raises:
            NotFound: no such provider.
        """
        chosen = (
            [self.fleet.provider(slug) for slug in slugs]
            if slugs
            else [provider for provider in self.providers.all() if provider.enabled]
        )
        ready, refused = self.lister.prepare_all(chosen, timeout_s=limit_s)
        by_slug = {provider.slug: provider for provider in chosen}
        started = self._now()
        asked: list[Asked] = []
        found: list[Found] = []
        remote: dict[str, dict[str, RemoteModel]] = {}

        def heard(one: Asked) -> None:
            asked.append(one)
            progress(one)

        for slug, error in refused.items():
            heard(Asked(slug, None, 0, error))
        for slug, result in at_once(self.lister.fetcher(), ready, limit_s=limit_s):
            took = self._now() - started
            if isinstance(result, OmniError):
                heard(Asked(slug, None, took, result))
                continue
            if isinstance(result, Exception):
                raise result
            listed = {item.wire_name: item for item in result}
            before = self.history.listing(slug)
            if not listed and (before is None or before[1]):
                # An empty list is a broken answer sooner than the end of all models.
                heard(Asked(slug, None, took, Malformed(f"{slug} lists no models")))
                continue
            remote[slug] = listed
            found += self._compare(by_slug[slug], listed, before and before[1])
            heard(Asked(slug, len(listed), took))
        order = {"gone": 0, "deprecated": 1, "updated": 2, "new": 3}
        found.sort(key=lambda item: (not item.loud, order[item.kind], item.model))
        asked.sort(key=lambda item: item.provider)
        return Discovery(started, tuple(asked), tuple(found), remote)

    def _compare(
        self,
        provider: Provider,
        listed: Mapping[str, RemoteModel],
        before: Mapping[str, Facts] | None,
    ) -> list[Found]:
        models = self.models.all(provider=provider.slug, hidden=True)
        prices = PriceBook(self.models, now_ms=self._now())
        prices.load(model.id for model in models if model.status == "active")
        known = {model.wire_name: self._known(model, provider, prices) for model in models}
        facts = {name: facts_of(item) for name, item in listed.items()}
        found = findings(facts, before, known)
        fresh = self.history.keep(provider.slug, facts, found, at_ms=self._now())
        return [
            Found(
                f"{provider.slug}/{finding.wire_name}",
                provider.slug,
                finding,
                tuple(self.fleet.uses(f"{provider.slug}/{finding.wire_name}")),
                _recommended(finding),
                finding in fresh,
                utc_day(self._now()),
            )
            for finding in found
        ]

    def _known(self, model: ModelInfo, provider: Provider, prices: PriceBook) -> Known:
        active = model.status == "active"
        row = prices.current(model.id) if active else None
        fixed = set(self.models.user_fields(model.id)) if active else set()
        if row is not None and row.origin == "user":
            fixed.add("price")
        return Known(
            Facts(
                context_window=model.context_window,
                max_output=model.max_output,
                badges=model.badges,
                prices={} if row is None else _rates(row.price),
            ),
            active=active,
            # A simulated provider serves whatever the real one has retired.
            retired_on=None if provider.simulated else model.retired_on,
            fixed=frozenset(fixed),
        )

    def apply(self, discovery: Discovery) -> list[str]:
        """Do what is recommended, as one revision; returns the ids of models touched."""
        wanted = [item for item in discovery.found if item.recommended]
        if not wanted:
            return []
        touched: list[str] = []
        with self.fleet.change("discover.apply", f"{len(wanted)} models", None, None):
            for slug in dict.fromkeys(item.provider for item in wanted):
                provider = self.fleet.provider(slug)
                mine = [item for item in wanted if item.provider == slug]
                touched += self._add(provider, mine, discovery.remote[slug])
                touched += self._update(provider, mine, discovery.remote[slug])
            self.history.mark_applied(touched, at_ms=self._now())
        return touched

    def _add(
        self, provider: Provider, items: Sequence[Found], remote: Mapping[str, RemoteModel]
    ) -> list[str]:
        new = [remote[item.finding.wire_name] for item in items if item.kind == "new"]
        here = [item for item in new if runs_here(provider, item, self.models)]
        added = add_listed(self.fleet, self.models, provider, here, status="active")
        for model_id in added:
            self.fleet.set_price(model_id, {}, free=True, source=LOCAL_SOURCE)
        others = [item for item in new if item not in here]
        return added + add_listed(self.fleet, self.models, provider, others, status="standby")

    def _update(
        self, provider: Provider, items: Sequence[Found], remote: Mapping[str, RemoteModel]
    ) -> list[str]:
        updated = []
        for item in items:
            if item.kind != "updated":
                continue
            fresh = remote[item.finding.wire_name]
            model = self.fleet.model(item.model)
            names = {change.field for change in item.finding.changes}
            changed = replace(
                model,
                context_window=fresh.context_window
                if "context_window" in names
                else model.context_window,
                max_output=fresh.max_output if "max_output" in names else model.max_output,
                badges=model.badges | fresh.badges if "badges" in names else model.badges,
                lacks=model.lacks - fresh.badges,
            )
            if changed != model:
                self.fleet.put_model(changed, set_fields=())
            if any(name.startswith("price ") for name in names):
                self.models.set_price(
                    model.id,
                    listed_price(provider, fresh),
                    origin="provider",
                    now_ms=self._now(),
                )
            updated.append(model.id)
        return updated

    def alerts(self, discovery: Discovery) -> list[Alert]:
        """What is news: new models by provider, and every model in use that goes away."""
        found = []
        for slug in dict.fromkeys(item.provider for item in discovery.found):
            new = [
                item
                for item in discovery.of("new")
                if item.provider == slug and item.fresh and item.finding.chats
            ]
            if new:
                names = ", ".join(item.model for item in new[:5])
                more = f" and {len(new) - 5} more" if len(new) > 5 else ""
                key = f"new:{slug}:{new[0].model}:{len(new)}"
                title = f"{len(new)} new models at {slug}" if len(new) > 1 else f"new at {slug}"
                found.append(Alert(key, "info", title, names + more))
        for item in discovery.found:
            if item.loud:
                text = touches(item)
                found.append(
                    Alert(f"{item.kind}:{item.model}:{item.finding.day}", "error", item.model, text)
                )
        return found

    def due_s(self, every_s: float) -> float:
        """Seconds until the next look is due."""
        last = self.history.last_look()
        if last is None:
            return 0.0
        age_s = (self._now() - last) / 1000
        return every_s - age_s if age_s >= 0 else 0.0

    def _now(self) -> int:
        return int(self.clock() * 1000)


def facts_of(remote: RemoteModel) -> Facts:
    return Facts(
        name=remote.name,
        context_window=remote.context_window,
        max_output=remote.max_output,
        badges=remote.badges,
        input_types=remote.input_types,
        output_types=remote.output_types,
        prices=dict(remote.prices),
    )


def _rates(price: Price) -> dict[str, str]:
    """As a listing writes them; a price with tiers is not comparable and counts as unknown."""
    if price.state == "free":
        return {"input": "0", "output": "0"}
    rates = {kind: getattr(price, kind, None) for kind in PRICE_KINDS}
    if any(rate is not None and rate.tiers for rate in rates.values()):
        return {}
    return {kind: f"{r.base.normalize():f}" for kind, r in rates.items() if r is not None}


def _recommended(finding: Finding) -> str:
    if finding.kind == "new" and not finding.known and finding.chats:
        return "add"
    return "update" if finding.kind == "updated" else ""


def _later(today: str) -> str:
    return (date.fromisoformat(today) + timedelta(days=SOON_DAYS)).isoformat()


def _tense(item: Found) -> str:
    return "retired" if (item.finding.day or "") <= item.today else "retires"


def touches(item: Found) -> str:
    """What a finding means for the fleet, in one line."""
    finding = item.finding
    said = {
        "gone": "its provider no longer lists it",
        "deprecated": f"its provider {_tense(item)} it on {finding.day}",
        "updated": "; ".join(
            f"{c.field}: {c.before or 'unknown'} → {c.after}" for c in finding.changes
        ),
        "new": "in omni's catalogue, on standby" if finding.known else "new to omni",
    }[finding.kind]
    if finding.kind == "new" and finding.active:
        said = "listed again"
    if finding.kind == "new" and not finding.chats:
        said += ", not a chat model by its name"
    used = f"; used by {', '.join(item.uses)}" if item.uses else ""
    return said + used


def discovery_document(discovery: Discovery, applied: Sequence[str] | None) -> dict[str, Any]:
    """What ``omni discover --json`` prints. ``applied``: ids changed, None: nothing was asked."""

    def item(found: Found) -> dict[str, Any]:
        remote = discovery.remote.get(found.provider, {}).get(found.finding.wire_name)
        return {
            "id": found.model,
            "provider": found.provider,
            "name": None if remote is None else remote.name,
            "known": found.finding.known,
            "active": found.finding.active,
            "chat": found.finding.chats,
            "news": found.fresh,
            "changes": [document(c, "field", "before", "after") for c in found.finding.changes],
            "retires_on": found.finding.day,
            "used_by": list(found.uses),
            "recommended": found.recommended or None,
            "summary": touches(found),
        }

    failed = any(one.error is not None and one.error.code != "usage" for one in discovery.asked)
    return {
        "status": "error" if failed else "complete",
        "at": iso(discovery.at_ms),
        "providers": [
            {
                "id": one.provider,
                "listed": one.listed,
                "took_ms": one.took_ms,
                "error": None
                if one.error is None
                else {"code": one.error.code, "message": one.error.message},
            }
            for one in discovery.asked
        ],
        **{kind: [item(f) for f in discovery.of(kind)] for kind in ("new", "updated")},
        **{kind: [item(f) for f in discovery.of(kind)] for kind in ("deprecated", "gone")},
        "applied": None if applied is None else list(applied),
    }

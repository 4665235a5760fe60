"""The fleet as one organisation has it: what is its own over what everybody shares.

An organisation's own provider, role or chain is called NAME@ORG where it is kept, beside
everybody's in the same tables, so revisions, rollback and fleet files hold it; its own rule begins
with a condition on the organisation. Here are the store's ports as seen by one organisation, or by
those of none: others' things are not there, and NAME means one's own where there is one. An own
provider takes the place of the shared one of its name, with an account, an address and a key of
its own; the catalogue's models and prices are then its own provider's too. What is shared is never
changed from here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, TypeVar

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.hosts import host_and_port, is_near, is_public
from omni_cli.domain.patterns import Pattern
from omni_cli.domain.record import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from omni_cli.domain.analytics import Totals
    from omni_cli.domain.blocks import HourUse
    from omni_cli.domain.budgets import Budget, BudgetStatus
    from omni_cli.domain.models import Chain, ModelInfo, Provider, ProviderStatus, Role, Rule
    from omni_cli.domain.prices import Price
    from omni_cli.records import Baseline, ClientKey, Filters, StoredPrice, UsageLine
    from omni_cli.repositories import Assignments, Budgets, ClientKeys, Models, Providers, Reports
    from omni_cli.services.judge.health_report import FleetHealth

Named = TypeVar("Named", "Role", "Chain")
MARK = "@"
_ORG = Pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OWN_RULE = Pattern(r"org == '([^']*)' && \((.*)\)", re.DOTALL)
_SAYS_ORG = Pattern(r"\borg\b")


def check_org(name: str) -> str:
    """Raises UsageError: no organisation can be called so."""
    if not _ORG.fullmatch(name):
        raise UsageError(
            f"an organisation's name holds letters, digits, '.', '_' and '-', not {name!r}"
        )
    return name


def whose(name: str) -> str:
    """The organisation that a kept name belongs to, "" for everybody's."""
    return name.partition("/")[0].partition(MARK)[2]


def rule_of(rule: Rule) -> tuple[str, str]:
    """A kept rule's organisation, "" for everybody's, and the condition that is left."""
    match = _OWN_RULE.fullmatch(rule.condition)
    return (match[1], match[2]) if match else ("", rule.condition)


def owners(providers: Providers, assignments: Assignments) -> frozenset[str]:
    """Organisations that have something of their own."""
    names = [provider.slug for provider in providers.all()]
    names += [role.name for role in assignments.roles()]
    names += [chain.name for chain in assignments.chains()]
    found = {whose(name) for name in names} | {rule_of(rule)[0] for rule in assignments.rules()}
    return frozenset(found - {""})


def organisations(
    reports: Reports,
    client_keys: ClientKeys,
    providers: Providers,
    assignments: Assignments,
    budgets: Budgets,
) -> set[str]:
    """All that anything here was made for, or used by."""
    used = reports.totals(0, 99_999_999, ("org",), {})
    found = {org for (org,) in used} | owners(providers, assignments)
    found |= {key.org or "" for key in client_keys.all()}
    return {*found, *(one.value for one in budgets.all() if one.scope == "org")} - {""}


def origins(providers: Iterable[Provider], *, free: bool) -> dict[tuple[str, int], bool]:
    """Hosts and ports of all providers, and whether each is organisations' own alone: these must
    lead out of this machine's networks, unless the settings say otherwise, ``free``."""
    found = dict[tuple[str, int], bool]()
    for provider in providers:
        origin = host_and_port(provider.base_url)
        own = bool(whose(provider.slug)) and not free
        found[origin] = own and found.get(origin, True)
    return found


class Eyes:
    """Args:
    org: whose eyes these are, "" for those of no organisation.
    """

    def __init__(self, org: str) -> None:
        self.org = org
        self._tail = f"{MARK}{org}"

    def sees(self, name: str) -> bool:
        return whose(name) in ("", self.org)

    def own(self, name: str) -> str:
        """What an own thing of this name is kept as. Raises UsageError: it is another's."""
        if not self.org:
            return name
        if MARK not in name:
            return name + self._tail
        if name.endswith(self._tail):
            return name
        raise UsageError(f"{name!r} is not {self.org}'s to name")

    def bare(self, name: str) -> str:
        return name.removesuffix(self._tail) if self.org else name

    def shared(self, what: str) -> NoReturn:
        raise UsageError(
            f"{what} is shared by everybody: {self.org} does not change it",
            hint="an organisation's own of the same name takes its place",
        )


class OrgProviders(Struct, eq=False):
    """``slug``: an own provider's ends in @ORG; without that it means the own one, if any.

    Args:
        inside: whether an organisation's own provider may be within this machine's networks.
        addresses: of a host's name.
    """

    raw: Providers
    eyes: Eyes
    inside: Callable[[], bool] = lambda: True
    addresses: Callable[[str], Sequence[str]] = lambda _: ()

    def all(self) -> list[Provider]:
        found = [provider for provider in self.raw.all() if self.eyes.sees(provider.slug)]
        if not self.eyes.org:
            return found
        hidden = {self.eyes.bare(p.slug) for p in found if whose(p.slug)}
        return [p for p in found if p.slug not in hidden]

    def resolved(self, slug: str) -> str:
        """The kept name that ``slug`` means."""
        if self.eyes.org and MARK not in slug:
            own = self.eyes.own(slug)
            return own if self.raw.get(own) is not None else slug
        return slug

    def get(self, slug: str) -> Provider | None:
        return self.raw.get(self.resolved(slug)) if self.eyes.sees(slug) else None

    def put(self, provider: Provider) -> None:
        if not self.eyes.org:
            self.raw.put(provider)
            return
        slug = self.eyes.own(provider.slug)
        shared = self.raw.get(provider.slug) if slug != provider.slug else None
        if provider.key_env is not None and (shared is None or shared.key_env != provider.key_env):
            raise UsageError(
                "a key of an organisation's own provider is kept for it, and in no variable",
                hint=f"omni --org {self.eyes.org} keys set {provider.slug}",
            )
        old = self.raw.get(slug)
        if (old is None or old.base_url != provider.base_url) and not self.inside():
            self._check_outside(provider.base_url)
        self.raw.put(replace(provider, slug=slug, key_env=None))

    def _check_outside(self, url: str) -> None:
        """Who manages an organisation is not who runs the gateway: what its network alone can
        reach is none of theirs. Raises UsageError."""
        from urllib.parse import urlsplit

        host = urlsplit(url).hostname or ""
        within = [found for found in self.addresses(host) if not is_public(found)]
        if within or is_near(url):
            raise UsageError(
                f"{host} is within the gateway's own network"
                + (f" ({within[0]})" if within and within[0] != host else ""),
                hint="who runs the gateway allows it: "
                "omni config set general.org_private_addresses true",
            )

    def delete(self, slug: str) -> None:
        kept = self.resolved(slug)
        if self.eyes.org and not whose(kept):
            self.eyes.shared(f"provider {slug}")
        self.raw.delete(kept)

    def record_test(
        self,
        slug: str,
        status: ProviderStatus,
        *,
        at_ms: int,
        latency_ms: int | None,
        error: str | None,
    ) -> None:
        kept = self.resolved(slug)
        self.raw.record_test(kept, status, at_ms=at_ms, latency_ms=latency_ms, error=error)

    def last_test(self, slug: str) -> tuple[int, int | None, str | None] | None:
        kept = self.resolved(slug)
        found = self.raw.last_test(kept) if self.eyes.sees(kept) else None
        if found is None or not self.eyes.org or whose(kept):
            return found
        return found[0], found[1], None if found[2] is None else "the test failed"


class OrgModels:
    """Models of the providers that are seen. Those of an own provider that nobody wrote down are
    the catalogue's of the shared one's name, on standby."""

    def __init__(self, raw: Models, providers: OrgProviders) -> None:
        self._raw = raw
        self._providers = providers
        self._eyes = providers.eyes

    def kept(self, model_id: str) -> str:
        """The id that ``model_id`` means: of the own provider where it has taken a place."""
        slug, slash, wire_name = model_id.partition("/")
        return f"{self._providers.resolved(slug)}{slash}{wire_name}"

    def _base(self, model_id: str) -> str:
        """The catalogue's id of an own provider's model."""
        slug, slash, wire_name = model_id.partition("/")
        return f"{slug.partition(MARK)[0]}{slash}{wire_name}"

    def _seen(self, models: Iterable[ModelInfo]) -> list[ModelInfo]:
        if not self._eyes.org:
            return [model for model in models if not whose(model.id)]
        return [self._shown(m) for m in models if self._eyes.sees(m.id) and self.kept(m.id) == m.id]

    def _shown(self, model: ModelInfo) -> ModelInfo:
        if not whose(model.id):
            return model
        return replace(model, aliases=tuple(self._eyes.bare(name) for name in model.aliases))

    def _derived(self, slug: str, known: Iterable[ModelInfo], *, hidden: bool) -> list[ModelInfo]:
        have = {model.id for model in known}
        catalogue = self._raw.all(provider=slug.partition(MARK)[0], hidden=hidden)
        made = [self._of_base(slug, model) for model in catalogue if model.is_system]
        return [model for model in made if model.id not in have]

    @staticmethod
    def _of_base(slug: str, model: ModelInfo) -> ModelInfo:
        name = f"{slug}/{model.wire_name}"
        return replace(model, id=name, provider=slug, aliases=(), status="standby", is_system=False)

    def all(self, *, provider: str | None = None, hidden: bool = False) -> list[ModelInfo]:
        slugs = [p.slug for p in self._providers.all()]
        if provider is not None:
            kept = self._providers.resolved(provider)
            if not self._eyes.sees(kept):
                return []
            slugs = [kept]
        only = None if provider is None else slugs[0]
        found = self._seen(self._raw.all(provider=only, hidden=hidden))
        for slug in slugs:
            if whose(slug):
                mine = self._raw.all(provider=slug, hidden=True)  # hidden ones are not made anew
                found += self._derived(slug, mine, hidden=hidden)
        return sorted(found, key=lambda model: model.id)

    def _wanted(self, slugs: Iterable[str]) -> list[str]:
        return [self._providers.resolved(slug) for slug in slugs if self._eyes.sees(slug)]

    def of_providers(self, slugs: Iterable[str], statuses: Collection[str] = ()) -> list[ModelInfo]:
        wanted = self._wanted(slugs)
        found = self._seen(self._raw.of_providers(wanted, statuses))
        for slug in wanted:
            if whose(slug) and (not statuses or "standby" in statuses):
                mine = self._raw.all(provider=slug, hidden=True)
                found += self._derived(slug, mine, hidden=False)
        return sorted(found, key=lambda model: model.id)

    def names(self) -> list[tuple[str, tuple[str, ...]]]:
        if not self._eyes.org:
            return [named for named in self._raw.names() if not whose(named[0])]
        return [(model.id, model.aliases) for model in self.all(hidden=True)]

    def standing_by(self, slugs: Iterable[str]) -> int:
        wanted = self._wanted(slugs)
        if any(map(whose, wanted)):
            return len(self.of_providers(wanted, ("standby",)))
        return self._raw.standing_by(wanted)

    def get(self, model_id: str) -> ModelInfo | None:
        kept = self.kept(model_id)
        if not self._eyes.sees(kept):
            return None
        found = self._raw.get(kept)
        if found is not None:
            return self._shown(found)
        slug = kept.partition("/")[0]
        if not whose(slug) or self._providers.get(slug) is None:
            return None
        base = self._raw.get(self._base(kept))
        return None if base is None or not base.is_system else self._of_base(slug, base)

    def find(self, name: str) -> list[str]:
        if not self._eyes.org:
            return [found for found in self._raw.find(name) if not whose(found)]
        if "/" in name and (model := self.get(name)) is not None:
            return [model.id]
        own = [] if MARK in name else self._raw.find(self._eyes.own(name))
        ids = own or [self.kept(found) for found in self._raw.find(name)]
        ids = [found for found in dict.fromkeys(ids) if self._eyes.sees(found)]
        mine = [found for found in ids if whose(found)]
        return mine or ids

    def put(self, model: ModelInfo, *, now_ms: int, user_fields: Iterable[str] = ()) -> None:
        if self._eyes.org:
            if not whose(model.id):
                self._eyes.shared(f"model {model.id}")
            self._eyes.own(model.id.partition("/")[0])
            model = replace(model, aliases=tuple(self._eyes.own(a) for a in model.aliases))
        self._raw.put(model, now_ms=now_ms, user_fields=user_fields)

    def touched(self) -> dict[str, frozenset[str]]:
        return {k: v for k, v in self._raw.touched().items() if self._eyes.sees(k)}

    def user_fields(self, model_id: str) -> frozenset[str]:
        return self._raw.user_fields(self.kept(model_id))

    def own(self) -> list[ModelInfo]:
        return self._seen(self._raw.own())

    def own_scores(self) -> dict[str, dict[str, float]]:
        return {k: v for k, v in self._raw.own_scores().items() if self._eyes.sees(k)}

    def sizes(self) -> dict[str, float]:
        return {k: v for k, v in self._raw.sizes().items() if self._eyes.sees(k)}

    def user_prices(self) -> dict[str, StoredPrice]:
        return {k: v for k, v in self._raw.user_prices().items() if self._eyes.sees(k)}

    def delete(self, model_id: str) -> None:
        if self._eyes.org and not whose(model_id):
            self._eyes.shared(f"model {model_id}")
        self._raw.delete(model_id)

    def prices(self, wanted: Iterable[str] | None = None) -> dict[str, list[StoredPrice]]:
        """An own provider's model without a price of its own has the catalogue's."""
        if not self._eyes.org:
            return self._raw.prices(wanted)
        ids = None if wanted is None else list(wanted)
        if ids is None:
            ids = [model.id for model in self.all(hidden=True)]
        ids = [ident for ident in ids if self._eyes.sees(ident)]
        found = self._raw.prices(ids)
        bases = {ident: self._base(ident) for ident in ids if whose(ident) and ident not in found}
        known = self._raw.prices(set(bases.values())) if bases else {}
        for ident, base in bases.items():
            rows = [row for row in known.get(base, ()) if row.origin == "catalogue"]
            if rows:
                found[ident] = rows
        return found

    def price_by_id(self, price_id: int) -> Price | None:
        return self._raw.price_by_id(price_id)

    def set_price(self, model_id: str, price: Price, *, origin: str, now_ms: int) -> int:
        if self._eyes.org and not whose(model_id):
            self._eyes.shared(f"the price of {model_id}")
        return self._raw.set_price(model_id, price, origin=origin, now_ms=now_ms)

    def drop_prices(self, model_id: str, *, origin: str, now_ms: int) -> None:
        if self._eyes.org and not whose(model_id):
            self._eyes.shared(f"the price of {model_id}")
        self._raw.drop_prices(model_id, origin=origin, now_ms=now_ms)


class OrgAssignments(Struct, eq=False):
    """Roles and chains by their bare names; rules without their condition on the organisation."""

    raw: Assignments
    models: OrgModels
    eyes: Eyes

    def roles(self) -> list[Role]:
        return self._named(self.raw.roles(), self._role)

    def _role(self, role: Role) -> Role:
        models = tuple(replace(item, model=self.models.kept(item.model)) for item in role.models)
        return replace(role, name=self.eyes.bare(role.name), models=models)

    def _named(self, every: Sequence[Named], shown: Callable[[Named], Named]) -> list[Named]:
        org = self.eyes.org
        mine = {self.eyes.bare(one.name) for one in every if org and whose(one.name) == org}
        return [
            shown(one)
            for one in every
            if self.eyes.sees(one.name) and (whose(one.name) or one.name not in mine)
        ]

    def role(self, name: str) -> Role | None:
        return next((role for role in self.roles() if role.name == self.eyes.bare(name)), None)

    def put_role(self, role: Role) -> None:
        self.raw.put_role(replace(role, name=self.eyes.own(role.name)))

    def delete_role(self, name: str) -> None:
        kept = self.eyes.own(name)
        if self.raw.role(kept) is None:
            self.eyes.shared(f"role {name}")
        self.raw.delete_role(kept)

    def rules(self) -> list[Rule]:
        if not self.eyes.org:  # those with a condition on an organisation are never another's
            return self.raw.rules()
        found = []
        for rule in self.raw.rules():
            org, condition = rule_of(rule)
            if org == self.eyes.org or not _SAYS_ORG.search(rule.condition):
                model = self.models.kept(rule.model)
                found.append(replace(rule, condition=condition, model=model))
        return found

    def put_rule(self, rule: Rule) -> int:
        if not self.eyes.org:
            return self.raw.put_rule(rule)
        self._check_own(rule.id)
        condition = f"org == '{self.eyes.org}' && ({rule.condition})"
        return self.raw.put_rule(replace(rule, condition=condition))

    def delete_rule(self, rule_id: int) -> None:
        self._check_own(rule_id)
        self.raw.delete_rule(rule_id)

    def _check_own(self, rule_id: int) -> None:
        if not self.eyes.org or not rule_id:
            return
        for rule in self.raw.rules():
            if rule.id == rule_id and rule_of(rule)[0] != self.eyes.org:
                self.eyes.shared(f"rule {rule_id}")

    def chains(self) -> list[Chain]:
        return self._named(self.raw.chains(), self._chain)

    def _chain(self, chain: Chain) -> Chain:
        links = tuple(replace(link, model=self.models.kept(link.model)) for link in chain.links)
        return replace(chain, name=self.eyes.bare(chain.name), links=links)

    def chain(self, name: str) -> Chain | None:
        return next((one for one in self.chains() if one.name == self.eyes.bare(name)), None)

    def put_chain(self, chain: Chain) -> None:
        self.raw.put_chain(replace(chain, name=self.eyes.own(chain.name)))

    def rename_chain(self, name: str, new_name: str) -> None:
        kept = self.eyes.own(name)
        if self.raw.chain(kept) is None:
            self.eyes.shared(f"chain {name}")
        self.raw.rename_chain(kept, self.eyes.own(new_name))

    def delete_chain(self, name: str) -> None:
        kept = self.eyes.own(name)
        if self.raw.chain(kept) is None:
            self.eyes.shared(f"chain {name}")
        self.raw.delete_chain(kept)


class OrgBudgets(Struct, eq=False):
    """One organisation's budgets: what is ``all`` to it is the organisation to everybody. Beside
    that: of its own keys, of its own providers and of their models.

    Who pays for what everybody shares may have set the one of the organisation: from here it only
    gets tighter.
    """

    raw: Budgets
    keys: ClientKeys
    eyes: Eyes

    def _shown(self, budget: Budget) -> Budget | None:
        if (budget.scope, budget.value) == ("org", self.eyes.org):
            return replace(budget, scope="all", value="")
        if budget.scope == "key" and budget.value in {key.name for key in self.keys.all()}:
            return budget
        own = budget.scope in ("provider", "model") and whose(budget.value) == self.eyes.org
        return budget if own else None

    def _kept(self, budget: Budget) -> Budget:
        if budget.scope == "all":
            return replace(budget, scope="org", value=self.eyes.org)
        return budget

    def all(self) -> list[Budget]:
        return [shown for one in self.raw.all() if (shown := self._shown(one)) is not None]

    def get(self, budget_id: int) -> Budget | None:
        found = self.raw.get(budget_id)
        return None if found is None else self._shown(found)

    def put(self, budget: Budget) -> int:
        if self._shown(self._kept(budget)) is None:
            raise UsageError(
                "an organisation's budget is for all of it, for a key of it, or for a provider of "
                f"its own and its models, not for {budget.scope} {budget.value}"
            )
        if budget.id and self.get(budget.id) is None:
            raise UsageError(f"there is no budget {budget.id}")
        kept = self._kept(budget)
        old = self.raw.get(budget.id) if budget.id else None
        if old is not None and old.scope == "org" and not _tighter(kept, old):
            self._refuse_more(old)
        return self.raw.put(kept)

    def delete(self, budget_id: int) -> None:
        found = self.get(budget_id)
        if found is not None and found.scope == "all":
            self._refuse_more(found)
        if found is not None:
            self.raw.delete(budget_id)

    def _refuse_more(self, budget: Budget) -> NoReturn:
        raise UsageError(
            f"{self.eyes.org} may only lower what all of it may spend",
            hint=f"omni budgets raise {budget.id} and omni budgets remove {budget.id} are for "
            "whoever is of no organisation",
        )

    def of_models(self, at_ms: int) -> list[BudgetStatus]:
        return self.raw.of_models(at_ms)

    def status(self, budget: Budget, at_ms: int) -> BudgetStatus:
        found = self.raw.status(self._kept(budget), at_ms)
        return replace(found, budget=budget)

    def mark_alerted(self, budget_id: int, start_at: int, percent: float) -> bool:
        return self.raw.mark_alerted(budget_id, start_at, percent)

    def estimated_nusd(self, budget: Budget, start: int, end: int) -> int:
        return self.raw.estimated_nusd(self._kept(budget), start, end)

    def held_nusd(self, budget: Budget, start: int, end: int) -> int:
        return self.raw.held_nusd(self._kept(budget), start, end)


def _tighter(fresh: Budget, old: Budget) -> bool:
    """Whether it lets through no more than the old one, in the same periods."""
    lower = fresh.limit_nusd <= old.limit_nusd and fresh.stop_percent <= old.stop_percent
    same = replace(
        fresh,
        limit_nusd=old.limit_nusd,
        stop_percent=old.stop_percent,
        alerts_percent=old.alerts_percent,
        enabled=old.enabled,
    )
    return lower and fresh.enabled >= old.enabled and same == old


class OrgClientKeys:
    """The gateway's keys of one organisation."""

    def __init__(self, raw: ClientKeys, eyes: Eyes) -> None:
        self._raw = raw
        self._org = eyes.org

    def add(self, key: ClientKey, token: str) -> None:
        if key.org not in ("", self._org):
            raise UsageError(f"{self._org} makes keys of its own only, not of {key.org}")
        self._raw.add(replace(key, org=self._org), token)

    def all(self) -> list[ClientKey]:
        return [key for key in self._raw.all() if key.org == self._org]

    def by_digest(self) -> dict[bytes, ClientKey]:
        return {d: key for d, key in self._raw.by_digest().items() if key.org == self._org}

    def revoke(self, name: str, *, now_ms: int) -> ClientKey:
        if not any(key.name == name for key in self.all()):
            name = ""  # another's is as good as none
        return self._raw.revoke(name, now_ms=now_ms)

    def remove(self, name: str) -> None:
        if any(key.name == name for key in self.all()):
            self._raw.remove(name)

    def used(self, name: str, *, now_ms: int) -> None:
        self._raw.used(name, now_ms=now_ms)


class OrgReports:
    """Sums of one organisation's requests."""

    def __init__(self, raw: Reports, org: str) -> None:
        self._raw = raw
        self._org = org

    def _only(self, filters: Filters | None) -> dict[str, str]:
        return {**(filters or {}), "org": self._org}

    def first_day(self) -> int | None:
        return min(self._raw.daily(0, _LAST_DAY, self._only(None)), default=None)

    def anything_open(self) -> bool:
        return self._raw.anything_open()

    def totals(
        self, first: int, last: int, by: Sequence[str] = (), filters: Filters | None = None
    ) -> dict[tuple[str, ...], Totals]:
        return self._raw.totals(first, last, by, self._only(filters))

    def daily(self, first: int, last: int, filters: Filters | None = None) -> dict[int, Totals]:
        return self._raw.daily(first, last, self._only(filters))

    def daily_by(
        self, first: int, last: int, by: Sequence[str], filters: Filters | None = None
    ) -> dict[tuple[int, tuple[str, ...]], Totals]:
        return self._raw.daily_by(first, last, by, self._only(filters))

    def latencies(
        self, first: int, last: int, by: Sequence[str] = (), filters: Filters | None = None
    ) -> dict[tuple[str, ...], dict[int, int]]:
        return self._raw.latencies(first, last, by, self._only(filters))

    def hours(self, first_ms: int, last_ms: int, agent: str = "") -> list[HourUse]:  # noqa: ARG002  # the port's
        raise UsageError("use by the hour is not counted by organisation")

    def block_began(self, last_ms: int, agent: str = "") -> int | None:  # noqa: ARG002  # the port's
        raise UsageError("use by the hour is not counted by organisation")

    def hourly_by(self, first: int, last: int, by: str) -> dict[tuple[int, str], Totals]:  # noqa: ARG002  # the port's
        raise UsageError("use by the hour is not counted by organisation")

    def refused(self, label: str, since_ms: int, said: str = "") -> int:
        return self._raw.refused(label, since_ms, said)

    def baselines(self, first: int, last: int) -> list[Baseline]:  # noqa: ARG002  # the port's
        """What everybody's requests were compared with is not counted by organisation."""
        return []

    def lines(self, first: int, last: int) -> Iterator[UsageLine]:
        return (line for line in self._raw.lines(first, last) if line.keys.get("org") == self._org)


_LAST_DAY = 99_991_231


def private(health: FleetHealth, reports: Reports, zone: Callable[[], str]) -> FleetHealth:
    """A health report without what it tells of others: of shared providers the verdict alone, and
    what the organisation itself asked of them today.

    Args:
        reports: the organisation's own.
        zone: whose days those of the reports are.
    """
    from omni_cli.domain.analytics import Totals, day_key
    from omni_cli.domain.evidence import Window
    from omni_cli.domain.health import Health, SlotUse
    from omni_cli.domain.periods import local_date

    def plain(one: Health) -> Health:
        return replace(one, window=Window(), reason=one.status, uptime=None, trend="unknown")

    day = day_key(local_date(health.at_ms, zone()))
    today = reports.totals(day, day, ("provider",))
    shown = []
    for report in health.providers:
        if not whose(report.provider.slug):
            sums = today.get((report.provider.slug,), Totals())
            report = replace(
                report,
                health=plain(report.health),
                models=tuple(map(plain, report.models)),
                check=None,
                daily_requests=sums.calls,
                daily_nusd=sums.known_nusd if sums.attempts else 0,
                slots=SlotUse(None),
            )
        shown.append(report)
    return replace(health, providers=tuple(shown))

"""Changes to the fleet: checked, audited, and each one a revision."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from typing import Any, Protocol

from msgspec import Struct

from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.hosts import base_url_in, is_base_url
from omni_cli.domain.models import (
    ASK_DAYS,
    BADGES,
    CAPABILITIES,
    Chain,
    ChainLink,
    ModelInfo,
    Provider,
    Role,
    RoleModel,
    Rule,
    is_leaving,
    retirement_words,
)
from omni_cli.domain.prices import MOST_USD, UNITS, Price, Rate
from omni_cli.domain.record import asdict, replace
from omni_cli.domain.secrets import scrub
from omni_cli.domain.words import meant
from omni_cli.ports import Clock
from omni_cli.repositories import Assignments, Audit, Budgets, Models, Providers
from omni_cli.services.engine.names import Names
from omni_cli.services.fleet.describe import fleet_document
from omni_cli.services.fleet.fleet_checks import (
    Namespace,
    check_alias,
    check_chain_name,
    check_condition,
    check_hedge,
    check_link,
    check_no_secret,
    check_settings,
    check_slug,
    namesakes,
    one_of,
    split_link,
)
from omni_cli.services.money.prices import PriceBook, check_rates, published, state_of, utc_day
from omni_cli.wire.registry import protocols

STATUSES = ("active", "standby", "disabled")
#: Nine digits hold any context window for years to come, and fit the store's integers.
_MOST_TOKENS = 999_999_999
_MOST_SLOTS = 1_000_000


def uses_of(assignments: Assignments, model_id: str) -> list[str]:
    """Roles, rules and chains that name a model, as far as ``assignments`` shows them."""
    found = [
        f"role {role.name}"
        for role in assignments.roles()
        if any(item.model == model_id for item in role.models)
    ]
    found += [f"rule {r.id}" for r in assignments.rules() if r.model == model_id]
    found += [
        f"chain {chain.name}"
        for chain in assignments.chains()
        if any(link.model == model_id for link in chain.links)
    ]
    return found


class Unit(Protocol):
    """One write transaction of the store."""

    def __call__(self) -> AbstractContextManager[Any]: ...


class FleetService(Struct, kw_only=True, eq=False):
    """Args:
    who: the person named in the audit log.
    to_toml: writes a document as TOML text.
    whole: the fleet as a revision keeps it, where that is more than these parts.
    revised: told the number of each revision that is made here.
    """

    providers: Providers
    models: Models
    assignments: Assignments
    budgets: Budgets
    audit: Audit
    names: Names
    clock: Clock
    who: str
    unit: Unit
    to_toml: Callable[[dict[str, Any]], str]
    whole: Callable[[], dict[str, Any]] | None = None
    revised: Callable[[int], object] = lambda _: None
    _depth: int = 0

    @property
    def _namespace(self) -> Namespace:
        return Namespace(self.providers, self.models, self.assignments)

    @contextmanager
    def change(self, action: str, target: str, before: object, after: object) -> Iterator[None]:
        """What happens inside is one transaction with its audit entry and its revision.

        Nested changes are audited one by one and make one revision together.
        """
        with self.unit():
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            now = self.now_ms()
            if before != after:
                self.audit.record(
                    at_ms=now,
                    who=self.who,
                    action=action,
                    target=target,
                    before=before,
                    after=after,
                )
            if not self._depth:
                self.revised(
                    self.audit.add_revision(
                        at_ms=now, who=self.who, reason=f"{action} {target}", fleet=self.document()
                    )
                )

    def document(self) -> str:
        """The fleet as TOML text, the same text for the same fleet."""
        if self.whole is not None:
            return self.to_toml(self.whole())
        return self.to_toml(
            fleet_document(self.providers, self.models, self.assignments, self.budgets)
        )

    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    # --- providers ---------------------------------------------------------------------------

    def put_provider(self, provider: Provider) -> None:
        """Add or replace. Raises UsageError on a bad slug, protocol, URL or number."""
        check_slug("provider", provider.slug)
        if provider.protocol not in (known := protocols()):
            raise UsageError(
                f"unknown protocol {provider.protocol!r}", hint=f"one of {', '.join(known)}"
            )
        provider = replace(provider, base_url=base_url_in(provider.base_url))
        if not is_base_url(provider.base_url):
            raise UsageError(
                f"{scrub(provider.base_url)!r} is no base URL",
                hint="write it as https://host/path, without a key, a query or a user name",
            )
        check_no_secret(provider)
        if self.providers.get(provider.slug) is None:
            self._namespace.check("provider", provider.slug)
        slots = provider.max_concurrency
        if slots is not None and (type(slots) is not int or not 1 <= slots <= _MOST_SLOTS):
            raise UsageError(
                "max concurrency is a whole number of at least 1; without it: no limit"
            )
        old = self.providers.get(provider.slug)
        with self.change("provider.put", provider.slug, _plain(old), _plain(provider)):
            self.providers.put(provider)

    def remove_provider(self, slug: str) -> None:
        """Raises NotFound; UsageError while roles, rules or chains use its models."""
        provider = self.provider(slug)
        users = [use for m in self.models.all(provider=slug) for use in self.uses(m.id)]
        if users:
            raise UsageError(
                f"models of {slug} are in use: {', '.join(users)}",
                hint=f"take them out first, or: omni providers disable {slug}",
            )
        with self.change("provider.remove", slug, _plain(provider), None):
            for model in self.models.all(provider=slug, hidden=True):
                if not model.is_system:
                    self.models.delete(model.id)
            self.providers.delete(slug)

    def provider(self, slug: str) -> Provider:
        provider = self.providers.get(slug)
        if provider is None:
            raise NotFound(
                f"no provider {slug!r} in the fleet",
                hint=meant(slug, [one.slug for one in self.providers.all()])
                or "omni providers list shows them; omni providers add SLUG adds one",
            )
        return provider

    # --- models ------------------------------------------------------------------------------

    def put_model(self, model: ModelInfo, *, set_fields: Iterable[str]) -> None:
        """Add or change. ``set_fields`` are those that the user set: updates leave them."""
        self.provider(model.provider)
        for badge in model.badges:
            if badge not in BADGES:
                raise UsageError(f"unknown badge {badge!r}", hint=f"one of {', '.join(BADGES)}")
        for name, score in model.scores.items():
            if name not in CAPABILITIES or not 0 <= score <= 100:
                raise UsageError(
                    f"capability {name}={score:g} does not fit",
                    hint=f"one of {', '.join(CAPABILITIES)}, from 0 to 100",
                )
        for name, value in (("context", model.context_window), ("max output", model.max_output)):
            if value is not None and not 1 <= value <= _MOST_TOKENS:
                raise UsageError(f"{name} is 1 to {_MOST_TOKENS:,} tokens")
        check_settings(model.id, model.settings)
        old = self.models.get(model.id)
        for alias in model.aliases:
            if old is None or alias not in old.aliases:
                check_alias(alias)
                self._namespace.check("alias", alias, own=(model.id,))
        self._put_model(model, self.models.user_fields(model.id) | set(set_fields))

    def _put_model(self, model: ModelInfo, user_fields: Collection[str]) -> None:
        with self.change("model.put", model.id, _plain(self.models.get(model.id)), _plain(model)):
            self.models.put(model, now_ms=self.now_ms(), user_fields=set(user_fields))

    def model(self, name: str) -> ModelInfo:
        """By id or alias."""
        found = self.models.get(self.names.model(name))
        if found is None:
            raise NotFound(f"no model {name!r}")
        return found

    def set_status(self, name: str, status: str) -> ModelInfo:
        """``active``, ``standby`` or ``disabled``."""
        model = self.model(name)
        fresh = replace(model, status=one_of("status", status, STATUSES))
        self.put_model(fresh, set_fields=("status",))
        return fresh

    def leaving(self, name: str) -> str:
        """What to say before a model is put to work that its provider stops serving soon, or has
        stopped serving; "" for any other, and for those of a simulator, which serves them all."""
        model = self.model(name)
        provider = self.providers.get(model.provider)
        today = utc_day(self.now_ms())
        if model.retired_on is None or (provider is not None and provider.simulated):
            return ""
        if not is_leaving(model, today, within_days=ASK_DAYS):
            return ""
        return f"its provider {retirement_words(model.retired_on, today)}"

    def kept_status(self, model_id: str) -> tuple[str, bool]:
        """A model's status, and whether it is the user's own word: what ``put_back`` takes."""
        return self.model(model_id).status, "status" in self.models.user_fields(model_id)

    def put_back(self, model_id: str, status: str, own: bool) -> None:
        """A status as ``kept_status`` told it: the catalogue's stays out of the fleet document."""
        fields = self.models.user_fields(model_id) - {"status"}
        fresh = replace(self.model(model_id), status=one_of("status", status, STATUSES))
        self._put_model(fresh, fields | {"status"} if own else fields)

    def remove_model(self, name: str) -> ModelInfo:
        """Delete the user's own model; hide one that came with omni (A5)."""
        model = self.model(name)
        users = self.uses(model.id)
        if users:
            raise UsageError(f"{model.id} is in use: {', '.join(users)}", hint="take it out first")
        if model.is_system:
            self.put_model(
                replace(model, hidden=True, status="standby"), set_fields=("hidden", "status")
            )
        else:
            with self.change("model.remove", model.id, _plain(model), None):
                self.models.delete(model.id)
        return model

    def set_price(
        self,
        name: str,
        rates: dict[str, Decimal],
        *,
        free: bool = False,
        source: str = "user",
        sure: bool = False,
        **terms: Any,
    ) -> ModelInfo:
        """The user's own price, US dollars per 1M tokens by kind; it wins over any other.

        ``terms`` are Price's ``per_request_usd``, ``minimum_usd``, ``free_requests_per_month``, and
        what a unit costs (``UNITS``); without rates they go with the price in force, those of
        units also alone.

        Raises:
            UsageError: a number that is no price.
            Doubtful: one that looks like another unit, unless the user is ``sure``.
        """
        model = self.model(name)
        for kind, amount in rates.items():
            if amount < 0 or not amount.is_finite():
                raise UsageError(f"the {kind} price is a number of 0 or more")
        for amount in (*rates.values(), *terms.values()):
            if amount > MOST_USD:
                raise UsageError(f"a price is at most ${MOST_USD:,}; rates are per 1M tokens")
        now = self.now_ms()
        if not sure:
            check_rates(rates, published(self.models, model.id, now), model.id)
        dated = {"source": source, "source_date": utc_day(now), **terms}
        if rates or free:
            kinds: dict[str, Any] = {kind: Rate(amount) for kind, amount in rates.items()}
            price = Price(state="free" if free else "priced", **kinds, **dated)
        else:
            row = PriceBook(self.models, now_ms=now).current(model.id)
            known = None if row is None or row.price.state != "priced" else row.price
            if known is None and terms.keys() & {field for field, _ in UNITS.values()}:
                known = Price("priced")
            if known is None:
                raise UsageError(
                    f"the price of {model.id} is {state_of(row)}",
                    hint="give --price-in and --price-out as well, US dollars per 1M tokens",
                )
            price = replace(known, effective_from=None, **dated)
        shown: object = "free"
        if not free:
            shown = {kind: str(amount) for kind, amount in (rates | terms).items()}
        with self.change("model.price", model.id, None, shown):
            self.models.set_price(model.id, price, origin="user", now_ms=now)
        return model

    def reset_price(self, name: str) -> ModelInfo:
        """Back to the catalogue's price."""
        model = self.model(name)
        with self.change("model.price", model.id, "user", "catalogue"):
            self.models.drop_prices(model.id, origin="user", now_ms=self.now_ms())
        return model

    def uses(self, model_id: str) -> list[str]:
        """Roles, rules and chains that name a model, organisations' own among them."""
        return uses_of(self.assignments, model_id)

    # --- roles, rules, chains ----------------------------------------------------------------

    def assign_role(
        self, role_name: str, model_name: str, priority: int, description: str | None = None
    ) -> Role:
        """Put a model into a role; one that is there already moves to the new priority."""
        check_slug("role", role_name)
        if priority < 1:
            raise UsageError("priority is 1 (first) or more")
        model = self.model(model_name)
        old = self.assignments.role(role_name)
        if old is None:
            self._namespace.check("role", role_name)
        kept = [item for item in (old.models if old else ()) if item.model != model.id]
        fresh = Role(
            role_name,
            (old.description if old else "") if description is None else description,
            tuple(sorted([*kept, RoleModel(model.id, priority)], key=lambda i: i.priority)),
        )
        with self.change("role.assign", role_name, _plain(old), _plain(fresh)):
            self.assignments.put_role(fresh)
            if model.status == "standby":
                self.set_status(model.id, "active")
        return fresh

    def put_role(self, role: Role) -> None:
        """Replace a role's models and description as a whole."""
        check_slug("role", role.name)
        old = self.assignments.role(role.name)
        if old is None:
            self._namespace.check("role", role.name)
        with self.change("role.assign", role.name, _plain(old), _plain(role)):
            self.assignments.put_role(role)

    def unassign_role(self, role_name: str, model_name: str) -> Role:
        role = self.role(role_name)
        model_id = self.names.model(model_name)
        fresh = replace(role, models=tuple(i for i in role.models if i.model != model_id))
        if fresh == role:
            raise NotFound(f"{model_id} has no part in role {role_name}")
        with self.change("role.unassign", role_name, _plain(role), _plain(fresh)):
            self.assignments.put_role(fresh)
        return fresh

    def remove_role(self, role_name: str) -> None:
        role = self.role(role_name)
        with self.change("role.remove", role_name, _plain(role), None):
            self.assignments.delete_role(role_name)

    def role(self, name: str) -> Role:
        role = self.assignments.role(name)
        if role is None:
            names = [role.name for role in self.assignments.roles()]
            raise NotFound(
                f"no role {name!r}", hint=meant(name, names) or "omni roles list shows them"
            )
        return role

    def add_rule(self, condition: str, model_name: str, priority: int) -> Rule:
        """Raises RuleSyntaxError with the column of what does not fit."""
        check_condition(condition)
        if priority < 1:
            raise UsageError("priority is 1 (first) or more")
        model = self.model(model_name)
        rule = Rule(0, condition.strip(), model.id, priority)
        with self.change("rule.add", condition, None, _plain(rule)):
            rule = replace(rule, id=self.assignments.put_rule(rule))
            if model.status == "standby":
                self.set_status(model.id, "active")
        return rule

    def edit_rule(self, rule_id: int, **fields: Any) -> Rule:
        rule = self.rule(rule_id)
        fresh = replace(rule, **fields)
        check_condition(fresh.condition)
        with self.change("rule.edit", str(rule_id), _plain(rule), _plain(fresh)):
            self.assignments.put_rule(fresh)
        return fresh

    def remove_rule(self, rule_id: int) -> None:
        rule = self.rule(rule_id)
        with self.change("rule.remove", str(rule_id), _plain(rule), None):
            self.assignments.delete_rule(rule_id)

    def rule(self, rule_id: int) -> Rule:
        for rule in self.assignments.rules():
            if rule.id == rule_id:
                return rule
        raise NotFound(f"no rule {rule_id}", hint="omni rules list shows them")

    def put_chain(self, chain: Chain) -> None:
        """Create or replace. A chain has at least one link and no model twice."""
        check_chain_name(chain.name)
        if not chain.links:
            raise UsageError(f"chain {chain.name} needs at least one model")
        seen: set[str] = set()
        for link in chain.links:
            check_link(link)
            if link.model in seen:
                raise UsageError(f"{link.model} stands twice in chain {chain.name}")
            seen.add(link.model)
        multiple = chain.max_cost_multiple
        if multiple is not None and not 1 <= multiple < float("inf"):  # NaN is neither
            raise UsageError("the cost multiple is 1 or more", hint="--any-cost sets no limit")
        if multiple is not None and chain.any_cost:
            raise UsageError("a chain has a cost multiple or takes any cost, not both")
        check_hedge(chain.hedge_ms)
        old = self.assignments.chain(chain.name)
        if old is None:
            self._namespace.check("chain", chain.name, own=namesakes(chain.name, seen))
        with self.change("chain.put", chain.name, _plain(old), _plain(chain)):
            self.assignments.put_chain(chain)

    def rename_chain(self, name: str, new_name: str) -> None:
        check_chain_name(new_name)
        self.chain(name)
        if self.assignments.chain(new_name) is not None:
            raise UsageError(f"there is a chain {new_name!r} already")
        self._namespace.check("chain", new_name)
        with self.change("chain.rename", name, name, new_name):
            self.assignments.rename_chain(name, new_name)

    def remove_chain(self, name: str) -> None:
        chain = self.chain(name)
        with self.change("chain.remove", name, _plain(chain), None):
            self.assignments.delete_chain(name)

    def chain(self, name: str) -> Chain:
        chain = self.assignments.chain(name)
        if chain is None:
            names = [chain.name for chain in self.assignments.chains()]
            raise NotFound(
                f"no chain {name!r}", hint=meant(name, names) or "omni chains list shows them"
            )
        return chain

    def link(self, text: str) -> ChainLink:
        """``PROVIDER/MODEL[:retries=3,timeout_ms=30000]``."""
        head, settings = split_link(text)
        try:
            values = {key.strip(): int(value) for key, value in settings.items()}
        except ValueError as exc:
            raise UsageError(f"{text!r}: retries and timeout_ms are whole numbers") from exc
        unknown = values.keys() - {"retries", "timeout_ms"}
        if unknown:
            raise UsageError(
                f"{text!r}: unknown setting {sorted(unknown)[0]!r}",
                hint="write it as PROVIDER/MODEL:retries=3,timeout_ms=30000",
            )
        link = ChainLink(self.names.model(head))
        link = replace(
            link,
            max_retries=values.get("retries", link.max_retries),
            timeout_ms=values.get("timeout_ms", link.timeout_ms),
        )
        check_link(link)
        return link


def _plain(value: Any) -> Any:
    """A value as JSON values, without fields at their empty default."""
    if value is None:
        return None
    return {
        key: sorted(item) if isinstance(item, frozenset) else item
        for key, item in asdict(value).items()
        if item not in (None, "", (), {}, frozenset()) and key not in ("added_at", "updated_at")
    }

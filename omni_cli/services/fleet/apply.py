"""A whole fleet as a document: plan what would change, apply it, go back to a revision.

A document is checked whole before anything is written; applying it is one transaction, one
audit entry and one revision.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from typing import Any

from msgspec import Struct

from omni_cli.domain.budgets import Budget
from omni_cli.domain.document import document
from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.models import Chain, ModelInfo, Provider, Role, Rule, fold_alias, outputs_of
from omni_cli.domain.prices import Price
from omni_cli.domain.record import replace
from omni_cli.repositories import Assignments, Budgets, Models, Providers
from omni_cli.services.fleet.describe import fleet_document, fleet_tables
from omni_cli.services.fleet.fleet import FleetService
from omni_cli.services.fleet.fleet_checks import (
    check_alias,
    check_chain_name,
    check_condition,
    check_free,
    check_settings,
    check_slug,
    check_word,
    namesakes,
)
from omni_cli.services.money.budget_document import budget_name
from omni_cli.services.money.prices import base_rates, doubt, published

_SECTIONS = ("providers", "models", "roles", "chains", "rules", "budgets")


class Change(Struct, frozen=True):
    """One line of a plan. ``kind``: add, change or remove; ``before``/``after`` as documents."""

    kind: str
    section: str
    name: str
    before: Any = None
    after: Any = None

    def lines(self) -> list[str]:
        """For a person: the head line, then each field that differs."""
        mark = {"add": "+", "change": "~", "remove": "-"}[self.kind]
        head = f"{mark} {self.section.rstrip('s')} {self.name}"
        if self.kind != "change" or not isinstance(self.before, dict):
            return [head]
        keys = sorted({*self.before, *self.after})
        return [
            head,
            *(
                f"    {key}: {_short(self.before.get(key))} → {_short(self.after.get(key))}"
                for key in keys
                if self.before.get(key) != self.after.get(key)
            ),
        ]


def changes_document(changes: Iterable[Change]) -> dict[str, Any]:
    return {"changes": [document(change) for change in changes]}


class Parsed(Struct, frozen=True):
    """A document as values. ``touched``: the fields of each model that the document sets."""

    providers: tuple[Provider, ...]
    models: tuple[ModelInfo, ...]
    touched: Mapping[str, frozenset[str]]
    prices: Mapping[str, Price]
    roles: tuple[Role, ...]
    chains: tuple[Chain, ...]
    rules: tuple[Rule, ...]
    budgets: tuple[Budget, ...]


class FleetApplier(Struct, kw_only=True, eq=False):
    """Args:
    catalogue: a system model as the catalogue has it, or None.
    """

    fleet: FleetService
    providers: Providers
    models: Models
    assignments: Assignments
    budgets: Budgets
    catalogue: Callable[[str], ModelInfo | None]

    def current(self) -> dict[str, Any]:
        """The fleet as it is, as a document."""
        return fleet_document(self.providers, self.models, self.assignments, self.budgets)

    def plan(self, document: Mapping[str, Any]) -> list[Change]:
        """What applying ``document`` would change. Raises UsageError where it does not fit."""
        return compare(self.current(), self.whole(document))

    def whole(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """``document`` as an export would write it once it is applied: with what it leaves to
        the defaults. Raises UsageError where it does not fit."""
        return _whole(self.parse(document))

    def doubts(self, document: Mapping[str, Any]) -> list[str]:
        """Prices new in ``document`` that look like another unit. Raises UsageError."""
        now, before = self.fleet.now_ms(), self.models.user_prices()
        found = []
        for model_id, price in self.parse(document).prices.items():
            old = before.get(model_id)
            if old is None or base_rates(old.price) != base_rates(price):
                rates, known = base_rates(price), published(self.models, model_id, now)
                if odd := doubt(rates, known):
                    found.append(f"{model_id}: {odd}")
        return found

    def apply(self, document: Mapping[str, Any], *, action: str, target: str) -> list[Change]:
        """Make the fleet equal to ``document``. Raises UsageError; nothing is written then."""
        parsed = self.parse(document)
        before = self.current()
        changes = compare(before, _whole(parsed))
        if not changes:
            return []
        shown = [line for change in changes for line in change.lines()]
        with self.fleet.change(action, target, None, shown):
            self._write(parsed)
        return changes

    def _write(self, parsed: Parsed) -> None:
        now = self.fleet.now_ms()
        kept = {provider.slug for provider in parsed.providers}
        for provider in self.providers.all():
            if provider.slug not in kept:
                self.providers.delete(provider.slug)
        for provider in parsed.providers:
            old = self.providers.get(provider.slug)
            status = provider.status if old is None else old.status
            self.providers.put(replace(provider, status=status))
        wanted = {model.id for model in parsed.models}
        for model in self.models.own():
            if model.id in wanted:
                continue
            original = self.catalogue(model.id) if model.is_system else None
            if original is None and not model.is_system:
                self.models.delete(model.id)
            elif original is not None:
                self.models.put(original, now_ms=now)
        for model in parsed.models:
            self.models.put(model, now_ms=now, user_fields=parsed.touched[model.id])
        for model_id in self.models.user_prices().keys() - parsed.prices.keys():
            self.models.drop_prices(model_id, origin="user", now_ms=now)
        for model_id, price in parsed.prices.items():
            self.models.set_price(model_id, price, origin="user", now_ms=now)
        for role in self.assignments.roles():
            self.assignments.delete_role(role.name)
        for role in parsed.roles:
            self.assignments.put_role(role)
        for chain in self.assignments.chains():
            self.assignments.delete_chain(chain.name)
        for chain in parsed.chains:
            self.assignments.put_chain(chain)
        for rule in self.assignments.rules():
            self.assignments.delete_rule(rule.id)
        for rule in parsed.rules:
            self.assignments.put_rule(rule)
        wanted_budgets = {budget_name(budget) for budget in parsed.budgets}
        for budget in self.budgets.all():
            if budget_name(budget) not in wanted_budgets and not budget.passing:
                self.budgets.delete(budget.id)
        for budget in parsed.budgets:
            self.budgets.put(budget)

    def parse(self, document: Mapping[str, Any]) -> Parsed:
        """Read and check a document.

        Raises:
            UsageError: an unknown section or field, a value out of range, a model that no
                provider of the document has; the message names the place.
        """
        from omni_cli.services.fleet.fleet_file import FleetFile
        from omni_cli.written import path_of, read

        file = read(FleetFile, document, field="section")
        for slug in file.providers:
            check_slug("provider", slug)
        for name in file.roles:
            check_slug("role", name)
        for name in file.chains:
            check_chain_name(name)
        models, touched, prices = [], {}, {}
        for model_id, table in file.models.items():
            values = table.values()
            models.append(self._model(model_id, values, file.providers))
            touched[model_id] = frozenset(values)
            if table.price is not None:
                try:
                    prices[model_id] = table.price.value()
                except ValueError as exc:
                    path = path_of(("models", model_id, "price"))
                    raise UsageError(f"{path} does not fit: {exc}") from exc
        for number, rule in enumerate(file.rules):
            try:
                check_condition(rule.condition)
            except OmniError as exc:
                path = path_of(("rules", number, "condition"))
                raise UsageError(f"{path}: {exc.message}", hint=exc.hint) from exc
        known = {model.id for model in models}
        providers = tuple(table.value(slug) for slug, table in file.providers.items())
        roles = tuple(table.value(name) for name, table in file.roles.items())
        chains = tuple(table.value(name) for name, table in file.chains.items())
        rules = tuple(table.value() for table in file.rules)
        budgets = tuple(table.value(name) for name, table in file.budgets.items())
        self._check_names(providers, roles, chains, models)
        used = {item.model for role in roles for item in role.models}
        used |= {link.model for chain in chains for link in chain.links}
        used |= {rule.model for rule in rules}
        for model_id in sorted(used - known):
            if self.models.get(model_id) is None:
                raise UsageError(
                    f"{model_id} is used by a role, chain or rule and is no known model",
                    hint=f'add a [models."{model_id}"] table',
                )
        return Parsed(providers, tuple(models), touched, prices, roles, chains, rules, budgets)

    def _check_names(
        self,
        providers: Iterable[Provider],
        roles: Iterable[Role],
        chains: Iterable[Chain],
        models: Iterable[ModelInfo],
    ) -> None:
        """As services/fleet/fleet_checks.py has it, for names that are new. Raises UsageError."""
        old = {provider.slug for provider in self.providers.all()}
        named = [("provider", p.slug, f"the provider {p.slug}", p.slug in old) for p in providers]
        slugs = {name for _, name, _, _ in named}
        old = {role.name for role in self.assignments.roles()}
        named += [("role", r.name, f"the role {r.name}", r.name in old) for r in roles]
        old = {chain.name for chain in self.assignments.chains()}
        named += [("chain", c.name, f"the chain {c.name}", c.name in old) for c in chains]
        for model in models:
            known = self.models.get(model.id)
            old = set() if known is None else set(known.aliases)
            named += [("alias", alias, model.id, alias in old) for alias in model.aliases]
        members = {c.name: namesakes(c.name, (link.model for link in c.links)) for c in chains}
        taken: dict[str, str] = {}
        for kind, name, label, is_old in sorted(named, key=lambda item: not item[3]):
            if not is_old:
                (check_alias if kind == "alias" else partial(check_word, kind))(name)
                found = [m for m in self.models.find(name) if m.partition("/")[0] in slugs]
                if kind == "provider":  # what its own models are called is no other thing
                    found = [m for m in found if m.partition("/")[0] != name]
                own = members[name] if kind == "chain" else {label}
                others = [m for m in found if m not in own]
                rest = {key: what for key, what in taken.items() if what not in own}
                check_free(kind, name, {fold_alias(name): m for m in others[:1]} | rest)
            taken.setdefault(fold_alias(name), label)

    def _model(self, model_id: str, values: Mapping[str, Any], slugs: Container[str]) -> ModelInfo:
        base = self.catalogue(model_id)
        if base is None:
            provider, _, wire_name = model_id.partition("/")
            if provider not in slugs:
                raise UsageError(
                    f"model {model_id}: no provider {provider!r} in the document",
                    hint="a model's id is provider/wire-name",
                )
            outputs = outputs_of(wire_name)
            name = values.get("name", wire_name)
            base = ModelInfo(model_id, provider, wire_name, name, output_types=outputs)
        model = replace(base, **values)
        check_settings(model_id, model.settings)
        return model


def _whole(parsed: Parsed) -> dict[str, Any]:
    return fleet_tables(
        parsed.providers,
        parsed.models,
        parsed.touched,
        parsed.prices,
        parsed.roles,
        parsed.chains,
        parsed.rules,
        parsed.budgets,
    )


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The differences of two documents, section by section, sorted by name."""
    changes: list[Change] = []
    for section in _SECTIONS:
        if section == "rules":
            old = {_rule_name(rule): rule for rule in before.get("rules", ())}
            new = {_rule_name(rule): rule for rule in after.get("rules", ())}
        else:
            old, new = dict(before.get(section, {})), dict(after.get(section, {}))
        for name in sorted({*old, *new}):
            if name not in old:
                changes.append(Change("add", section, name, None, new[name]))
            elif name not in new:
                changes.append(Change("remove", section, name, old[name], None))
            elif old[name] != new[name]:
                changes.append(Change("change", section, name, old[name], new[name]))
    same_rules = not any(change.section == "rules" for change in changes)
    if same_rules and list(before.get("rules", ())) != list(after.get("rules", ())):
        changes.append(Change("change", "rules", "order"))
    return changes


def _rule_name(rule: Mapping[str, Any]) -> str:
    return f"{rule['condition']} → {rule['model']}"


def _short(value: Any) -> str:
    if isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value):
        text, most = ", ".join(map(_entry, value)) or "none", 200
    else:
        text, most = "unset" if value is None else str(value), 60
    return text if len(text) <= most else text[: most - 1] + "…"


def _entry(table: Mapping[str, Any]) -> str:
    """One model of a role or link of a chain: its name, and what is said of it."""
    said = ", ".join(f"{key} {value}" for key, value in table.items() if key != "model")
    return f"{table.get('model', '')} ({said})" if said else str(table.get("model", ""))

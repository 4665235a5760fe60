"""Who may be recommended, and what they would do for the same work."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from omni_cli.domain.analytics import Totals
from omni_cli.domain.models import Chain, ChainLink, ModelInfo, Role, RoleModel, Rule, is_leaving
from omni_cli.domain.prices import Rates
from omni_cli.domain.quality import QualityTable, plainness
from omni_cli.domain.recommend import AS_GOOD, LEAST_CONFIDENCE, Action, Candidate
from omni_cli.domain.record import replace
from omni_cli.repositories import Assignments
from omni_cli.services.engine.role_calls import Kind, cannot
from omni_cli.services.fleet.fleet import FleetService

#: A model that is not in use yet is named only where published results of its own, or the user's
#: outcomes, weigh at least this much.
_EVIDENCE = 10.0


class Candidates(Struct, frozen=True):
    """``models``: who may be named, those in use first; see ``namable``."""

    models: tuple[ModelInfo, ...]
    rates: Mapping[str, Rates | None]
    table: QualityTable

    def of(self, current: str, tasks: Mapping[str, Totals], totals: Totals) -> list[Candidate]:
        """All that could do the work of ``current`` for less, by type of task."""
        return [
            found
            for other in self.models
            if other.id != current and (found := self._one(other, current, tasks, totals))
        ]

    def substitute(self, current: str, tasks: Mapping[str, Totals]) -> str:
        """Who may stand in for ``current``: of those likely as good the cheapest, one in use
        before another; "" where there is none."""
        totals = sum(tasks.values(), Totals())
        able = [
            found
            for other in self.models
            if other.id != current
            and (found := self._one(other, current, tasks, totals, dearer=True))
            and found.as_good >= LEAST_CONFIDENCE
        ]
        best = min(able, key=lambda c: (c.standby, c.cost_nusd), default=None)
        return "" if best is None else best.model

    def with_badge(self, badge: str) -> list[str]:
        """Models on standby that have a badge, the best value first: of those close to the best
        in quality the cheapest."""
        known = [m for m in self.models if m.status != "active" and m.has(badge)]
        quality = {m.id: self.table.cell("chat", m.id).mean for m in known}
        top = max(quality.values(), default=0.0)

        def value(model: ModelInfo) -> tuple[bool, int]:
            rate = self.rates[model.id]
            return quality[model.id] < top - 0.05, 0 if rate is None else rate.cost_nusd(
                1_000, 0, 1_000
            )

        return [model.id for model in sorted(known, key=value)]

    def _one(
        self,
        other: ModelInfo,
        current: str,
        tasks: Mapping[str, Totals],
        totals: Totals,
        *,
        dearer: bool = False,
    ) -> Candidate | None:
        """``other`` in place of ``current`` for the same tokens; None where it cannot do it."""
        rate = self.rates.get(other.id)
        if rate is None:
            return None
        cost = rate.cost_nusd(totals.input_tokens, totals.cached_tokens, totals.output_tokens)
        if cost >= totals.cost_nusd and not dearer:
            return None
        if "image" in tasks and not other.has("vision"):
            return None
        if "agent_step" in tasks and not other.has("function-calling"):
            return None
        mean_input = totals.input_tokens / max(totals.calls, 1)
        if other.context_window is not None and other.context_window < 2 * mean_input:
            return None
        standby = other.status != "active"
        calls = max(sum(t.calls for t in tasks.values()), 1)
        as_good = 0.0
        basis = ""
        heaviest = 0
        for task, part in tasks.items():
            if not part.calls:
                continue
            cell = self.table.cell(task, other.id)
            if standby and cell.strength + cell.observations < _EVIDENCE:
                return None
            bar = AS_GOOD * self.table.cell(task, current).mean
            as_good += part.calls / calls * cell.chance_at_least(bar)
            if part.calls > heaviest:
                heaviest, basis = part.calls, cell.basis
        return Candidate(other.id, cost, as_good, basis, standby)


def namable(
    models: Iterable[ModelInfo],
    *,
    today: str,
    simulated: set[str],
    usable: set[str],
    here: set[str],
) -> tuple[ModelInfo, ...]:
    """Models that may be recommended, those in use first, then by the plainness of their names.

    Args:
        models: of the fleet's enabled providers.
        simulated: providers whose active models never retire.
        usable: providers that could be asked at once: their key is there.
        here: servers on this machine, which serve what was pulled, not what the catalogue lists.
    """

    def leaving(model: ModelInfo) -> bool:
        return is_leaving(model, today)

    found = [
        model
        for model in models
        if "text" in model.output_types
        and not model.hidden
        and (
            (model.status == "active" and (model.provider in simulated or not leaving(model)))
            or (
                model.status == "standby"
                and model.provider in usable
                and not leaving(model)
                and not (model.is_system and model.provider in here)
                and _documented(model)
            )
        )
    ]
    return tuple(
        sorted(
            found,
            key=lambda model: (model.status != "active", *plainness(model.wire_name), model.id),
        )
    )


def _documented(model: ModelInfo) -> bool:
    """Its abilities are known, so it is known to chat in the usual way."""
    texts = "text" in model.input_types and "streaming" in model.badges
    return texts and not model.by_batch


#: The kinds of call that a role gets.
Gets = Callable[[Role], Sequence[Kind]]
#: What has to be put back, as JSON values: ``roles`` and ``chains`` by name, ``rules`` and
#: ``added`` (a rule that came new) by number, ``status`` by model with whether it was the user's.
Undo = dict[str, Any]


class AdviceActions(Struct, eq=False):
    """Args:
    gets: the kinds of call that a role gets; its stand-in must take them.
    """

    fleet: FleetService
    assignments: Assignments
    gets: Gets

    def do(self, action: Action) -> Undo:
        """Carry an action out, within a change of the fleet; returns how to take it back."""
        undo: Undo = {"roles": {}, "rules": {}, "chains": {}, "status": {}}
        if action.model:
            self._activate(action.model, undo)
        if action.kind == "role":
            role = self.fleet.role(action.target)
            self._put_role(_reordered(role, _first(_names(role), action.model)), undo)
        elif action.kind == "rule":
            rule = self.fleet.add_rule(f"taskType == '{action.target}'", action.model, 1)
            undo["added"] = rule.id
        elif action.kind == "replace":
            self._replace(action.target, action.model, undo)
        else:
            undo["status"][action.target] = self.fleet.kept_status(action.target)
            self.fleet.set_status(action.target, "standby")
        return undo

    def take_back(self, undo: Mapping[str, Any]) -> None:
        """Put back what ``do`` changed; what was changed elsewhere since stays."""
        undo = _as_now(undo)
        for name, models in undo["roles"].items():
            role = self.fleet.role(name)
            kept = tuple(RoleModel(model, priority) for model, priority in models)
            self.fleet.put_role(replace(role, models=kept))
        for number, model in undo["rules"].items():
            self.fleet.edit_rule(int(number), model=model)
        for name, links in undo["chains"].items():
            chain = self.fleet.chain(name)
            self.fleet.put_chain(replace(chain, links=tuple(ChainLink(*link) for link in links)))
        if "added" in undo:
            self.fleet.remove_rule(undo["added"])
        for model, (status, own) in undo["status"].items():
            # A model that something else needs by now stays awake.
            if status == "active" or not self.fleet.uses(model):
                self.fleet.put_back(model, status, own)

    def kept(self, model: str, spare: str) -> list[str]:
        """Uses of ``model`` that ``spare`` cannot take over, each with the reason."""
        info = self.fleet.model(spare)
        found = [
            f"role {role.name} (it gets images)"
            for role in self.assignments.roles()
            if model in _names(role) and not self._serves(role, info)
        ]
        found += [
            f"rule {rule.id} (it is about images)"
            for rule in self.assignments.rules()
            if rule.model == model and not _fits(rule, info)
        ]
        return found

    def _replace(self, model: str, spare: str, undo: Undo) -> None:
        info = self.fleet.model(spare)
        for role in self.assignments.roles():
            if model in _names(role) and self._serves(role, info):
                self._put_role(_reordered(role, _instead(_names(role), model, spare)), undo)
        for rule in self.assignments.rules():
            if rule.model == model and _fits(rule, info):
                undo["rules"][str(rule.id)] = rule.model
                self.fleet.edit_rule(rule.id, model=spare)
        for chain in self.assignments.chains():
            links = {link.model: link for link in chain.links}
            if model in links:
                undo["chains"][chain.name] = [
                    [link.model, link.max_retries, link.timeout_ms] for link in chain.links
                ]
                self.fleet.put_chain(_relinked(chain, _instead(list(links), model, spare)))

    def _serves(self, role: Role, spare: ModelInfo) -> bool:
        return not any(cannot(kind, spare) for kind in self.gets(role))

    def _put_role(self, role: Role, undo: Undo) -> None:
        before = self.fleet.role(role.name)
        undo["roles"][role.name] = [[m.model, m.priority] for m in before.models]
        self.fleet.put_role(role)

    def _activate(self, model: str, undo: Undo) -> None:
        before = self.fleet.kept_status(model)
        if before[0] != "active":
            undo["status"][model] = before
            self.fleet.set_status(model, "active")


def _names(role: Role) -> list[str]:
    return [item.model for item in role.models]


def _first(names: Sequence[str], model: str) -> list[str]:
    return [model, *(name for name in names if name != model)]


def _instead(names: Sequence[str], model: str, spare: str) -> list[str]:
    """``spare`` where ``model`` stood, and ``model`` last: better than no answer at all."""
    rest = [name for name in names if name != spare]
    if spare in names and names.index(spare) < names.index(model):
        rest = list(names)  # it comes first already
    else:
        rest.insert(rest.index(model), spare)
    return [*(name for name in rest if name != model), model]


def _reordered(role: Role, names: Sequence[str]) -> Role:
    return replace(role, models=tuple(RoleModel(n, place) for place, n in enumerate(names, 1)))


def _relinked(chain: Chain, names: Sequence[str]) -> Chain:
    links = {link.model: link for link in chain.links}
    return replace(chain, links=tuple(links.get(name, ChainLink(name)) for name in names))


def _fits(rule: Rule, spare: ModelInfo) -> bool:
    return "image" not in rule.condition.lower() or not cannot("image", spare)


def _as_now(undo: Mapping[str, Any]) -> Undo:
    """As ``do`` writes it; earlier commits wrote one role, rule or model."""
    found: Undo = {"roles": {}, "rules": {}, "chains": {}, "status": {}}
    if "role" in undo:
        found["roles"][undo["role"]] = undo["models"]
    elif "rule" in undo:
        found["added"] = undo["rule"]
    elif "model" in undo:
        found["status"][undo["model"]] = (undo["status"], True)
    else:
        found.update(undo)
    return found

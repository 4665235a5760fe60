"""Doing what a recommendation says, and taking it back: each one revision of the fleet."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omni_cli.domain.models import Chain, ChainLink, ModelInfo, Role, RoleModel, Rule
from omni_cli.domain.recommend import Action
from omni_cli.domain.record import replace
from omni_cli.repositories import Assignments
from omni_cli.services.engine.role_calls import Kind, cannot
from omni_cli.services.fleet.fleet import FleetService

#: The kinds of call that a role gets.
Gets = Callable[[Role], Sequence[Kind]]
#: What has to be put back, as JSON values: ``roles`` and ``chains`` by name, ``rules`` and
#: ``added`` (a rule that came new) by number, ``status`` by model with whether it was the user's.
Undo = dict[str, Any]


class AdviceActions:
    """Args:
    gets: the kinds of call that a role gets; its stand-in must take them.
    """

    def __init__(self, fleet: FleetService, assignments: Assignments, gets: Gets) -> None:
        self._fleet = fleet
        self._assignments = assignments
        self._gets = gets

    def do(self, action: Action) -> Undo:
        """Carry an action out, within a change of the fleet; returns how to take it back."""
        undo: Undo = {"roles": {}, "rules": {}, "chains": {}, "status": {}}
        if action.model:
            self._activate(action.model, undo)
        if action.kind == "role":
            role = self._fleet.role(action.target)
            self._put_role(_reordered(role, _first(_names(role), action.model)), undo)
        elif action.kind == "rule":
            rule = self._fleet.add_rule(f"taskType == '{action.target}'", action.model, 1)
            undo["added"] = rule.id
        elif action.kind == "replace":
            self._replace(action.target, action.model, undo)
        else:
            undo["status"][action.target] = self._fleet.kept_status(action.target)
            self._fleet.set_status(action.target, "standby")
        return undo

    def take_back(self, undo: Mapping[str, Any]) -> None:
        """Put back what ``do`` changed; what was changed elsewhere since stays."""
        undo = _as_now(undo)
        for name, models in undo["roles"].items():
            role = self._fleet.role(name)
            kept = tuple(RoleModel(model, priority) for model, priority in models)
            self._fleet.put_role(replace(role, models=kept))
        for number, model in undo["rules"].items():
            self._fleet.edit_rule(int(number), model=model)
        for name, links in undo["chains"].items():
            chain = self._fleet.chain(name)
            self._fleet.put_chain(replace(chain, links=tuple(ChainLink(*link) for link in links)))
        if "added" in undo:
            self._fleet.remove_rule(undo["added"])
        for model, (status, own) in undo["status"].items():
            # A model that something else needs by now stays awake.
            if status == "active" or not self._fleet.uses(model):
                self._fleet.put_back(model, status, own)

    def kept(self, model: str, spare: str) -> list[str]:
        """Uses of ``model`` that ``spare`` cannot take over, each with the reason."""
        info = self._fleet.model(spare)
        found = [
            f"role {role.name} (it gets images)"
            for role in self._assignments.roles()
            if model in _names(role) and not self._serves(role, info)
        ]
        found += [
            f"rule {rule.id} (it is about images)"
            for rule in self._assignments.rules()
            if rule.model == model and not _fits(rule, info)
        ]
        return found

    def _replace(self, model: str, spare: str, undo: Undo) -> None:
        info = self._fleet.model(spare)
        for role in self._assignments.roles():
            if model in _names(role) and self._serves(role, info):
                self._put_role(_reordered(role, _instead(_names(role), model, spare)), undo)
        for rule in self._assignments.rules():
            if rule.model == model and _fits(rule, info):
                undo["rules"][str(rule.id)] = rule.model
                self._fleet.edit_rule(rule.id, model=spare)
        for chain in self._assignments.chains():
            links = {link.model: link for link in chain.links}
            if model in links:
                undo["chains"][chain.name] = [
                    [link.model, link.max_retries, link.timeout_ms] for link in chain.links
                ]
                self._fleet.put_chain(_relinked(chain, _instead(list(links), model, spare)))

    def _serves(self, role: Role, spare: ModelInfo) -> bool:
        return not any(cannot(kind, spare) for kind in self._gets(role))

    def _put_role(self, role: Role, undo: Undo) -> None:
        before = self._fleet.role(role.name)
        undo["roles"][role.name] = [[m.model, m.priority] for m in before.models]
        self._fleet.put_role(role)

    def _activate(self, model: str, undo: Undo) -> None:
        before = self._fleet.kept_status(model)
        if before[0] != "active":
            undo["status"][model] = before
            self._fleet.set_status(model, "active")


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

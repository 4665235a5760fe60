"""The management spec's configuration: who does what, who stands in, how calls are made, and what
they may cost, read and changed as one document (``/api/config``).

Everything in it is somewhere else, too: first models of roles, the chain ``default``, models'
settings, the budgets of everything. A change is one revision; ``autoFailover`` and
``failoverThreshold`` are settings of the gateway's machine.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omni_cli.bootstrap import App
from omni_cli.config import set_value
from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import Chain, ChainLink, Role, RoleModel
from omni_cli.domain.money import usd_to_nusd
from omni_cli.domain.periods import PeriodKind
from omni_cli.domain.record import replace
from omni_cli.gateway.managing import Asked
from omni_cli.services.fleet.model_changes import ModelChange, edit_model
from omni_cli.services.judge.spec_documents import dollars

if TYPE_CHECKING:
    from omni_cli.gateway.bodies import Configuration, CostControls

Document = dict[str, Any]
#: The chain that is ``fallbackChain``: callers ask it as ``chain:default``.
CHAIN = "default"
_PERIODS: Mapping[str, PeriodKind] = {"dailyBudget": "day", "monthlyBudget": "month"}


def config(app: App, _: Asked) -> Document:
    """What routing goes by, and the spec's words. Addresses of webhooks and commands are not
    told."""
    config = app.config
    weights = config.routing.weights
    return {
        **_words(app),
        "routing": {
            "priority": config.routing.priority,
            "latency_pref": config.routing.latency_pref,
            "weights": {
                "cost": weights.cost,
                "latency": weights.latency,
                "task": weights.task_match,
            },
        },
        "prices": {"allow_unknown": config.prices.allow_unknown},
        "chat": {
            "max_retries": config.chat.max_retries,
            "timeout_s": config.chat.timeout_s,
        },
        "premium_model": config.general.premium_model or None,
        "alerts": {
            "webhook": bool(config.alerts.webhook),
            "command": bool(config.alerts.command),
            "desktop": config.alerts.desktop,
            "quiet_minutes": config.alerts.quiet_minutes,
        },
    }


def _words(app: App) -> Document:
    chain = app.assignments.chain(CHAIN)
    firsts = {
        role.name: min(role.models, key=lambda at: at.priority).model
        for role in app.assignments.roles()
        if role.models
    }
    active = app.models.of_providers([p.slug for p in app.providers.all()], ("active",))
    documents = app.spec_documents
    budgets = {budget.period: budget for budget in app.budgets.all() if budget.scope == "all"}
    kept = [budgets[p] for p in ("month", "day") if p in budgets and budgets[p].enabled]
    return {
        "featureModelAssignments": firsts,
        "fallbackChain": [] if chain is None else [link.model for link in chain.links],
        "autoFailover": app.config.routing.failover,
        "failoverThreshold": app.config.routing.failover_error_rate,
        "performanceSettings": {m.id: documents.configuration(m) for m in active},
        "costControls": {
            **{
                word: dollars(budgets[period].limit_nusd)
                if period in budgets and budgets[period].enabled
                else None
                for word, period in _PERIODS.items()
            },
            "costAlertThreshold": min(kept[0].alerts_percent, default=None) if kept else None,
            "emergencyStopThreshold": kept[0].stop_percent if kept else None,
        },
    }


def put_config(app: App, asked: Asked) -> Document:
    from omni_cli.gateway.bodies import Configuration

    body = asked.body(Configuration)
    with app.fleet.change("config", "fleet", None, None):
        for role, name in body.featureModelAssignments.items():
            agreed(app, name, sure=body.sure)
            put_first(app, role, name)
        _put_chain(app, body)
        for name, settings in body.performanceSettings.items():
            if said := settings.said():
                edit_model(app.fleet, name, ModelChange(settings=said))
        _put_budgets(app, body.costControls)
    routing = {
        "routing.failover": body.autoFailover,
        "routing.failover_error_rate": body.failoverThreshold,
    }
    for key, value in routing.items():
        if value is not None:
            set_value(app.paths, key, str(value).lower())
            app.audit.record(
                at_ms=app.now_ms(), who=app.who, action="config.set", target=key, after=value
            )
    app.refresh()
    return config(app, asked)


def _put_chain(app: App, body: "Configuration") -> None:
    if body.fallbackChain is None:
        return
    old = app.assignments.chain(CHAIN)
    if not body.fallbackChain:
        if old is not None:
            app.fleet.remove_chain(CHAIN)
        return
    known = {} if old is None else {link.model: link for link in old.links}
    names = [app.names.model(name) for name in body.fallbackChain]
    links = tuple(known.get(name, ChainLink(name)) for name in names)
    app.fleet.put_chain(Chain(CHAIN, links))


def _put_budgets(app: App, said: "CostControls") -> None:
    changes: Document = {}
    if said.costAlertThreshold is not None:
        changes["alerts_percent"] = (said.costAlertThreshold,)
    if said.emergencyStopThreshold is not None:
        changes["stop_percent"] = said.emergencyStopThreshold
    admin = app.budget_admin
    kept = {b.period: b for b in admin.all() if b.scope == "all"}
    for word, period in _PERIODS.items():
        old, limit = kept.get(period), getattr(said, word)
        if word in said.model_fields_set and limit is None:
            if old is not None:
                admin.remove(old.id)
                del kept[period]
            continue
        if limit is not None or (old is not None and changes):
            nusd = usd_to_nusd(limit) if limit is not None else old.limit_nusd if old else 0
            kept[period] = admin.set("all", nusd, period, {"enabled": True, **changes})
    if changes and not kept:
        raise UsageError(
            "there is no budget of everything whose thresholds these could be",
            hint="costControls.dailyBudget or monthlyBudget makes one",
        )


def agreed(app: App, name: str, *, sure: bool) -> None:
    """Raises UsageError: the model's provider stops serving it, and the caller did not say that
    it knows."""
    said = app.fleet.leaving(name)
    asleep = app.fleet.model(name).status != "active"
    if said and asleep and not sure:
        raise UsageError(f"{name}: {said}; nothing was changed", hint='"sure": true takes it')


def put_first(app: App, name: str, model: str) -> Role:
    """The role with this model before all others, which keep their order."""
    with app.store.transaction():
        app.fleet.assign_role(name, model, 1)
        first = app.names.model(model)
        role = app.fleet.role(name)
        rest = [item for item in role.models if item.model != first]
        ordered = [first, *(item.model for item in rest)]
        models = tuple(RoleModel(item, place) for place, item in enumerate(ordered, 1))
        app.fleet.put_role(replace(role, models=models))
        return app.fleet.role(name)

"""The specs' management endpoints, under ``/api`` and ``/api/ai``: the fleet, its use, its health.

Every change goes through the same services as the command line: audited, and a revision. What is
answered is the services' document with the specs' own names beside it
(``services/judge/spec_documents.py``): under ``/api`` those of the fleet spec, under ``/api/ai``
those of the management spec.
"""

from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from omni_cli.bootstrap import App
from omni_cli.domain.document import document
from omni_cli.domain.errors import Busy, NotFound, OmniError, UsageError
from omni_cli.domain.hosts import base_url_in
from omni_cli.domain.models import ModelInfo, Provider, Role
from omni_cli.domain.money import usd, usd_string
from omni_cli.domain.record import replace
from omni_cli.domain.tasks import TASK_TYPES
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.commands import Commands
from omni_cli.gateway.configuring import agreed, config, put_config, put_first
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.live_status import LiveStatus
from omni_cli.gateway.long_jobs import LongJobs
from omni_cli.gateway.managing import Asked, Managing
from omni_cli.gateway.own_api import OwnApi, usage_query
from omni_cli.gateway.routes import Route
from omni_cli.gateway.terminals import Terminals
from omni_cli.http.request import Request
from omni_cli.services.fleet.browse import QUALITIES, SPEEDS, Filters, Listed
from omni_cli.services.fleet.connection_test import INTERVAL_S
from omni_cli.services.fleet.describe import model_document, tested_document, uses_document
from omni_cli.services.fleet.fleet import uses_of
from omni_cli.services.fleet.fleet_checks import one_of
from omni_cli.services.fleet.model_changes import TYPES, add_model, set_price, split_id
from omni_cli.services.fleet.organisation import whose
from omni_cli.services.judge.advice_document import open_saving_nusd
from omni_cli.services.judge.spec_documents import (
    SpecDocuments,
    dollars,
    provider_words,
    tested_words,
)
from omni_cli.services.money.budget_document import status_document
from omni_cli.services.money.ledger_names import CHECKED
from omni_cli.services.money.report_documents import (
    costs_document,
    savings_document,
    usage_document,
)
from omni_cli.services.money.usage import UsageQuery
from omni_cli.wire.server import Refused, object_of

if TYPE_CHECKING:
    from omni_cli.gateway.bodies import AssignedRole, ModelChange, ProviderChange

#: What tests of models may cost in a day, nano-dollars.
_TESTS_NUSD = 250_000_000
Document = dict[str, Any]


class Management:
    def __init__(
        self,
        desk: Desk,
        own: OwnApi,
        long: LongJobs,
        commands: Commands,
        live: LiveStatus,
        terminals: Terminals,
    ) -> None:
        self._terminals = terminals
        self._live = live
        self._commands = commands
        self._desk = desk
        self._own = own
        self._long = long

    def routes(self) -> list[Route]:
        """``twice``: the specs have it under ``/api/ai``, or something of its kind."""
        m = Managing(self._desk)
        self._long.routes(m)
        analytics = "/models/analytics"
        m.job(
            "GET",
            f"{analytics}/usage",
            _usage,
            "Usage analytics",
            "by",
            "period",
            "from",
            "to",
            *CHECKED,
            twice=True,
        )
        m.job("GET", f"{analytics}/costs", _costs, "Cost analytics", twice=True)
        m.job("GET", f"{analytics}/trends", _trends, "Usage by day", "period", twice=True)
        advice = "/models/recommendations"
        m.job("GET", advice, _advice, "Recommendations", "all", twice=True, whole=True)
        for verb, what in (
            ("apply", "Do what it says"),
            ("dismiss", "Show it no more"),
            ("undo", "Take it back"),
        ):
            m.job("POST", f"{advice}/{{advice}}/{verb}", _decide, what, scope="operate", whole=True)
        m.job(
            "GET",
            "/models/savings",
            _savings,
            "What routing saved, and what more it could",
            "period",
            twice=True,
        )
        for path in ("/models/route", "/route"):
            m.handler(
                "POST",
                path,
                self._route,
                "Smart model selection",
                scope="read",
                body="Routing",
                twice=path != "/route",
            )
        m.job("GET", "/models", _models, "All active models", *_CATALOGUE, twice=True)
        m.job("POST", "/models", _new_model, "Add a model", body="NewModel", status=201, twice=True)
        m.job("GET", "/models/{id+}/usage", _model_usage, "A model's usage", "period", twice=True)
        m.job(
            "PUT",
            "/models/{id+}/config",
            _put_model,
            "Change a model",
            body="ModelChange",
            twice=True,
        )
        m.job(
            "PUT",
            "/models/{id+}/roles",
            _put_roles,
            "Give a model roles",
            body="ModelRoles",
            scope="operate",
            twice=True,
        )
        m.job(
            "POST",
            "/models/{id+}/test",
            _test_model,
            "Test a model with a real call",
            scope="operate",
            twice=True,
        )
        m.job("GET", "/models/{id+}", _model, "One model", twice=True)
        m.job("PUT", "/models/{id+}", _put_model, "Change a model", body="ModelChange", twice=True)
        m.job(
            "DELETE",
            "/models/{id+}",
            _drop_model,
            "Remove a model of one's own, hide another",
            twice=True,
        )
        m.job("GET", "/config/models", _models, "All active models", *_CATALOGUE)
        m.job("GET", "/config", config, "The whole configuration in one document", twice=True)
        m.job(
            "PUT", "/config", put_config, "Change it", body="Configuration", twice=True, whole=True
        )
        m.job("GET", "/providers", _providers, "Providers", twice=True)
        m.job(
            "POST",
            "/providers",
            _new_provider,
            "Add a provider",
            body="NewProvider",
            status=201,
            twice=True,
        )
        m.job(
            "POST",
            "/providers/{slug}/test",
            _test,
            "Test a provider's connection",
            scope="operate",
            twice=True,
        )
        m.job("GET", "/providers/{slug}/models", _provider_models, "Its models", twice=True)
        m.job("GET", "/providers/{slug}", _provider, "One provider", twice=True)
        m.job(
            "PUT",
            "/providers/{slug}",
            _put_provider,
            "Change a provider",
            body="ProviderChange",
            twice=True,
        )
        m.job("DELETE", "/providers/{slug}", _drop_provider, "Remove a provider", twice=True)
        m.job("GET", "/provider-status", _status, "Health of every provider", twice=True)
        m.handler(
            "GET",
            "/provider-status/stream",
            self._live.handle,
            "The same, live: server-sent events, or a WebSocket",
            twice=True,
        )
        m.handler(
            "POST",
            "/commands",
            self._commands.handle,
            "A command of omni's on this fleet, as omni --remote sends it",
            scope="read",
            body="Command",
        )
        m.handler(
            "GET",
            "/terminal",
            self._terminals.handle,
            "The terminal interface, as omni --remote shows it: a WebSocket",
            "columns",
            "lines",
            "term",
            "colors",
            "tab",
            "theme",
            scope="admin",
            whole=True,
        )
        m.job("GET", "/roles", _roles, "Roles")
        m.job(
            "PUT",
            "/roles/{name}",
            _put_role,
            "Put a model first in a role",
            body="RoleFirst",
            scope="operate",
        )
        m.job("GET", "/rules", _rules, "Routing rules")
        m.job("GET", "/chains", _chains, "Failover chains")
        m.job("GET", "/budgets", _budgets, "Budgets, and how far along each is")
        return m.routes

    async def _route(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        """The fleet spec's ``{task, complexity, context}``, or what ``/v1/router/debug`` takes."""
        await self._own.explain(request, who, _task_asked(object_of(await request.body())))


def _task_asked(body: Document) -> Document:
    """``task``: a type of task, or the text of one. ``context``: text that comes with it, or how
    many tokens it must hold."""
    if not {"task", "context"} & body.keys():
        return body
    task, context = body.pop("task", ""), body.pop("context", "")
    if not isinstance(task, str):
        raise UsageError("task is a type of task, or the text of one")
    if isinstance(context, bool) or not isinstance(context, str | int | list | dict | None):
        raise UsageError("context is text, or a number of tokens")
    known = task.strip().lower().replace("-", "_").replace(" ", "_")
    if known in TASK_TYPES:
        body["task_type"] = known
    if isinstance(context, int):
        body["context_tokens"] = context
        context = ""
    text = "\n\n".join(str(part) for part in (context, task) if part)
    return {"messages": [{"role": "user", "content": text or "."}], **body}


# --- models ---------------------------------------------------------------------------------------


def _models(app: App, asked: Asked) -> Document:
    """Filtered and sorted in the management spec's words (ModelCatalog). ``priceRange``: US dollars
    per 1,000 input tokens, LOW,HIGH."""
    query = asked.query
    status, sort = query.get("status", "active"), query.get("sortBy", "")
    slugs = [p.slug for p in app.providers.all()]
    if "provider" in query:
        slugs = [app.fleet.provider(name).slug for name in query["provider"].split(",")]
    one_of("status", status, ("all", "active", "standby", "disabled"))
    if sort:
        one_of("sortBy", sort, tuple(_SORTS))
    wanted = query.get("capability", "")
    low, high = _price_range(query.get("priceRange", ""))
    for word, known in (("accuracy", QUALITIES), ("responseTime", SPEEDS)):
        if word in query:
            one_of(word, query[word], known)
    filters = Filters(
        type=wanted if wanted in TYPES else None,
        capabilities=[wanted] if wanted and wanted not in TYPES else [],
        max_price_in=high,
        quality=query.get("accuracy"),
        speed=query.get("responseTime"),
    )
    models = [m for m in app.models.of_providers(slugs) if status in ("all", m.status)]
    rows = app.browser.find(models, filters, _SORTS.get(sort, "name"))
    if not sort:
        rows.sort(key=lambda row: row.model.id)
    found = [row.model for row in rows if low is None or _dearer(row, low)]
    return {
        "models": _model_documents(app, found, numbers=asked.numbers),
        "filters": {name: query[name] for name in _CATALOGUE if name in query and name != "sortBy"},
        "sortBy": sort or None,
    }


#: What the catalogue can be asked for; and the spec's orders, as ``omni models list`` has them.
_CATALOGUE = (
    "provider", "status", "capability", "priceRange", "responseTime", "accuracy", "sortBy"
)  # fmt: skip
_SORTS = {
    "name": "name",
    "provider": "provider",
    "cost": "cost",
    "performance": "speed",
    "popularity": "popularity",
}


def _price_range(text: str) -> tuple[Decimal | None, Decimal | None]:
    """Per 1,000,000 tokens. Raises UsageError."""
    if not text:
        return None, None
    try:
        low, high = (Decimal(part) * 1000 for part in text.strip("[]").split(","))
    except (InvalidOperation, ValueError):
        low = high = Decimal("NaN")
    if not (low.is_finite() and high.is_finite() and 0 <= low <= high):
        raise UsageError("priceRange is LOW,HIGH in US dollars per 1,000 input tokens")
    return low, high


def _dearer(row: Listed, low: Decimal) -> bool:
    price = None if row.price is None else row.price.price
    if price is None or price.state == "unknown":
        return False
    return low == 0 or (price.input is not None and price.input.base >= low)


def _model(app: App, asked: Asked) -> Document:
    return _model_document(app, asked.at["id"], numbers=asked.numbers)


def _new_model(app: App, asked: Asked) -> Document:
    from omni_cli.gateway.bodies import NewModel

    body = asked.body(NewModel)
    slug, wire_name, alias = _whose(app, body.provider, body.model, body.id, body.name)
    known = app.models.get(f"{slug}/{wire_name}")
    if known is not None:
        agreed(app, known.id, sure=body.sure)
    change, status = body.change(), body.asked_status()
    if alias and alias not in (known.aliases if known is not None else ()):
        change = replace(change, aliases=(*change.aliases, alias))
    with app.fleet.change("model.add", f"{slug}/{wire_name}", None, None):
        made, _ = add_model(
            app.fleet, app.models, slug, wire_name, change, body.price_change(), sure=body.sure
        )
        if status is not None and status != "active":
            app.fleet.set_status(made.id, status)
        _further(app, made.id, body)
    return _model_document(app, made.id, numbers=asked.numbers)


def _whose(
    app: App, provider: str | None, model: str | None, ident: str | None, name: str | None
) -> tuple[str, str, str]:
    """A new model's provider, its name there, and a short name, "" for none.

    Raises UsageError, NotFound.
    """
    slugs = [p.slug for p in app.providers.all()]
    if provider and (model or name):
        slug = app.fleet.provider(provider).slug
        wire_name = (model or name or "").removeprefix(f"{slug}/")
        alias = "" if ident is None or "/" in ident else ident
        return (*split_id(f"{slug}/{wire_name}", slugs), alias)
    for text in (ident, model, name):
        if text and "/" in text:
            slug, wire_name = split_id(text, slugs)
            return app.fleet.provider(slug).slug, wire_name, ""
    for text in (ident, model, name):
        if text:
            known = app.fleet.model(text)  # one that omni knows by a short name
            return known.provider, known.wire_name, ""
    raise UsageError("provider and model are missing", hint='"id": "PROVIDER/MODEL" says both')


def _put_model(app: App, asked: Asked) -> Document:
    from omni_cli.gateway.bodies import ModelChange

    body = asked.body(ModelChange)
    model = app.fleet.model(asked.at["id"])
    status, price = body.asked_status(), body.price_change()
    if status == "active":
        agreed(app, model.id, sure=body.sure)
    fresh, fields = body.change().applied(model)
    if status is not None:
        fresh, fields = replace(fresh, status=status), (*fields, "status")
    with app.fleet.change("model.edit", model.id, None, None):
        if fields:
            app.fleet.put_model(fresh, set_fields=fields)
        if price.rates:
            app.fleet.set_price(model.id, dict(price.rates), sure=body.sure, **price.terms)
        elif price.terms:
            set_price(app.fleet, model.id, price, sure=body.sure)
        _further(app, model.id, body)
    return _model_document(app, model.id, numbers=asked.numbers)


def _further(app: App, model_id: str, body: "ModelChange") -> None:
    """What a body says of a model beside its own fields and its price."""
    model = app.fleet.model(model_id)
    if body.isDefault is not None and body.isDefault != model.is_default:
        app.fleet.put_model(replace(model, is_default=body.isDefault), set_fields=("is_default",))
    if body.assignedRoles is not None:
        _assign(app, model_id, body.assignedRoles)
    if body.routingRules is not None:
        wanted = [(rule.condition.strip(), rule.priority) for rule in body.routingRules]
        for rule in app.assignments.rules():
            if rule.model == model_id and (rule.condition, rule.priority) not in wanted:
                app.fleet.remove_rule(rule.id)
        have = [(r.condition, r.priority) for r in app.assignments.rules() if r.model == model_id]
        for condition, priority in wanted:
            if (condition, priority) not in have:
                app.fleet.add_rule(condition, model_id, priority)


def _assign(app: App, model_id: str, wanted: "list[AssignedRole]") -> list[Role]:
    """Exactly these roles."""
    names = {item.role for item in wanted}
    for role in app.assignments.roles():
        if role.name not in names and any(item.model == model_id for item in role.models):
            app.fleet.unassign_role(role.name, model_id)
    return [
        app.fleet.assign_role(item.role, model_id, item.priority, item.description)
        for item in wanted
    ]


def _put_roles(app: App, asked: Asked) -> Document:
    from omni_cli.gateway.bodies import ModelRoles

    body = asked.body(ModelRoles)
    name = asked.at["id"]
    model = app.fleet.model(name)
    agreed(app, name, sure=body.sure)
    with app.fleet.change("model.roles", model.id, None, None):
        found = [] if body.assignedRoles is None else _assign(app, model.id, body.assignedRoles)
        for role in body.roles:
            if isinstance(role, str):
                found.append(put_first(app, role, model.id))
            else:
                found.append(
                    app.fleet.assign_role(role.role, model.id, role.priority, role.description)
                )
    assigned = _model_document(app, model.id, numbers=False)["assignedRoles"]
    return {"roles": [document(role) for role in found], "assignedRoles": assigned}


def _drop_model(app: App, asked: Asked) -> Document:
    gone = app.fleet.remove_model(asked.at["id"])
    return {"hidden" if gone.is_system else "deleted": gone.id}


def _test_model(app: App, asked: Asked) -> Document:
    """One word is asked of it; a model that fails is told of, not an error."""
    found = app.prober(_TESTS_NUSD).probe(asked.at["id"])
    error = found.error
    return {
        "model": found.model,
        "success": error is None,
        "latencyMs": found.latency_ms,
        "cost": dollars(found.cost_nusd),
        "error": None if error is None else error.message,
        "code": None if error is None else error.code,
    }


def _model_usage(app: App, asked: Asked) -> Document:
    filters = app.ledger_names.resolve({"model": asked.at["id"]})
    query = UsageQuery(
        by="day", period=asked.query.get("period", "month"), filters={"model": asked.at["id"]}
    )
    return {"model": filters["model"], **_usage_document(app, query)}


def _model_document(app: App, name: str, *, numbers: bool) -> Document:
    model = app.models.get(app.names.model(name))
    if model is None:
        raise NotFound(f"no model is called {name!r}")
    (told,) = _model_documents(app, [model], numbers=numbers)
    return told | uses_document(uses_of(app.assignments, model.id))


def _model_documents(app: App, models: list[ModelInfo], *, numbers: bool) -> list[Document]:
    app.browser.prices.load(model.id for model in models)
    rows = [app.browser.listed(model) for model in models]
    words = app.spec_documents.models(rows, numbers=numbers)
    return [{**more, **model_document(row)} for row, more in zip(rows, words, strict=True)]


# --- analytics ------------------------------------------------------------------------------------


def _usage_document(app: App, query: UsageQuery) -> Document:
    """What ``omni usage --json`` prints, and the fleet spec's Usage Analytics."""
    report, saved = app.usage.report(query), app.savings.saved(query)
    premium = app.config.general.premium_model
    with suppress(OmniError):  # one that is in no fleet
        premium = premium and app.fleet.model(premium).name
    return {
        **usage_document(report, saved),
        **app.spec_documents.usage(query, report, saved, premium),
    }


def _usage(app: App, asked: Asked) -> Document:
    return _usage_document(app, usage_query(asked.query, asked.who))


def _trends(app: App, asked: Asked) -> Document:
    query = UsageQuery(by="day", period=asked.query.get("period", "30d"))
    return {"days": _usage_document(app, query)["days"]}


def _costs(app: App, _: Asked) -> Document:
    return costs_document(app.costs.overview())


def _savings(app: App, asked: Asked) -> Document:
    """What ``omni savings`` says; its main figures once more under this endpoint's names, and what
    the open recommendations would save."""
    report = app.savings.report(period=asked.query.get("period", "month"))
    told, total = savings_document(report), report.total
    # What an organisation could save is not worked out.
    open_nusd = None if app.org else open_saving_nusd(app.advice.refresh())
    return {
        **told,
        "compared_calls": 0 if total is None else total.calls,
        "premium_usd": None if total is None else usd_string(total.premium_nusd),
        "cost_usd": None if total is None else usd_string(total.paid_nusd),
        "savings_usd": told["saving_usd"],
        "potential_monthly_usd": usd(open_nusd),
        "potentialMonthlySavings": dollars(open_nusd),
    }


def _advice(app: App, asked: Asked) -> Document:
    found = app.telling.every(decided="all" in asked.query)
    return {"recommendations": [told.document() for told in found]}


def _decide(app: App, asked: Asked) -> Document:
    text, verb = asked.at["advice"], asked.verb
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else -1
    act = {"apply": app.advice.apply, "dismiss": app.advice.dismiss, "undo": app.advice.undo}
    app.telling.every()  # what is not found yet has no number
    return app.telling.of(act[verb](number)).document()


_DIGITS = 18

# --- providers ------------------------------------------------------------------------------------


def _provider_document(app: App, provider: Provider) -> Document:
    return _in_words(provider, app.provider_documents.of(provider))


def _in_words(provider: Provider, told: Document) -> Document:
    return {**provider_words(provider, told), **told}


def _providers(app: App, _: Asked) -> Document:
    fleet = {provider.slug: provider for provider in app.providers.all()}
    return {"providers": [_in_words(fleet[t["slug"]], t) for t in app.provider_documents.all()]}


def _provider(app: App, asked: Asked) -> Document:
    return _provider_document(app, app.fleet.provider(asked.at["slug"]))


def _new_provider(app: App, asked: Asked) -> Document:
    from omni_cli.gateway.bodies import NewProvider

    body = asked.body(NewProvider)
    slug = body.slug or body.id
    if slug is None:
        raise UsageError("slug is missing")
    there = app.providers.get(slug)
    if there is not None and (not app.org or whose(there.slug)):
        raise Refused(409, "conflict", f"{slug} is in the fleet already", hint="PUT changes it")
    return _keep_provider(
        app,
        app.provider_maker.new(
            slug,
            protocol=body.protocol or body.type,
            base_url=body.baseUrl or body.apiEndpoint,
            name=body.name,
            auth_method=body.authMethod,
            keyed=body.apiKey is not None,
        ),
        body,
    )


def _put_provider(app: App, asked: Asked) -> Document:
    from omni_cli.gateway.bodies import ProviderChange

    body = asked.body(ProviderChange)
    return _keep_provider(app, app.fleet.provider(asked.at["slug"]), body)


def _keep_provider(app: App, provider: Provider, body: "ProviderChange") -> Document:
    said = body.model_fields_set
    changes: Document = {}
    for field, names in _PROVIDER_FIELDS.items():
        for name in names:
            if name in said and (name in _NULLABLE or getattr(body, name) is not None):
                value = getattr(body, name)
                if changes.setdefault(field, value) != value:
                    raise UsageError(f"{name} contradicts {names[0]}")
    if "base_url" in changes:
        changes["base_url"] = base_url_in(changes["base_url"])
    if body.maintenance is not None:
        changes["status"] = "maintenance" if body.maintenance else "disconnected"
    fresh = replace(provider, **changes)
    app.fleet.put_provider(fresh)
    if body.apiKey and "..." not in body.apiKey:
        app.keys.keep(fresh.slug, body.apiKey)
    return _provider_document(app, app.fleet.provider(fresh.slug))


#: A provider's fields, and what the bodies call them.
_PROVIDER_FIELDS = {
    "name": ("name",),
    "enabled": ("enabled", "isActive"),
    "max_concurrency": ("max_concurrency", "maxConcurrentRequests"),
    "base_url": ("baseUrl", "apiEndpoint"),
    "auth_method": ("authMethod",),
}
_NULLABLE = ("max_concurrency", "maxConcurrentRequests")


def _drop_provider(app: App, asked: Asked) -> Document:
    provider = app.fleet.provider(asked.at["slug"])
    app.fleet.remove_provider(provider.slug)
    return {"deleted": provider.slug}


def _test(app: App, asked: Asked) -> Document:
    try:
        told = tested_document(app.tester.test(app.fleet.provider(asked.at["slug"])))
    except Busy as exc:
        # Tests are rationed: the caller's to wait for, no fault of the gateway.
        raise Refused(429, "rate_limited", exc.message, retry_after_s=INTERVAL_S) from exc
    words = tested_words(told)
    return {**told, **words} if asked.numbers else {**words, **told}


def _provider_models(app: App, asked: Asked) -> Document:
    slug = app.fleet.provider(asked.at["slug"]).slug
    models = app.models.of_providers([slug])
    return {"models": _model_documents(app, models, numbers=asked.numbers)}


def _status(app: App, _: Asked) -> Document:
    return SpecDocuments.status(app.reporter.report())


# --- roles, rules, chains, budgets ----------------------------------------------------------------


def _roles(app: App, _: Asked) -> Document:
    return {"roles": [document(role) for role in app.assignments.roles()]}


def _put_role(app: App, asked: Asked) -> Document:
    from omni_cli.gateway.bodies import RoleFirst

    body = asked.body(RoleFirst)
    agreed(app, body.model, sure=body.sure)
    return document(put_first(app, asked.at["name"], body.model))


def _rules(app: App, _: Asked) -> Document:
    return {"rules": [document(rule) for rule in app.assignments.rules()]}


def _chains(app: App, _: Asked) -> Document:
    return {"chains": [document(chain) for chain in app.assignments.chains()]}


def _budgets(app: App, _: Asked) -> Document:
    statuses = app.budget_admin.statuses(disabled=True)
    return {"budgets": [status_document(one) for one in statuses]}

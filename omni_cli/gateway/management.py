"""The specs' management endpoints, under ``/api``: the fleet, its use, its health.

Every change goes through the same services as the command line: audited, and a revision.
"""

import asyncio
from contextlib import suppress
from typing import Any

from omni_cli.bootstrap import App
from omni_cli.domain.document import document
from omni_cli.domain.errors import Busy, NotFound, UsageError
from omni_cli.domain.models import ModelInfo, Role, RoleModel
from omni_cli.domain.pricing import usd_string
from omni_cli.domain.record import replace
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.long_jobs import LongJobs
from omni_cli.gateway.own_api import OwnApi, query_of, usage_of
from omni_cli.gateway.routes import Route, managed
from omni_cli.http.request import Request, header_lines
from omni_cli.services.fleet.connection_test import INTERVAL_S
from omni_cli.services.fleet.describe import (
    model_document,
    tested_document,
    uses_document,
)
from omni_cli.services.fleet.fleet_checks import one_of
from omni_cli.services.judge.health_report import health_document
from omni_cli.services.money.budget_document import status_document
from omni_cli.services.money.ledger_names import CHECKED
from omni_cli.services.money.report_documents import costs_document, savings_document
from omni_cli.services.money.usage import UsageQuery
from omni_cli.wire.server import Refused, object_of, sse

#: What a report of usage may be asked for.
_USAGE = ("by", "period", *CHECKED)
#: How often a live stream looks for a change, and says that it is still there, seconds.
_LOOK_S = 1.0
_ALIVE_S = 15.0
#: Most live streams at once.
_MOST_STREAMS = 64


class Management:
    def __init__(self, desk: Desk, own: OwnApi, long: LongJobs) -> None:
        self._desk = desk
        self._own = own
        self._long = long
        self._streams = 0

    def routes(self) -> list[Route]:
        return [
            *self._long.routes(),
            managed(
                "GET",
                "/models/analytics/usage",
                self._usage,
                "Usage analytics",
                "by",
                "period",
                *CHECKED,
            ),
            managed("GET", "/models/analytics/costs", self._costs, "Cost analytics"),
            managed("GET", "/models/analytics/trends", self._trends, "Usage by day", "period"),
            managed("GET", "/models/recommendations", self._advice, "Recommendations", "all"),
            managed("GET", "/models/savings", self._savings, "What routing saved", "period"),
            managed("POST", "/models/route", self._own.debug, "Smart model selection"),
            managed("POST", "/route", self._own.debug, "Smart model selection"),
            managed("GET", "/models", self._models, "All active models", "provider", "status"),
            managed("GET", "/models/{id+}/usage", self._model_usage, "A model's usage", "period"),
            managed(
                "PUT", "/models/{id+}/config", self._put_model, "Change a model", body="ModelChange"
            ),
            managed(
                "PUT",
                "/models/{id+}/roles",
                self._put_roles,
                "Give a model a role",
                body="ModelRoles",
            ),
            managed("GET", "/models/{id+}", self._model, "One model"),
            managed("DELETE", "/models/{id+}", self._drop_model, "Remove a model of one's own"),
            managed("GET", "/config/models", self._models, "All active models"),
            managed("GET", "/providers", self._providers, "Providers"),
            managed("POST", "/providers/{slug}/test", self._test, "Test a provider's connection"),
            managed("GET", "/providers/{slug}/models", self._provider_models, "Its models"),
            managed("GET", "/providers/{slug}", self._provider, "One provider"),
            managed(
                "PUT",
                "/providers/{slug}",
                self._put_provider,
                "Enable or bound a provider",
                body="ProviderChange",
            ),
            managed("GET", "/provider-status", self._status, "Health of every provider"),
            managed("GET", "/provider-status/stream", self._status_stream, "The same, live (SSE)"),
            managed("GET", "/roles", self._roles, "Roles"),
            managed(
                "PUT",
                "/roles/{name}",
                self._put_role,
                "Put a model first in a role",
                body="RoleFirst",
            ),
            managed("GET", "/rules", self._rules, "Routing rules"),
            managed("GET", "/chains", self._chains, "Failover chains"),
            managed("GET", "/budgets", self._budgets, "Budgets, and how far along each is"),
        ]

    # --- models -------------------------------------------------------------------------------

    async def _models(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        asked = query_of(request)

        def job(app: App) -> list[dict[str, Any]]:
            status = asked.get("status", "active")
            slugs = [p.slug for p in app.providers.all()]
            if "provider" in asked:
                slugs = [app.fleet.provider(asked["provider"]).slug]
            one_of("status", status, ("all", "active", "standby", "disabled"))
            models = app.models.of_providers(slugs)
            return _model_documents(app, [m for m in models if status in ("all", m.status)])

        await request.json({"models": await self._desk.do(job)})

    async def _model(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        await request.json(await self._desk.do(lambda app: _model_document(app, at["id"])))

    async def _put_model(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        raw = await request.body()

        def job(app: App) -> dict[str, Any]:
            from omni_cli.gateway.bodies import ModelChange, read

            body = read(ModelChange, object_of(raw))
            if body.status is not None:
                if body.status == "active":
                    _agreed(app, at["id"], sure=body.sure)
                app.fleet.set_status(at["id"], body.status)
            rates = {} if body.price is None else dict(body.price)
            if given := {kind: rate for kind, rate in rates.items() if rate is not None}:
                app.fleet.set_price(at["id"], given, sure=body.sure)
            return _model_document(app, at["id"])

        await request.json(await self._desk.do(job))

    async def _put_roles(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        raw = await request.body()

        def job(app: App) -> list[dict[str, Any]]:
            from omni_cli.gateway.bodies import ModelRoles, read

            body = read(ModelRoles, object_of(raw))
            _agreed(app, at["id"], sure=body.sure)
            return [document(_put_first(app, role, at["id"])) for role in body.roles]

        await request.json({"roles": await self._desk.do(job)})

    async def _drop_model(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        await self._desk.do(lambda app: app.fleet.remove_model(at["id"]))
        await request.json({"deleted": at["id"]})

    async def _model_usage(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        period = query_of(request).get("period", "month")

        def job(app: App) -> dict[str, Any]:
            filters = app.ledger_names.resolve({"model": at["id"]})
            query = UsageQuery(by="day", period=period, filters={"model": at["id"]})
            return {"model": filters["model"], **usage_of(app, query)}

        await request.json(await self._desk.do(job))

    # --- analytics ----------------------------------------------------------------------------

    async def _usage(self, request: Request, who: Principal, at: dict[str, str]) -> None:
        await self._own.usage(request, who, at)

    async def _trends(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        period = query_of(request).get("period", "30d")

        query = UsageQuery(by="day", period=period)
        found = await self._desk.do(lambda app: usage_of(app, query))
        await request.json({"days": found["days"]})

    async def _costs(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        await request.json(await self._desk.do(lambda app: costs_document(app.costs.overview())))

    async def _savings(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        """What ``omni savings`` says; its main figures once more under this endpoint's names."""
        period = query_of(request).get("period", "month")
        report = await self._desk.do(lambda app: app.savings.report(period=period))
        document, total = savings_document(report), report.total
        await request.json(
            {
                **document,
                "compared_calls": 0 if total is None else total.calls,
                "premium_usd": None if total is None else usd_string(total.premium_nusd),
                "cost_usd": None if total is None else usd_string(total.paid_nusd),
                "savings_usd": document["saving_usd"],
            }
        )

    async def _advice(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        decided = "all" in query_of(request)

        def job(app: App) -> list[dict[str, Any]]:
            return [told.document() for told in app.telling.every(decided=decided)]

        await request.json({"recommendations": await self._desk.do(job)})

    # --- providers ----------------------------------------------------------------------------

    async def _providers(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        def job(app: App) -> list[dict[str, Any]]:
            return app.provider_documents.all()

        await request.json({"providers": await self._desk.do(job)})

    async def _provider(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        def job(app: App) -> dict[str, Any]:
            return app.provider_documents.of(app.fleet.provider(at["slug"]))

        await request.json(await self._desk.do(job))

    async def _put_provider(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        raw = await request.body()

        def job(app: App) -> dict[str, Any]:
            from omni_cli.gateway.bodies import ProviderChange, read

            body = read(ProviderChange, object_of(raw))
            new = app.fleet.provider(at["slug"])
            if body.enabled is not None:
                new = replace(new, enabled=body.enabled)
            if "max_concurrency" in body.model_fields_set:
                new = replace(new, max_concurrency=body.max_concurrency)
            app.fleet.put_provider(new)
            return app.provider_documents.of(new)

        await request.json(await self._desk.do(job))

    async def _test(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        def job(app: App) -> dict[str, Any]:
            return tested_document(app.tester.test(app.fleet.provider(at["slug"])))

        try:
            found = await self._desk.do(job)
        except Busy as exc:
            # Tests are rationed: the caller's to wait for, no fault of the gateway.
            raise Refused(429, "rate_limited", exc.message, retry_after_s=INTERVAL_S) from exc
        await request.json(found)

    async def _provider_models(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        def job(app: App) -> list[dict[str, Any]]:
            slug = app.fleet.provider(at["slug"]).slug
            return _model_documents(app, app.models.of_providers([slug]))

        await request.json({"models": await self._desk.do(job)})

    async def _status(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        await request.json(await self._health())

    async def _health(self) -> dict[str, Any]:
        return await self._desk.do(lambda app: health_document(app.reporter.report()))

    async def _status_stream(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        """One event now, and one at each change; comments keep the connection open."""
        if self._streams >= _MOST_STREAMS:
            raise UsageError("too many live streams are open")
        self._streams += 1
        left = asyncio.Event()
        request.on_gone = left.set
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        try:
            request.begin(header_lines(headers))
            seen, quiet_s = "", 0.0
            while not (left.is_set() or request.ending):
                document = await self._health()
                told = str([(p["id"], p["status"], p["last_error"]) for p in document["providers"]])
                event = b""
                if told != seen:
                    seen, event = told, sse(document, "status")
                elif quiet_s >= _ALIVE_S:
                    event = b": alive\n\n"
                if event:
                    quiet_s = 0.0
                    await request.piece(event)
                quiet_s += _LOOK_S
                with suppress(TimeoutError):
                    await asyncio.wait_for(left.wait(), _LOOK_S)
            request.end()
        finally:
            self._streams -= 1

    # --- roles, rules, chains, budgets --------------------------------------------------------

    async def _roles(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        roles = await self._desk.do(lambda app: [document(r) for r in app.assignments.roles()])
        await request.json({"roles": roles})

    async def _put_role(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        raw = await request.body()

        def job(app: App) -> dict[str, Any]:
            from omni_cli.gateway.bodies import RoleFirst, read

            body = read(RoleFirst, object_of(raw))
            _agreed(app, body.model, sure=body.sure)
            return document(_put_first(app, at["name"], body.model))

        await request.json(await self._desk.do(job))

    async def _rules(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        rules = await self._desk.do(lambda app: [document(r) for r in app.assignments.rules()])
        await request.json({"rules": rules})

    async def _chains(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        found = await self._desk.do(lambda app: [document(c) for c in app.assignments.chains()])
        await request.json({"chains": found})

    async def _budgets(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        def job(app: App) -> list[dict[str, Any]]:
            return [status_document(one) for one in app.budget_admin.statuses(disabled=True)]

        await request.json({"budgets": await self._desk.do(job)})


def _agreed(app: App, name: str, *, sure: bool) -> None:
    """Raises UsageError: the model's provider stops serving it, and the caller did not say that
    it knows."""
    said = app.fleet.leaving(name)
    asleep = app.fleet.model(name).status != "active"
    if said and asleep and not sure:
        raise UsageError(f"{name}: {said}; nothing was changed", hint='"sure": true takes it')


def _put_first(app: App, name: str, model: str) -> Role:
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


def _model_document(app: App, name: str) -> dict[str, Any]:
    model = app.models.get(app.names.model(name))
    if model is None:
        raise NotFound(f"no model is called {name!r}")
    return model_document(app.browser.listed(model)) | uses_document(app.fleet.uses(model.id))


def _model_documents(app: App, models: list[ModelInfo]) -> list[dict[str, Any]]:
    app.browser.prices.load(model.id for model in models)
    return [model_document(app.browser.listed(model)) for model in models]

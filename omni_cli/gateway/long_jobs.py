"""Management that takes a while: discovery, comparison, optimizing. Each beside everything else."""

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from omni_cli.bootstrap import App
from omni_cli.domain.chat import Message
from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.optimize import Setting
from omni_cli.domain.pricing import usd_to_nusd
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.own_api import query_of
from omni_cli.gateway.routes import Route, managed
from omni_cli.http.request import Request
from omni_cli.services.fleet.discovery import discovery_document
from omni_cli.services.judge import compare_documents
from omni_cli.services.judge.compare_plan import Plan, Settings, Wanted, plan_of
from omni_cli.services.judge.optimize import optimum_document
from omni_cli.services.judge.suite import Case
from omni_cli.wire.server import (
    Refused,
    object_of,
    texts,
    wrong,
)

if TYPE_CHECKING:
    from omni_cli.gateway.bodies import Comparison

#: Comparisons that run at once.
_RUNNING = 4
#: A request may not hold a thread for longer, seconds.
_DISCOVER_S = 30.0


class LongJobs:
    """Args:
    app: made into others, one for each job.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._desk = Desk(app)
        self._stop = threading.Event()
        self._comparisons: dict[int, asyncio.Task[None]] = {}

    def routes(self) -> list[Route]:
        return [
            managed("GET", "/models/discover", self._discover, "What providers serve", "provider"),
            managed(
                "POST",
                "/models/discover",
                self._take,
                "The same, and take what is recommended",
                body="Discovery",
            ),
            managed(
                "POST",
                "/models/optimize",
                self._optimize,
                "Past requests, other settings",
                body="Optimizing",
            ),
            managed(
                "POST", "/models/compare", self._compare, "Begin a comparison", body="Comparison"
            ),
            managed("GET", "/models/compare", self._comparisons_list, "Comparisons"),
            managed(
                "GET",
                "/models/compare/{comparison}",
                self._comparison,
                "How far one is, its results",
            ),
            managed("GET", "/models/analytics/compare", self._newest, "The newest comparison"),
            managed("GET", "/config", self._config, "Settings of routing, prices and alerts"),
        ]

    async def close(self) -> None:
        """Start no more calls; those under way are paid for, so they are waited for a little."""
        self._stop.set()
        if self._comparisons:
            await asyncio.wait(self._comparisons.values(), timeout=10)
        self._desk.close()

    # --- discovery ----------------------------------------------------------------------------

    async def _discover(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        await self._look(request, query_of(request).get("provider"), take=False)

    async def _take(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        raw = await request.body()
        asked = await self._desk.do(lambda _: _discovery(raw))
        await self._look(request, asked, take=True)

    async def _look(self, request: Request, provider: str | None, *, take: bool) -> None:
        def job(app: App) -> dict[str, Any]:
            only = None if provider is None else [provider]
            found = app.discovery.discover(only, limit_s=_DISCOVER_S)
            return discovery_document(found, app.discovery.apply(found) if take else None)

        await request.json(await self._desk.do(job))

    # --- optimizing ---------------------------------------------------------------------------

    async def _optimize(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        raw = await request.body()

        def job(app: App) -> dict[str, Any]:
            from omni_cli.gateway.bodies import Optimizing, read

            body = read(Optimizing, object_of(raw))
            routing = app.config.routing
            today = Setting(routing.priority, routing.weights, routing.latency_pref)
            share = (1.0 if body.lose is None else body.lose) / 100
            found = app.optimizer.run(today, days=body.days or 30, may_lose=share)
            return optimum_document(found, applied=False)

        await request.json(await self._desk.do(job))

    # --- comparison ---------------------------------------------------------------------------

    async def _compare(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        """Checked and estimated first; then it runs in the background, and this answers 202."""
        raw = await request.body()
        self._comparisons = {k: t for k, t in self._comparisons.items() if not t.done()}
        if len(self._comparisons) >= _RUNNING:
            raise Refused(429, "rate_limited", "too many comparisons are running", retry_after_s=5)

        def job(app: App) -> tuple[int, Plan, int | None, dict[str, Any]]:
            from omni_cli.gateway.bodies import Comparison, read

            body = read(Comparison, object_of(raw))
            plan = plan_of(app.names, _wanted(app, body))
            estimate = app.compare.estimate(plan)
            limit = body.max_cost
            nusd = None if limit is None else usd_to_nusd(f"{limit:.9f}")
            app.compare.check_money(estimate, nusd)
            comparison = app.compare.create(plan)
            told = compare_documents.estimate_document(plan, estimate)
            return comparison, plan, nusd, {"comparison": id_text(comparison), **told}

        comparison, plan, nusd, told = await self._desk.do(job)
        self._comparisons[comparison] = asyncio.get_running_loop().create_task(
            asyncio.to_thread(self._run, comparison, plan, nusd)
        )
        await request.json(told, 202)

    def _run(self, comparison: int, plan: Plan, limit: int | None) -> None:
        with App(self._app.env, clock=self._app.clock) as app:
            try:
                app.compare.run(
                    comparison,
                    plan,
                    max_cost_nusd=limit,
                    progress=lambda _: None,
                    stop=self._stop.is_set,
                    interrupted=self._stop.set,
                )
            except OmniError:
                return  # what was answered is kept, and the comparison says "stopped"

    async def _comparisons_list(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        def job(app: App) -> list[dict[str, Any]]:
            return [compare_documents.listed_document(row) for row in app.comparisons.recent()]

        await request.json({"comparisons": await self._desk.do(job)})

    async def _comparison(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        await self._report(request, at["comparison"])

    async def _newest(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        if not await self._desk.do(lambda app: app.comparisons.recent(limit=1)):
            await request.json({"comparison": None})
            return
        await self._report(request, "last")

    async def _report(self, request: Request, name: str) -> None:
        def job(app: App) -> dict[str, Any]:
            comparison, plan = app.compare.load(name)
            return compare_documents.document(app.compare_reports.report(comparison, plan))

        await request.json(await self._desk.do(job))

    # --- settings -----------------------------------------------------------------------------

    async def _config(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        """What routing goes by. Addresses of webhooks and commands are not told."""

        def job(app: App) -> dict[str, Any]:
            config = app.config
            weights = config.routing.weights
            return {
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

        await request.json(await self._desk.do(job))


def _discovery(raw: bytes) -> str | None:
    from omni_cli.gateway.bodies import Discovery, read

    return read(Discovery, object_of(raw)).provider or None


def _wanted(app: App, body: "Comparison") -> Wanted:
    """Raises UsageError. Files and commands of this machine cannot be named."""
    from omni_cli.gateway.bodies import MOST_ITERATIONS, MOST_MODELS, MOST_PROMPTS

    models, prompts = texts(body.models, "models"), texts(body.prompts, "prompts")
    if not prompts:
        raise wrong("'prompts' must hold what is to be asked")
    if len(models) > MOST_MODELS or len(prompts) > MOST_PROMPTS:
        raise UsageError(
            f"at most {MOST_MODELS} models, {MOST_PROMPTS} prompts, {MOST_ITERATIONS} iterations"
        )
    scoring: dict[str, object] = {"expect": list(texts(body.expect, "expect"))}
    if body.scorer:
        scoring["scorers"] = [body.scorer]
    return Wanted(
        models,
        [Case((Message.text_of("user", prompt),)) for prompt in prompts],
        scoring,
        app.paths.data,
        body.judge,
        Settings(iterations=body.iterations, max_tokens=body.max_tokens),
        body.name,
    )

"""Management that takes a while: discovery, comparison, optimizing. Each beside everything else."""

import asyncio
import base64
import threading
from typing import TYPE_CHECKING, Any

from omni_cli.bootstrap import App
from omni_cli.domain.chat import MediaPart, Message, TextPart, image_part
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import usd_to_nusd
from omni_cli.domain.optimize import Setting
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.managing import Asked, Managing
from omni_cli.http.request import Request
from omni_cli.services.fleet.discovery import discovery_document
from omni_cli.services.judge import compare_documents
from omni_cli.services.judge.compare_plan import Plan, Settings, Wanted, plan_of
from omni_cli.services.judge.compare_report import Report
from omni_cli.services.judge.optimize import optimum_document
from omni_cli.services.judge.spec_documents import comparison_words, discovery_words, setup_words
from omni_cli.services.judge.suite import Case
from omni_cli.wire.server import Refused, object_of, texts, wrong

if TYPE_CHECKING:
    from omni_cli.gateway.bodies import Comparison

Document = dict[str, Any]
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

    def routes(self, m: Managing) -> None:
        desk = self._desk
        m.job(
            "GET",
            "/models/discover",
            _discover,
            "What providers serve",
            "provider",
            scope="operate",
            desk=desk,
            whole=True,
            twice=True,
        )
        m.job(
            "POST",
            "/models/discover",
            _take,
            "The same, and take what is recommended",
            body="Discovery",
            desk=desk,
            whole=True,
            twice=True,
        )
        m.job(
            "POST",
            "/models/optimize",
            _optimize,
            "Past requests, other settings",
            body="Optimizing",
            scope="operate",
            desk=desk,
            whole=True,
            twice=True,
        )
        m.handler(
            "POST",
            "/models/compare",
            self._compare,
            "Begin a comparison",
            body="Comparison",
            scope="operate",
            status=202,
            whole=True,
            twice=True,
        )
        m.job(
            "GET", "/models/compare", _comparisons, "Comparisons", desk=desk, whole=True, twice=True
        )
        m.job(
            "GET",
            "/models/compare/{comparison}",
            _comparison,
            "How far one is, its results",
            desk=desk,
            whole=True,
            twice=True,
        )
        m.job(
            "GET",
            "/models/analytics/compare",
            _newest,
            "The newest comparison",
            desk=desk,
            whole=True,
            twice=True,
        )

    async def close(self) -> None:
        """Start no more calls; those under way are paid for, so they are waited for a little."""
        self._stop.set()
        if self._comparisons:
            await asyncio.wait(self._comparisons.values(), timeout=10)
        self._desk.close()

    # --- comparison ---------------------------------------------------------------------------

    async def _compare(self, request: Request, who: Principal, __: dict[str, str]) -> None:
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

        comparison, plan, nusd, told = await self._desk.do(job, who)
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


def _discover(app: App, asked: Asked) -> Document:
    return _look(app, asked.query.get("provider"), take=False)


def _take(app: App, asked: Asked) -> Document:
    from omni_cli.gateway.bodies import Discovery

    return _look(app, asked.body(Discovery).provider or None, take=True)


def _look(app: App, provider: str | None, *, take: bool) -> Document:
    only = None if provider is None else [provider]
    found = app.discovery.discover(only, limit_s=_DISCOVER_S)
    told = discovery_document(found, app.discovery.apply(found) if take else None)
    open_ = [one.advice for one in app.telling.every() if one.advice.status == "pending"]
    return {**told, **discovery_words(told), **setup_words(open_, app.browser.listed, app.models)}


def _optimize(app: App, asked: Asked) -> Document:
    from omni_cli.gateway.bodies import Optimizing

    body = asked.body(Optimizing)
    routing = app.config.routing
    today = Setting(routing.priority, routing.weights, routing.latency_pref)
    share = (1.0 if body.lose is None else body.lose) / 100
    try:
        found = app.optimizer.run(today, days=body.days or 30, may_lose=share)
    except NotFound as exc:  # nothing to replay is an answer
        return {"applied": False, "suggested": None, "reason": exc.message, "hint": exc.hint}
    return optimum_document(found, applied=False)


def _comparisons(app: App, _: Asked) -> Document:
    listed = [compare_documents.listed_document(row) for row in app.comparisons.recent()]
    return {"comparisons": listed}


def _comparison(app: App, asked: Asked) -> Document:
    return compare_documents.document(_report(app, asked.at["comparison"]))


def _report(app: App, name: str) -> Report:
    return app.compare_reports.report(*app.compare.load(name))


def _newest(app: App, _: Asked) -> Document:
    """The newest, and in the fleet spec's words."""
    if not app.comparisons.recent(limit=1):
        return {"comparison": None}
    report = _report(app, "last")
    told = compare_documents.document(report)
    words = {"id": told["comparison"], **comparison_words(report, told)}
    return {**told, "comparison": words}


def _wanted(app: App, body: "Comparison") -> Wanted:
    """Raises UsageError. Files and commands of this machine cannot be named."""
    from omni_cli.gateway.bodies import MOST_ITERATIONS, MOST_MODELS, MOST_PROMPTS

    data = body.testData
    models = [*texts(body.models, "models"), *body.selectedModels]
    prompts = [*texts(body.prompts, "prompts"), *data.testPrompts]
    photos = [_photo(text, number) for number, text in enumerate(data.samplePhotos, 1)]
    if not prompts and photos:
        prompts = [_ASK]
    cases = [_case(prompt, photo) for prompt in prompts for photo in photos or (None,)]
    if not cases:
        raise wrong("'prompts' must hold what is to be asked")
    if len(models) > MOST_MODELS or len(cases) > MOST_PROMPTS:
        raise UsageError(
            f"at most {MOST_MODELS} models, {MOST_PROMPTS} prompts (each with each photo), "
            f"{MOST_ITERATIONS} iterations"
        )
    scoring: dict[str, object] = {"expect": list(texts(body.expect, "expect"))}
    if body.scorer:
        scoring["scorers"] = [body.scorer]
    return Wanted(
        models,
        cases,
        scoring,
        app.paths.data,
        body.judge,
        Settings(
            iterations=max(body.iterations, data.iterations),
            max_tokens=body.max_tokens,
            aim=body.comparisonType,
        ),
        body.name,
    )


#: What is asked of photos that come without a prompt, as of a suite's folder of images.
_ASK = "What is in this image?"


def _case(prompt: str, photo: MediaPart | None) -> Case:
    if photo is None:
        return Case((Message.text_of("user", prompt),))
    return Case((Message("user", (TextPart(prompt), photo)),), name=f"{prompt} [{photo.name}]")


def _photo(text: str, number: int) -> MediaPart:
    """A data: URL, or base64 alone. Raises UsageError."""
    where = f"testData.samplePhotos[{number - 1}]"
    coded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        data = base64.b64decode(coded, validate=True)
    except ValueError:
        raise UsageError(
            f"{where} is neither a data: URL nor base64", hint="data:image/jpeg;base64,..."
        ) from None
    return image_part(data, f"photo {number}", where)

"""A fleet with a past, the same on every run: for snapshots, pilots and screenshots.

The simulator's fleet, a week of requests written through the ledger itself, one provider in
trouble, a budget and some ratings. Time stands still at ``NOW``.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from omni_cli.bootstrap import App
from omni_cli.config import set_value
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Message, Usage
from omni_cli.domain.evidence import Check
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.recommend import Action, Finding
from omni_cli.domain.record import replace
from omni_cli.domain.scoring import Scorer
from omni_cli.domain.sessions import Session, SessionRow
from omni_cli.records import ResultRow
from omni_cli.services.fleet.demo import DEMO, DemoFleet, build
from omni_cli.services.judge.compare_plan import Plan, Settings, keyed, plan_document
from omni_cli.services.judge.suite import Case
from omni_cli.services.money.prices import cost_or_none
from omni_cli.simulator import fleet as simulated
from omni_cli.store.advice import AdviceStore
from tests.beginning import begin
from tests.spec_fleet import SPECS

NOW = datetime(2026, 2, 5, 18, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
_DAY_MS = 86_400_000

_AGENTS = ("", "Dev Agent", "Research Agent", "Writer Agent")
#: Model, calls today (the fleet spec's figures, a quarter of them), tasks, mean answer in ms.
_WORK: tuple[tuple[str, int, tuple[str, ...], int], ...] = (
    ("anthropic/claude-sonnet-4-20250514", 39, ("coding", "coding", "analysis", "writing"), 8_500),
    ("deepseek/deepseek-chat", 58, ("coding", "coding", "research"), 6_200),
    ("openai/gpt-4-turbo", 11, ("research",), 7_800),
    ("anthropic/claude-opus-4-20250514", 2, ("reasoning",), 14_000),
    ("moonshot/kimi-k2.5", 22, ("chat", "writing"), 4_100),
    ("google/gemini-1.5-flash", 3, ("image",), 1_300),
    ("anthropic/claude-3-haiku-20240307", 114, ("chat",), 700),
    ("google/gemini-1.5-pro", 6, ("analysis", "image"), 5_200),
)
#: The fleet spec's own recommendations.
_ADVICE = (
    Finding(
        key="role:heartbeat",
        type="cheaper_model",
        title="Switch heartbeat checks to Haiku",
        reasoning="Heartbeat checks are simple status checks.",
        action=Action("role", "heartbeat", "anthropic/claude-3-haiku-20240307"),
        effort="5 minutes",
        sample=798,
        days=7,
        confidence=0.9,
        daily_nusd=2_400_000_000,
        recommended_daily_nusd=200_000_000,
    ),
    Finding(
        key="provider:openai",
        type="unhealthy_model",
        title="Replace GPT-4 Turbo for research: it fails too often",
        reasoning="Two of five calls fail.",
        action=Action("none"),
        effort="1 minute",
        sample=57,
        days=7,
        confidence=0.95,
        urgent=True,
    ),
)
_ROLES: Mapping[str, str] = {
    "coding": "primary_coder",
    "chat": "heartbeat",
    "reasoning": "strategy",
    "research": "research_lead",
    "image": "photo_analysis",
}


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays in the scene, and when. ``names``: of the specs' models -> who stands for them."""

    fleet: DemoFleet
    now: datetime
    names: Mapping[str, str] = field(default_factory=dict)

    def clock(self) -> float:
        return self.now.timestamp()

    def ago(self, ms: int) -> int:
        return int(self.now.timestamp() * 1000) - ms

    def named(self, model: str) -> str:
        return self.names.get(model, model)


#: The snapshots'.
SPEC_CAST = Cast(SPECS, NOW)
#: The documentation's pictures': models in service.
TODAY_CAST = Cast(
    DEMO,
    datetime(2026, 11, 20, 18, 0, tzinfo=UTC),
    {
        "anthropic/claude-sonnet-4-20250514": "anthropic/claude-sonnet-5-5",
        "deepseek/deepseek-chat": "deepseek/deepseek-v4-flash",
        "openai/gpt-4-turbo": "openai/gpt-5.5",
        "anthropic/claude-opus-4-20250514": "anthropic/claude-opus-5-5",
        "moonshot/kimi-k2.5": "moonshot/kimi-k2.6",
        "google/gemini-1.5-flash": "google/gemini-3.1-flash-lite",
        "anthropic/claude-3-haiku-20240307": "anthropic/claude-haiku-4-5",
        "google/gemini-1.5-pro": "google/gemini-3.5-flash",
        "GPT-4 Turbo": "GPT-5.5",
    },
)


def clock() -> float:
    return SPEC_CAST.clock()


def env_of(home: Path) -> dict[str, str]:
    """The environment of an omni that lives in ``home``: no key but these, no user files."""
    return {"OMNI_HOME": str(home), "USER": "tester", "TZ": "UTC", "HOME": str(home)}


def open_app(home: Path, cast: Cast = SPEC_CAST) -> App:
    return App(env_of(home), clock=cast.clock, durable=False)


def make_home(
    home: Path,
    *,
    url: str = "http://127.0.0.1:9",
    past: bool = True,
    cast: Cast = SPEC_CAST,
) -> None:
    """Fill ``home`` with the fleet; ``past``: also with a week of requests.

    Args:
        url: where the simulator listens; by default nobody does.
    """
    with open_app(home, cast) as omni:
        set_value(omni.paths, "general.premium_model", cast.fleet.premium)
        set_value(omni.paths, "general.zone", "UTC")
        build(
            omni.fleet,
            simulated=simulated.providers(url),
            what=cast.fleet,
        )
        for provider, latency_ms in (("anthropic", 312), ("deepseek", 540), ("google", 87)):
            _checked(omni, provider, Check(cast.ago(240_000), True, latency_ms, 12))
        said = "503: The server is currently overloaded"
        _checked(omni, "openai", Check(cast.ago(90_000), False, 2_140, None, "overloaded", said))
        ollama = omni.fleet.provider("ollama")
        omni.fleet.put_provider(replace(ollama, status="maintenance"))
        omni.fleet.set_status(cast.named("anthropic/claude-opus-4-20250514"), "standby")
        if past:
            _write_past(omni, cast)
            omni.budgets.put(Budget(0, "all", "", "month", 20_000_000_000))
            if cast is SPEC_CAST:
                AdviceStore(omni.store).refresh(_advice(cast), now_ms=cast.ago(0))
            else:  # pictures: what the figures beside it say
                omni.advice.refresh()
            _write_comparison(omni, cast)


#: Agents at work: session, agent, project, title, parent, model, calls, mean answer in ms.
_AT_WORK = (
    ("cc-31f0", "claude-code", "shop", "Mend the cart's rounding", "", _WORK[0][0], 5, 8_500),
    ("cc-31f0-1", "claude-code", "shop", "Look for callers", "cc-31f0", _WORK[6][0], 3, 700),
    ("cx-8a2c", "codex", "api", "Write the migration", "", _WORK[2][0], 2, 7_800),
)


def add_sessions(home: Path, cast: Cast = SPEC_CAST) -> None:
    """Agents at work in the last minutes, one of them with a cap."""
    dice = random.Random(11)
    with open_app(home, cast) as omni:
        for name, agent, project, title, parent, model, calls, ms in _AT_WORK:
            session = Session(name, agent, project, parent=parent, title=title)
            rows = []
            for _ in range(calls):
                at = cast.ago(dice.randrange(30_000, 700_000))
                rows.append(at)
                _one(omni, dice, omni.fleet.model(cast.named(model)), "coding", at, ms, session)
            omni.sessions.note([SessionRow(session, min(rows), max(rows))])
        omni.budgets.put(Budget(0, "session", "cc-31f0", "month", 500_000_000))


def add_takeovers(home: Path, cast: Cast = SPEC_CAST) -> None:
    """Requests of the last hours that a chain's last model answered, as its first one failed."""
    with open_app(home, cast) as omni:
        chain = omni.fleet.chain("Production Chain")
        failed, answered = (omni.fleet.model(chain.links[n].model) for n in (0, -1))
        for n in range(3):
            at = cast.ago((n * 2 + 1) * 3_600_000 + 420_000)
            _taken_over(omni, make_id(at, 33), failed, answered, at)


def _taken_over(omni: App, request: int, failed: ModelInfo, answered: ModelInfo, at: int) -> None:
    opened = NewRequest(
        id=request, created_at=at, source="chat", owner="scene", task="coding", difficulty=0.4
    )
    omni.ledger.open(opened, None)
    for n, model in enumerate((failed, answered), start=1):
        price = omni.browser.listed(model).price
        assert price is not None
        begin(
            omni.ledger,
            NewAttempt(
                request=request, n=n, model=model.id, provider=model.provider,
                started_at=at, input_estimate=1_500, price=price.id, reserve_nusd=0,
            ),
        )  # fmt: skip
        usage = Usage() if n == 1 else Usage(1_200, 0, 0, output_tokens=300)
        omni.ledger.end_attempt(
            request,
            n,
            AttemptEnd(
                state="failed" if n == 1 else "ok",
                ended_at=at + 900 * n,
                usage=usage,
                cost_nusd=cost_or_none(usage, price.price),
                http_status=503 if n == 1 else 200,
                error_code="overloaded" if n == 1 else None,
                error_message="503: The server is currently overloaded" if n == 1 else None,
            ),
            priced=price.price.state,
        )
    omni.ledger.end_request(
        request,
        RequestEnd(
            state="ok",
            settled_at=at + 1_800,
            model=answered.id,
            provider=answered.provider,
            latency_ms=1_800,
        ),
    )


def _checked(omni: App, slug: str, check: Check) -> None:
    started_ms = check.at_ms - (check.latency_ms or 0)
    found = [(omni.fleet.provider(slug), check)]
    omni.check_recorder.keep(found, started_ms=started_ms, asked=True)


def _advice(cast: Cast) -> list[Finding]:
    found = []
    for finding in _ADVICE:
        title = finding.title
        for old, new in cast.names.items():
            title = title.replace(old, new)
        action = finding.action
        if action.model:
            action = replace(action, model=cast.named(action.model))
        found.append(replace(finding, title=title, action=action))
    return found


def _write_past(omni: App, cast: Cast) -> None:
    dice = random.Random(7)
    models = {name: omni.fleet.model(cast.named(name)) for name, *_ in _WORK}
    with omni.store.transaction():
        for days_ago in range(6, -1, -1):
            for name, calls, tasks, mean_ms in _WORK:
                for _ in range(round(calls * (1.0 if not days_ago else dice.uniform(0.4, 1.2)))):
                    at = cast.ago(days_ago * _DAY_MS + dice.randrange(60_000, 17 * 3_600_000))
                    _one(omni, dice, models[name], dice.choice(tasks), at, mean_ms)


#: Contender, milliseconds, nano-dollars, and its answers to the questions below.
_COMPARED = (
    ("anthropic/claude-sonnet-4-20250514", 2_400, 1_420_000, ("Nine, since 3 + 6 = 9.", "Paris.")),
    ("openai/gpt-4-turbo", 3_100, 2_810_000, ("The sum of 3 and 6 is 9.", "It is Paris.")),
    ("deepseek/deepseek-chat", 1_700, 61_000, ("The sum is 9.", "The capital of France is Paris.")),
)
_QUESTIONS = (("What is 3 + 6? Answer with the sum.", "9"), ("What is France's capital?", "Paris"))


def _write_comparison(omni: App, cast: Cast) -> None:
    """A comparison of an hour ago: three models, two prompts, three answers to each."""
    cases = keyed(
        [
            Case((Message.text_of("user", asked),), (Scorer("contains", (expected,)),))
            for asked, expected in _QUESTIONS
        ]
    )
    compared = [(cast.named(name), *rest) for name, *rest in _COMPARED]
    plan = Plan(tuple(name for name, *_ in compared), cases, Settings(iterations=3), "smoke test")
    at = cast.ago(3_600_000)
    comparison = make_id(at, 77)
    omni.comparisons.create(comparison, plan_document(plan), at_ms=at)
    for name, latency, cost, answers in compared:
        for number, (key, answer) in enumerate(zip(cases, answers, strict=True)):
            for iteration in range(3):
                row = ResultRow(
                    prompt=key,
                    contender=name,
                    iteration=iteration,
                    request=make_id(at, 100 + number),
                    state="ok",
                    model=name,
                    task="chat",
                    output=answer,
                    finish_reason="stop",
                    latency_ms=latency + 130 * iteration + 40 * number,
                    ttft_ms=300,
                    cost_nusd=cost + 1_000 * iteration,
                    earlier_nusd=0,
                    error_code=None,
                    error_message=None,
                )
                omni.comparisons.put_result(comparison, row)
    omni.comparisons.set_state(comparison, "complete", at_ms=at)


def _one(
    omni: App,
    dice: random.Random,
    model: ModelInfo,
    task: str,
    at: int,
    mean_ms: int,
    session: Session | None = None,
) -> None:
    """One request: answered, or failed in one case of fifty (of three at openai)."""
    request = make_id(at, dice.getrandbits(20))
    opened = NewRequest(
        id=request,
        created_at=at,
        source="chat",
        owner="scene",
        role=_ROLES.get(task, ""),
        agent=session.agent if session else dice.choice(_AGENTS),
        session=session.id if session else "",
        project=session.project if session else "",
        task=task,
        complexity=dice.choice(("low", "medium", "high")),
        difficulty=0.4,
    )
    omni.ledger.open(opened, None)
    price = omni.browser.listed(model).price
    begin(
        omni.ledger,
        NewAttempt(
            request=request,
            n=1,
            model=model.id,
            provider=model.provider,
            started_at=at,
            input_estimate=1_500,
            price=None if price is None else price.id,
            reserve_nusd=0,
        ),
    )
    failed = dice.random() < (0.3 if model.provider == "openai" else 0.02)
    latency = round(mean_ms * dice.uniform(0.6, 1.5))
    usage = Usage() if failed else Usage(dice.randrange(400, 3_000), 0, 0)
    if not failed:
        usage = replace(usage, output_tokens=dice.randrange(100, 2_000))
    code = "overloaded" if failed else None
    message = "503: The server is currently overloaded" if failed else None
    cost = cost_or_none(usage, None if price is None else price.price)
    omni.ledger.end_attempt(
        request,
        1,
        AttemptEnd(
            state="failed" if failed else "ok",
            ended_at=at + latency,
            usage=usage,
            first_at=None if failed else at + latency // 5,
            cost_nusd=cost,
            input_cost_nusd=cost_or_none(
                replace(usage, output_tokens=0), None if price is None else price.price
            ),
            http_status=503 if failed else 200,
            error_code=code,
            error_message=message,
        ),
        priced=None if price is None else price.price.state,
    )
    premium = omni.chat.premium(usage)
    omni.ledger.end_request(
        request,
        RequestEnd(
            state="failed" if failed else "ok",
            settled_at=at + latency,
            model=model.id,
            provider=model.provider,
            premium_model=premium[0],
            premium_cost_nusd=None if failed else premium[1],
            latency_ms=latency,
            ttft_ms=latency // 5,
            finish_reason=None if failed else "stop",
            error_code=code,
            error_message=message,
        ),
    )
    if not failed and dice.random() < 0.05:
        omni.learning.add_outcome(
            request=request,
            at_ms=at + latency,
            model=model.id,
            task=task,
            kind="rating",
            value=dice.choice((0.75, 1.0, 1.0)),
        )

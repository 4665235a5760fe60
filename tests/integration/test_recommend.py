"""Recommendations over a ledger of real rows: found, applied, verified, taken back."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.chat import Message, Usage
from omni_cli.domain.discovery import Finding as Discovery
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.domain.models import Provider
from omni_cli.domain.pricing import cost_nusd
from omni_cli.domain.recommend import Finding, finding_from_json, finding_to_json
from tests.beginning import begin

DAY_MS = 86_400_000
#: No two ids alike.
_RANDOM = itertools.count()
NOON_MS = 1_781_524_800_000  # 2026-06-15 12:00 UTC
SONNET, HAIKU, GPT = (
    "anthropic/claude-sonnet-4-20250514",
    "anthropic/claude-3-haiku-20240307",
    "openai/gpt-4o",
)


class Clock:
    now = NOON_MS / 1000

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(tmp_path: Path, clock: Clock) -> Iterator[App]:
    with App({"OMNI_HOME": str(tmp_path), "USER": "t", "TZ": "UTC"}, clock=clock) as app:
        for slug in ("anthropic", "openai"):
            protocol = "anthropic" if slug == "anthropic" else "openai"
            provider = Provider(slug, slug, protocol, "http://127.0.0.1:9", simulated=True)
            app.fleet.put_provider(provider)
        for model in (SONNET, HAIKU, GPT):
            app.fleet.set_status(model, "active")
        yield app


def spend(
    app: App,
    model: str,
    *,
    role: str,
    task: str,
    day: int,
    calls: int,
    tokens: tuple[int, int],
    failed: int = 0,
) -> None:
    """``calls`` settled requests on one day, the first ``failed`` of them failed."""
    price = app.models.prices([model])[model][-1]
    usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1])
    for number in range(calls):
        at = NOON_MS + day * DAY_MS + number
        request = make_id(at, next(_RANDOM))
        ok = number >= failed
        with app.ledger.unit():
            app.ledger.open(
                NewRequest(request, at, "chat", app.ledger.owner, role=role, task=task), None
            )
            begin(
                app.ledger,
                NewAttempt(request, 1, model, model.split("/")[0], at, tokens[0], price.id, 10**9),
            )
            end = AttemptEnd(
                state="ok" if ok else "failed",
                ended_at=at + 900,
                usage=usage if ok else Usage(),
                cost_nusd=cost_nusd(usage, price.price) if ok else 0,
                error_code=None if ok else "overloaded",
            )
            app.ledger.end_attempt(request, 1, end, priced="priced" if ok else None)
            app.ledger.end_request(
                request,
                RequestEnd(
                    "ok" if ok else "failed",
                    at + 900,
                    model=model,
                    provider=model.split("/")[0],
                    latency_ms=900,
                ),
            )


def heartbeats(app: App, *days: int, model: str = SONNET, calls: int = 60) -> None:
    for day in days:
        spend(app, model, role="heartbeat", task="chat", day=day, calls=calls, tokens=(400, 80))


def test_heartbeats_on_a_dear_model_are_moved_and_verified(app: App, clock: Clock) -> None:
    app.fleet.assign_role("heartbeat", SONNET, 1)
    heartbeats(app, -3, -2, -1, 0)
    found = {a.finding.type: a for a in app.advice.refresh()}
    advice = found["repetitive_traffic"]
    finding = advice.finding
    assert (finding.current, finding.sample, finding.days) == (SONNET, 240, 4)
    # 400 in at $3 and 80 out at $15 per 1M: $0.0024 a call, 60 calls a day.
    assert finding.daily_nusd == 60 * 2_400_000
    assert finding.saving_monthly_nusd == finding.saving_daily_nusd * 30
    assert finding.saving_yearly_nusd == finding.saving_monthly_nusd * 12
    assert 0.5 <= finding.confidence <= 1

    applied = app.advice.apply(advice.id)
    assert applied.status == "applied"
    new_model = finding.recommended
    assert app.fleet.role("heartbeat").models[0].model == new_model
    assert app.advice.verify(applied) is None

    heartbeats(app, 1, 2, model=new_model)
    clock.now += 3 * DAY_MS / 1000
    verified = app.advice.verify(app.advice.get(advice.id))
    assert verified is not None
    assert verified.calls == 120
    assert verified.before_per_call_nusd == 2_400_000
    assert verified.saved_nusd == 120 * (2_400_000 - verified.after_per_call_nusd)
    assert verified.saved_nusd > 0

    undone = app.advice.undo(advice.id)
    assert undone.status == "pending"
    assert [m.model for m in app.fleet.role("heartbeat").models] == [SONNET]


def test_too_few_calls_prove_nothing(app: App) -> None:
    app.fleet.assign_role("heartbeat", SONNET, 1)
    heartbeats(app, 0, calls=19)
    assert not [a for a in app.advice.refresh() if a.finding.daily_nusd is not None]


def test_a_much_weaker_model_is_not_recommended(app: App) -> None:
    """A cheaper model that users found bad at the task is not named."""
    app.fleet.assign_role("heartbeat", SONNET, 1)
    heartbeats(app, -1, 0)
    for model in (HAIKU, GPT):
        for number in range(400):
            app.learning.add_outcome(
                request=None,
                at_ms=NOON_MS + number,
                model=model,
                task="chat",
                kind="thumb",
                value=0.0,
            )
    assert not [a for a in app.advice.refresh() if a.finding.recommended in (HAIKU, GPT)]


def test_a_failing_model_is_urgent(app: App) -> None:
    app.fleet.assign_role("coder", SONNET, 1)
    app.fleet.assign_role("coder", GPT, 2)
    spend(app, SONNET, role="coder", task="coding", day=0, calls=40, tokens=(10, 10), failed=20)
    first = app.advice.refresh()[0]
    assert first.finding.type == "unhealthy_model"
    assert first.finding.priority == "high"
    assert first.finding.recommended == GPT
    app.advice.apply(first.id)
    assert [m.model for m in app.fleet.role("coder").models] == [GPT, SONNET]


def test_what_was_dismissed_stays_away(app: App) -> None:
    app.fleet.assign_role("heartbeat", SONNET, 1)
    heartbeats(app, -1, 0)
    first = app.advice.refresh()[0]
    app.advice.dismiss(first.id)
    assert first.id not in [a.id for a in app.advice.refresh() if a.status == "pending"]
    app.advice.undo(first.id)
    assert first.id in [a.id for a in app.advice.refresh() if a.status == "pending"]


def test_advice_that_needs_a_person_is_not_applied(app: App) -> None:
    app.fleet.put_model(
        app.fleet.model(GPT).__class__(
            "openai/lab", "openai", "lab", "Lab", retired_on="2026-07-01", status="active"
        ),
        set_fields=("name",),
    )
    app.fleet.put_provider(Provider("openai", "openai", "openai", "http://127.0.0.1:9"))
    app.fleet.assign_role("coder", "openai/lab", 1)
    (retiring,) = [a for a in app.advice.refresh() if a.finding.type == "retiring_model"]
    with pytest.raises(UsageError):
        app.advice.apply(retiring.id)


def test_findings_survive_the_store(app: App) -> None:
    app.fleet.assign_role("heartbeat", SONNET, 1)
    heartbeats(app, 0)
    for advice in app.advice.refresh():
        text = json.dumps(finding_to_json(advice.finding))
        assert finding_from_json(json.loads(text)) == advice.finding


def _types(app: App) -> dict[str, Finding]:
    return {a.finding.type: a.finding for a in app.advice.refresh()}


def test_bulk_work_is_sent_in_batches(app: App) -> None:
    for day in (-1, 0):
        spend(app, SONNET, role="", task="extraction", day=day, calls=60, tokens=(4_000, 500))
        spend(app, SONNET, role="", task="chat", day=day, calls=60, tokens=(4_000, 500))
    found = [a.finding for a in app.advice.refresh() if a.finding.type == "batching"]
    (finding,) = found
    assert finding.scope == {"task": "extraction"}
    # 4,000 in at $3 and 500 out at $15 per 1M: $0.0195 a call, 60 calls a day; half of it.
    assert finding.daily_nusd == 60 * 19_500_000
    assert finding.recommended_daily_nusd == 30 * 19_500_000
    assert "is not known" in finding.reasoning
    with pytest.raises(UsageError, match="needs your decision"):
        app.advice.apply(next(a.id for a in app.advice.refresh() if a.finding == finding))


def test_few_calls_or_people_waiting_are_not_batched(app: App) -> None:
    spend(app, SONNET, role="", task="extraction", day=0, calls=40, tokens=(4_000, 500))
    for task, calls in (("extraction", 50), ("chat", 30)):
        spend(app, SONNET, role="", task=task, day=0, calls=calls, tokens=(4_000, 500))
        app.fleet.assign_role("mixed", SONNET, 1)
        spend(app, SONNET, role="mixed", task=task, day=0, calls=calls, tokens=(4_000, 500))
    assert [f.scope for f in _batches(app)] == [{"task": "extraction"}]


def _batches(app: App) -> list[Finding]:
    return [a.finding for a in app.advice.refresh() if a.finding.type == "batching"]


def test_questions_that_come_again_are_remembered(app: App) -> None:
    app.fleet.assign_role("faq", SONNET, 1)
    spend(app, SONNET, role="faq", task="chat", day=0, calls=40, tokens=(2_000, 400))
    for number, row in enumerate(sorted(app.ledger.recent(limit=100), key=lambda r: r.id)):
        app.conversations.create(row.id, at_ms=row.created_at, title="")
        app.conversations.append(
            row.id,
            [Message.text_of("user", f"question {number % 30}"), Message.text_of("assistant", "a")],
            request=row.id,
            at_ms=row.created_at,
        )
    finding = _types(app)["response_caching"]
    assert (finding.sample, finding.scope) == (40, {"role": "faq"})
    # Ten of forty came again, at $0.012 each.
    assert finding.daily_nusd == 10 * 12_000_000
    assert "omni roles cache faq" in finding.action.command
    app.answers.set_ttl("faq", 3600)
    assert "response_caching" not in _types(app)


def test_a_new_model_is_proposed_for_a_shadow_at_its_cost(app: App, clock: Clock) -> None:
    app.fleet.assign_role("coder", SONNET, 1)
    for day in (-2, -1):
        spend(app, SONNET, role="coder", task="coding", day=day, calls=40, tokens=(2_000, 500))
    assert "new_model" not in _types(app)
    found = Discovery("new", HAIKU.partition("/")[2], known=True)
    app.discoveries.keep("anthropic", {}, [found], at_ms=app.now_ms() - DAY_MS)
    advice = _types(app)["new_model"]
    assert f"omni shadow start coder --challenger {HAIKU} --share " in advice.action.command
    # 106 pairs of 2,000 tokens in and 500 out at $0.25 and $1.25: nobody judges here.
    assert "about $0.12 over some" in advice.reasoning
    assert "compared by checks alone" in advice.reasoning
    assert advice.saving_monthly_nusd is None  # not known to be good enough, so nothing is promised
    clock.now += 15 * DAY_MS / 1000
    assert "new_model" not in _types(app)

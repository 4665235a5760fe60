"""What a comparison will ask: its settings, its cases by hash, and how both are stored."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, field

from omni_cli.domain.chat import ChatRequest, message_document, message_from
from omni_cli.domain.errors import UsageError
from omni_cli.domain.record import asdict, replace
from omni_cli.domain.scoring import Scorer
from omni_cli.services.engine.names import Names
from omni_cli.services.judge.suite import Case, scorers_of

#: Digits of a prompt's hash: enough for millions of prompts without two alike.
_HASH = 16


#: The management spec's.
ComparisonType = Literal["performance", "cost", "accuracy", "comprehensive"]


class Settings(Struct, frozen=True):
    """``retries`` after the first try of each call; ``concurrency`` of each provider.

    ``judge`` is a model's id, "" for none. ``max_tokens`` bounds every answer, and so its cost.
    """

    iterations: int = 1
    max_tokens: int = 1024
    temperature: float | None = None
    timeout_s: float = 60.0
    retries: int = 1
    concurrency: int = 4
    judge: str = ""
    #: By what a recommendation goes: all in all, or one criterion.
    aim: ComparisonType = "comprehensive"


class Plan(Struct, frozen=True):
    """``contenders`` as names.select takes them; ``cases`` by hash of what is asked."""

    contenders: tuple[str, ...]
    cases: Mapping[str, Case]
    settings: Settings
    name: str = ""
    #: Task types by hash, as routing sees them; filled when the calls are planned.
    tasks: dict[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        return bool(self.settings.judge)

    def request(self, prompt: str) -> ChatRequest:
        settings = self.settings
        return ChatRequest(
            self.cases[prompt].messages,
            max_output_tokens=settings.max_tokens,
            temperature=settings.temperature,
        )


def keyed(cases: Sequence[Case]) -> dict[str, Case]:
    """By hash of the messages; the same question with other expectations is asked again."""
    found: dict[str, Case] = {}
    for case in cases:
        text = json.dumps([message_document(message) for message in case.messages], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:_HASH]
        same = sum(other.partition(".")[0] == key for other in found)
        found[f"{key}.{same}" if same else key] = case
    return found


def plan_document(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "contenders": list(plan.contenders),
        "settings": asdict(plan.settings),
        "cases": [
            {
                "hash": key,
                "name": case.name,
                "messages": [message_document(message) for message in case.messages],
                "scorers": [asdict(scorer) for scorer in case.scorers],
            }
            for key, case in plan.cases.items()
        ],
    }


def plan_from(document: Mapping[str, Any]) -> Plan:
    return Plan(
        tuple(document["contenders"]),
        {
            case["hash"]: Case(
                tuple(message_from(values) for values in case["messages"]),
                tuple(
                    Scorer(s["kind"], tuple(s["expect"]), s["settings"], s["negate"])
                    for s in case["scorers"]
                ),
                case["name"],
            )
            for case in document["cases"]
        },
        Settings(**document["settings"]),
        document["name"],
    )


class Wanted(Struct, frozen=True):
    """``scoring``: of cases that bring no scorers of their own, as a suite's case writes them
    (``expect``, ``scorers``, ``schema`` ...); paths in it are below ``folder``. ``judge``: a
    model's name, "" for none."""

    models: Sequence[str]
    cases: Sequence[Case]
    scoring: Mapping[str, object]
    folder: Path
    judge: str = ""
    settings: Settings = field(default_factory=Settings)
    name: str = ""


def plan_of(names: Names, wanted: Wanted) -> Plan:
    """Raises:
    UsageError: nobody or nothing is named, or a scorer lacks what it needs.
    NotFound: a model or role that there is not.
    """
    if not wanted.models:
        raise UsageError("who is to be compared?", hint="name two models or roles")
    scorers = scorers_of(wanted.scoring, wanted.folder, "the scoring")
    cases = [
        case if case.scorers or not scorers else replace(case, scorers=scorers)
        for case in wanted.cases
    ]
    contenders = [contender(names, name) for name in wanted.models]
    judge = names.model(wanted.judge) if wanted.judge else ""
    if not judge and any(s.kind == "judge" for case in cases for s in case.scorers):
        raise UsageError("some cases need a judge", hint="name a model that is to judge")
    return Plan(
        tuple(dict.fromkeys(contenders)),
        keyed(cases),
        replace(wanted.settings, judge=judge),
        wanted.name,
    )


def contender(names: Names, text: str) -> str:
    """A model's id, or ``role:NAME``. Raises NotFound, UsageError."""
    selector = names.select(text)
    if selector.kind in ("auto", "chain"):
        raise UsageError(f"{text!r} is no model and no role", hint="name a model or a role")
    return selector.name if selector.kind == "model" else f"role:{selector.name}"

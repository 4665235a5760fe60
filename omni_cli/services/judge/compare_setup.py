"""From what a person says to the plan of a comparison: who, what, and by which scorers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from omni_cli.domain.errors import UsageError
from omni_cli.domain.record import replace
from omni_cli.services.engine.names import Names
from omni_cli.services.judge.compare_plan import Plan, Settings, keyed
from omni_cli.services.judge.suite import Case, scorers_of


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

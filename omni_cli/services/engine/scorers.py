"""All scorers but the judge, as one function of a case and its answer."""

from collections.abc import Sequence

from omni_cli.domain.chat import Completion
from omni_cli.domain.scoring import KINDS, Score, Scorer, score
from omni_cli.plugins import Plugin, plugins
from omni_cli.services.engine.checks import command, is_json

#: JSON that parses and does not fit its schema is half the way.
_PARSES = 0.5


def score_answer(
    scorers: Sequence[Scorer], answer: str, judged: float | None = None
) -> Score | None:
    """The mean of a case's scorers; None where there are none, or only a judge that is silent.

    Args:
        judged: the judge's score of this answer, None where it gave none.

    Raises:
        UsageError: a scorer lacks what it needs.
    """
    found: list[Score] = []
    failed: list[str] = []
    for scorer in scorers:
        if scorer.kind == "judge":
            if judged is not None:
                found.append(Score(judged, f"judged {judged:.2f}"))
        elif scorer.kind in KINDS:
            found.append(_score(scorer, answer))
        else:
            said = _added(plugins("omni.scorers")[scorer.kind], scorer, answer)
            if isinstance(said, str):
                failed.append(said)
            else:
                found.append(said)
    if not found:
        return None
    why = "; ".join([*(one.why for one in found if one.why), *failed])
    return Score(sum(one.value for one in found) / len(found), why)


def _added(plugin: Plugin, scorer: Scorer, answer: str) -> Score | str:
    """What another package's scorer says; where it fails, why: the answer is paid, and others
    may still judge it."""
    function = plugin.load()
    try:
        said = function(answer, scorer.expect)
        found = said if isinstance(said, Score) else Score(float(said))
    except Exception as exc:  # noqa: BLE001  # whatever a stranger's function raises
        return f"{plugin.package} failed: {type(exc).__name__}: {exc}"
    if not 0.0 <= found.value <= 1.0:
        return f"{plugin.package} says {found.value}, which is not 0 to 1"
    return Score(1.0 - found.value, found.why) if scorer.negate else found


def _score(scorer: Scorer, answer: str) -> Score:
    if scorer.kind == "command":
        said = command(scorer.settings["command"])(Completion(text=answer))
    elif scorer.kind == "json-schema":
        parses = is_json(None)(Completion(text=answer))
        said = parses or is_json(scorer.settings["schema"])(Completion(text=answer))
        if said and not parses and not scorer.negate:
            return Score(_PARSES, said)
    else:
        return score(scorer, answer)
    good = not said
    return Score(float(good != scorer.negate), said if not scorer.negate else "")

"""All scorers but the judge, as one function of a case and its answer."""

from collections.abc import Sequence

from omni_cli.domain.chat import Completion
from omni_cli.domain.scoring import Score, Scorer, score
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
    found = []
    for scorer in scorers:
        if scorer.kind == "judge":
            if judged is not None:
                found.append(Score(judged, f"judged {judged:.2f}"))
        else:
            found.append(_score(scorer, answer))
    if not found:
        return None
    why = "; ".join(one.why for one in found if one.why)
    return Score(sum(one.value for one in found) / len(found), why)


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

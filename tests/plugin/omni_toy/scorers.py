"""A scorer is a function of an answer and what was expected of it: 0 to 1, or a ``Score``."""

from omni_cli.domain.scoring import Score


def polite(answer: str, expect: tuple[str, ...]) -> Score:
    return Score(1.0) if "please" in answer.lower() else Score(0.0, "not a please in it")

"""Numbers in sentences contradict neither themselves nor each other."""

import re

from hypothesis import given
from hypothesis import strategies as st

from omni_cli.domain.routing import Candidate, Decision
from omni_cli.domain.tasks import TaskEstimate
from omni_cli.domain.words import apart, counted

shares = st.floats(0.0, 1.0)


def test_one_is_one() -> None:
    assert counted(1, "day") == "1 day"
    assert counted(0, "day") == "0 days"
    assert counted(1_204, "call") == "1,204 calls"
    assert counted(2, "answer is missing", "answers are missing") == "2 answers are missing"


def test_shares_that_differ_read_differently() -> None:
    assert apart(0.312, 0.3149) == ("31.2%", "31.5%")
    assert apart(0.5, 0.7) == ("50%", "70%")


@given(shares, shares, st.floats(0.0, 0.3))
def test_why_a_model_is_not_adequate_never_contradicts_itself(
    quality: float, bar: float, spread: float
) -> None:
    """Whoever misses the bar by its mean is shown below it, by caution alone not."""
    candidate = Candidate("p/m", True, quality=quality, spread=spread)
    task = TaskEstimate("chat", {"chat": 1.0}, "low", 0.1)
    said = Decision("p/m", "", "score", task, (candidate,), bar=bar).reason_of(candidate)
    own, *_, least = (float(found) for found in re.findall(r"([\d.]+)%", said))
    if quality >= bar:
        assert "too uncertain" in said
    elif bar - quality >= 1e-5:
        assert own < least, said

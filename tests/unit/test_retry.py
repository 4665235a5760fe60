"""Waits between retries (B6)."""

import pytest

from omni_cli.domain.breaker import BASE_S, CAP_S, MAX_RETRY_AFTER_S, delay_s


class Always:
    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 20)])
def test_the_ceiling_doubles_up_to_the_cap(attempt: int, ceiling: float) -> None:
    assert delay_s(attempt, rng=Always(1.0)) == ceiling
    assert delay_s(attempt, rng=Always(0.0)) == 0.0


def test_retry_after_is_the_least_wait() -> None:
    assert delay_s(1, retry_after_s=7, rng=Always(0.0)) == 7
    assert delay_s(1, retry_after_s=7, rng=Always(1.0)) == 7 + BASE_S
    # "Retry at once" still backs off.
    assert delay_s(6, retry_after_s=0, rng=Always(1.0)) == 16


@pytest.mark.parametrize("asked", [MAX_RETRY_AFTER_S + 0.1, 3600, float("inf"), float("nan")])
def test_too_long_a_wait_means_the_next_model(asked: float) -> None:
    assert delay_s(1, retry_after_s=asked, rng=Always(0.5)) is None


def test_a_wait_at_the_limit_is_taken() -> None:
    assert delay_s(9, retry_after_s=MAX_RETRY_AFTER_S, rng=Always(0.0)) == MAX_RETRY_AFTER_S
    assert delay_s(10_000, rng=Always(1.0)) == CAP_S


def test_a_wait_that_its_user_set_is_that_long() -> None:
    assert [delay_s(n, fixed_s=1.5, rng=Always(0.3)) for n in (1, 2, 9)] == [1.5, 1.5, 1.5]
    assert delay_s(1, fixed_s=0.0, rng=Always(1.0)) == 0.0
    # A provider that asks for longer gets longer.
    assert delay_s(1, fixed_s=1.5, retry_after_s=7, rng=Always(0.0)) == 7

"""How long to wait before trying the same model again."""

from typing import Protocol

#: Ceiling of the first wait; it doubles with each retry.
BASE_S = 0.5
#: No computed wait is longer.
CAP_S = 20.0
#: A provider that asks for a longer wait than this is given up on: others can answer sooner.
MAX_RETRY_AFTER_S = 30.0


class Random(Protocol):
    """``random.Random`` or a stand-in: numbers in [0, 1)."""

    def random(self) -> float: ...


def delay_s(
    attempt: int,
    *,
    retry_after_s: float | None = None,
    rng: Random,
    base_s: float = BASE_S,
    cap_s: float = CAP_S,
    max_retry_after_s: float = MAX_RETRY_AFTER_S,
) -> float | None:
    """Seconds to wait before retry number ``attempt``; None: do not wait, go to the next model.

    Exponential backoff with full jitter: uniform between 0 and ``base_s * 2**(attempt - 1)``,
    or ``cap_s`` if that is less (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015: full jitter does the least work of the variants).

    Args:
        attempt: 1 before the first retry.
        retry_after_s: what the provider asked for, or None. The wait is never shorter; up to
            ``base_s`` is added, so that waiting processes do not all return at once.
    """
    ceiling = min(cap_s, base_s * 2.0 ** min(attempt - 1, 64))
    backoff = ceiling * rng.random()
    if retry_after_s is None:
        return backoff
    # Written so that a NaN, too, gives up.
    if not retry_after_s <= max_retry_after_s:
        return None
    return max(backoff, retry_after_s + min(base_s, ceiling) * rng.random())

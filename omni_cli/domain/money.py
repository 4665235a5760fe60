"""Nano-dollars to what people and JSON read, and back. Integers inside, never a float.

Decimal and typing are loaded by what needs them: a status line does not (statusline.py).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decimal import Decimal

NUSD_PER_USD = 1_000_000_000
#: Digits after the point of a nano-dollar, and more than any amount has.
_NANO, _DIGITS = 9, 100
_CENTS = 2
#: A price below a cent keeps this many digits that say something.
_SIGNIFICANT = 2


def figure(value: object) -> Decimal | None:
    """A number, or text that is one ("$0.05", too), exactly; None for anything else, and for what
    is not finite."""
    from decimal import Decimal

    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value).removeprefix("$"))
    except (ArithmeticError, ValueError):  # a ValueError: more digits than text may have
        return None
    return number if number.is_finite() else None


def usd_to_nusd(amount: Decimal | str) -> int:
    """Nano-dollars of a dollar amount, rounded half to even.

    Raises ValueError for text that is no number, for NaN and infinity; TypeError for a float.
    """
    from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

    if not isinstance(amount, (Decimal, str)):
        raise TypeError(f"money is Decimal or text, not {type(amount).__name__}")
    try:
        value = Decimal(amount)
    except InvalidOperation:
        raise ValueError(f"not an amount of money: {amount!r}") from None
    if not value.is_finite():
        raise ValueError(f"not an amount of money: {amount!r}")
    exact = Context(prec=_DIGITS)
    return int(exact.scaleb(value, _NANO).to_integral_value(ROUND_HALF_EVEN, context=exact))


def nusd_to_usd(nusd: int) -> Decimal:
    """US dollars, exact."""
    from decimal import Context, Decimal

    return Context(prec=_DIGITS).scaleb(Decimal(nusd), -_NANO)


def known_nusd(cost_nusd: int, unknown: int, of: int) -> int | None:
    """What is known of a cost to which ``unknown`` of so many calls add nothing, for their price
    is not known; None where that is all of them."""
    return None if unknown and unknown == of and not cost_nusd else cost_nusd


def usd_string(nusd: int) -> str:
    """US dollars as exact decimal text for JSON: no exponent, no needless zeros ("0.000123")."""
    sign = "-" if nusd < 0 else ""
    whole, rest = divmod(abs(nusd), NUSD_PER_USD)
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else f"{sign}{whole}"


def usd(nusd: int | None) -> str | None:
    """``usd_string``, and null in JSON where an amount is not known."""
    return None if nusd is None else usd_string(nusd)


def format_usd(nusd: int | None) -> str:
    """US dollars for a person: "$12.47", "$0.00012", "-$1.20", "unknown" for None.

    From one dollar on, cents; below, two significant digits, so that an amount that is not zero
    never reads as $0.00. Halves round up, as on an invoice.
    """
    if nusd is None:
        return "unknown"
    amount = abs(nusd)
    digits = _CENTS
    if 0 < amount < NUSD_PER_USD:  # after the zeros that follow the point
        digits = max(_CENTS, _NANO - len(str(amount)) + _SIGNIFICANT)
    step = 10 ** max(_NANO - digits, 0)
    rounded = (2 * amount + step) // (2 * step) * step  # an integer, half up
    whole, rest = divmod(rounded, NUSD_PER_USD)
    fraction = f"{rest:09d}".rstrip("0").ljust(_CENTS, "0")
    return f"{'-' if nusd < 0 else ''}${whole:,}.{fraction}"


def format_sum(known_nusd: int, unknown: int) -> str:
    """A sum of which so many parts are of unknown cost: "unknown", "$1.20 + unknown"."""
    if not unknown:
        return format_usd(known_nusd)
    return f"{format_usd(known_nusd)} + unknown" if known_nusd else "unknown"


def shown_usd(amount: str | None) -> str:
    """``format_usd`` of an amount as JSON has it."""
    return format_usd(None if amount is None else usd_to_nusd(amount))


def dollars(amount: Decimal) -> str:
    """A rate as written down, with two decimals at least: "$0.50", "$0.028"."""
    whole, _, cents = f"{amount:f}".partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"

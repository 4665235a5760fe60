"""Nano-dollars to what people and JSON read, and back. Integers inside, never a float."""

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import overload

NUSD_PER_USD = 1_000_000_000
_EXACT = Context(prec=100)
_CENTS = 2
#: A price below a cent keeps this many digits that say something.
_SIGNIFICANT = 2


def usd_to_nusd(amount: Decimal | str) -> int:
    """Nano-dollars of a dollar amount, rounded half to even.

    Raises ValueError for text that is no number, for NaN and infinity; TypeError for a float.
    """
    if not isinstance(amount, (Decimal, str)):
        raise TypeError(f"money is Decimal or text, not {type(amount).__name__}")
    try:
        value = Decimal(amount)
    except InvalidOperation:
        raise ValueError(f"not an amount of money: {amount!r}") from None
    if not value.is_finite():
        raise ValueError(f"not an amount of money: {amount!r}")
    return int(_EXACT.scaleb(value, 9).to_integral_value(ROUND_HALF_EVEN, context=_EXACT))


def nusd_to_usd(nusd: int) -> Decimal:
    """US dollars, exact."""
    return _EXACT.scaleb(Decimal(nusd), -9)


def usd_string(nusd: int) -> str:
    """US dollars as exact decimal text for JSON: no exponent, no needless zeros ("0.000123")."""
    sign = "-" if nusd < 0 else ""
    whole, rest = divmod(abs(nusd), NUSD_PER_USD)
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else f"{sign}{whole}"


@overload
def usd(nusd: int) -> str: ...
@overload
def usd(nusd: int | None) -> str | None: ...
def usd(nusd: int | None) -> str | None:
    """``usd_string``, and null in JSON where an amount is not known."""
    return None if nusd is None else usd_string(nusd)


def format_usd(nusd: int | None) -> str:
    """US dollars for a person: "$12.47", "$0.00012", "-$1.20", "unknown" for None.

    From one cent on, cents; below, two significant digits, so that an amount that is not zero
    never reads as $0.00. Halves round up, as on an invoice.
    """
    if nusd is None:
        return "unknown"
    usd = nusd_to_usd(abs(nusd))
    digits = _CENTS if usd >= 1 or not usd else max(_CENTS, _SIGNIFICANT - 1 - usd.adjusted())
    shown = usd.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, context=_EXACT)
    whole, _, fraction = f"{shown:,f}".partition(".")
    fraction = fraction.rstrip("0").ljust(_CENTS, "0")
    return f"{'-' if nusd < 0 else ''}${whole}.{fraction}"


def shown_usd(amount: str | None) -> str:
    """``format_usd`` of an amount as JSON has it."""
    return format_usd(None if amount is None else usd_to_nusd(amount))


def dollars(amount: Decimal) -> str:
    """A rate as written down, with two decimals at least: "$0.50", "$0.028"."""
    whole, _, cents = f"{amount:f}".partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"

"""Numbers in sentences: "1 call", "1,204 calls"; two shares that differ never read alike; what a
wrong name may have meant."""

from collections.abc import Iterable


def counted(number: int, one: str, many: str = "") -> str:
    """``many`` where it is not ``one`` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def meant(word: str, known: Iterable[str], *, kind: str = "", most: int = 3) -> str:
    """ "did you mean gpt-5.5 or gpt-5?", of the names nearest to a wrong one; "" where none is.

    Args:
        kind: goes before each, as in ``role:writer``.
    """
    import difflib

    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.casefold(), name)
    near = difflib.get_close_matches(word.casefold(), folded, most, 0.6)
    return f"did you mean {' or '.join(kind + folded[name] for name in near)}?" if near else ""


def apart(a: float, b: float) -> tuple[str, str]:
    """Two shares as percentages, with as many digits as it takes to tell them apart."""
    for digits in range(4):
        shown = f"{a:.{digits}%}", f"{b:.{digits}%}"
        if shown[0] != shown[1]:
            break
    return shown


def percent(share: float | None, digits: int = 0) -> str:
    """ "94%"; "-" for None."""
    return "-" if share is None else f"{100 * share:.{digits}f}%"


def tokens(value: int | None) -> str:
    """A size in tokens as people write it: 200K, 1M; "unknown" for None."""
    if value is None:
        return "unknown"
    for size, unit in ((1_000_000, "M"), (1_000, "K")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return str(value)

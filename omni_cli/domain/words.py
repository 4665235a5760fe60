"""Numbers in sentences: "1 call", "1,204 calls"; two shares that differ never read alike."""


def counted(number: int, one: str, many: str = "") -> str:
    """``many`` where it is not ``one`` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


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

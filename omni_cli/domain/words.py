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

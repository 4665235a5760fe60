"""Numbers in sentences: "1 call", "1,204 calls"; two shares that differ never read alike; what a
wrong name may have meant."""

from collections.abc import Iterable, Mapping

from omni_cli.domain.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decimal import Decimal

_NOTHING: Mapping[str, str] = {}
#: How much nearer one's own names are, as a share of a name's letters.
_OWN = 0.2


def counted(number: int, one: str, many: str = "") -> str:
    """``many`` where it is not ``one`` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def meant(
    word: str,
    known: Iterable[str],
    *,
    kind: str = "",
    most: int = 3,
    own: Mapping[str, str] = _NOTHING,
) -> str:
    """ "did you mean gpt-5.5 or gpt-5?", of the names nearest to a wrong one; "" where none is.

    Args:
        kind: goes before each, as in ``role:writer``.
        own: what is nearer to whoever asks than what is merely known, by what it may be called.
    """
    import difflib

    word, told = word.casefold(), {name.casefold(): name for name in reversed(list(known))}
    mine = {name.casefold(): shown for name, shown in own.items()}
    scores: dict[str, float] = {}
    for names, more in ((told, 0.0), (mine, _OWN)):
        for name in difflib.get_close_matches(word, names, most, 0.6):
            score = difflib.SequenceMatcher(None, name, word).ratio() + more
            scores[names[name]] = max(score, scores.get(names[name], 0.0))
    near = sorted(scores, key=lambda name: -scores[name])[:most]
    return f"did you mean {' or '.join(kind + name for name in near)}?" if near else ""


def apart(a: float, b: float) -> tuple[str, str]:
    """Two shares as percentages, with as many digits as it takes to tell them apart."""
    for digits in range(4):
        shown = f"{a:.{digits}%}", f"{b:.{digits}%}"
        if shown[0] != shown[1]:
            break
    return shown


def share_of(text: str, what: str) -> float:
    """10% and 0.1 are the same. Raises UsageError: it is none from 0 to 1."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise UsageError(f"{what} is a share such as 10% or 0.1, not {text!r}")
    return value


def percent(share: float | None, digits: int = 0) -> str:
    """ "94%"; "-" for None."""
    return "-" if share is None else f"{100 * share:.{digits}f}%"


def times(ratio: "float | Decimal") -> str:
    """How many times as much: "0.08", "2.5", "40"."""
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:,.0f}"


def tokens(value: int | None) -> str:
    """A size in tokens as people write it: 200K, 1M; "unknown" for None."""
    if value is None:
        return "unknown"
    for size, unit in ((1_000_000, "M"), (1_000, "K")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return str(value)

"""How much one call can cost at most: what its bytes bound, and what a model's limits do.

A protocol reads the bytes that go out (``ports.ProviderAdapter.bound``); what it finds becomes
tokens here, at one model, and money at one price. Nothing here reads a request.
"""

from collections.abc import Callable

from msgspec import Struct

from omni_cli.domain.errors import BudgetExceeded, OmniError
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.money import format_usd
from omni_cli.domain.prices import Price
from omni_cli.domain.pricing import units_nusd, worst_case_nusd
from omni_cli.domain.tokens import LEAST_OUTPUT

#: Output bound used for reservations where neither request nor model names one, tokens.
DEFAULT_MAX_OUTPUT = 4_096
#: No answer is longer, tokens, and no call has more answers, nor tokens and fees (nano-dollars)
#: beside them: a larger number stands for no bound, and the store could not hold what it costs.
_MOST_ANSWER, _MOST_CHOICES, _MOST_BESIDE, _MOST_FEES = 10**7, 10**4, 10**11, 10**16
#: Rates that a kind of answer needs of its own: text's say nothing about it.
_OWN_RATES = {"audio": "output_audio", "image": "output_image"}


class CallBound(Struct, frozen=True):
    """What the bytes of one call bound.

    ``input_tokens``: the most that what stands in them is counted as. ``beyond``: the field through
    which more than that may come in, "" for none; then it is the model's context window, and
    ``window`` what the call itself raises that to (tokens, 0: nothing). ``rounds``: how often the
    model may read its input within the call, where the provider runs tools.

    ``output_tokens``: of each answer, as stated; None: nothing states it. ``choices``: answers at
    once. ``beside``: tokens of output of each that may come beyond the limit. ``kinds``: of answers
    besides text, "audio" or "image". ``fees_nusd``: what is charged by the call of a tool.

    ``refused``: a field whose cost nothing bounds, with the reason; "" for none. ``plain``: limits
    and counts stand in the bytes as the provider surely reads them. ``writes``: the answer has
    tokens (vectors have none). ``usual``: nothing but the two numbers of tokens says anything.

    ``units``: what it is charged for where the price has rates of it, instead of tokens. ``asks``:
    the field that asks for more than text, ``unlimited``: for so much as its model makes at most.
    """

    input_tokens: int
    output_tokens: int | None = None
    choices: int = 1
    beside: int = 0
    rounds: int = 1
    fees_nusd: int = 0
    beyond: str = ""
    window: int = 0
    kinds: tuple[str, ...] = ()
    refused: str = ""
    plain: bool = False
    writes: bool = True
    usual: bool = False
    units: tuple[tuple[str, int], ...] = ()
    asks: str = ""
    unlimited: bool = False


class Most(Struct, frozen=True):
    """The most that one call can be billed for at one model. ``each``: tokens of each of its
    ``choices`` that can be limited; ``beside``: those of all of them that cannot. ``why``: what
    makes its input the whole context window, for the words of a refusal."""

    input_tokens: int
    each: int
    choices: int = 1
    beside: int = 0
    fees_nusd: int = 0
    why: str = ""


def most_of(bound: CallBound, model: ModelInfo, price: Price) -> Most:
    """What a call can be billed for at most.

    Raises BudgetExceeded: nothing bounds it; the message names the field.
    """
    if bound.usual:
        return Most(bound.input_tokens, _each(bound, model))
    if bound.refused:
        raise _unbounded(bound.refused, "leave it out")
    if bound.units and (nusd := units_nusd(bound.units, price)) is not None:
        return _sane(Most(0, 0, 1, 0, nusd + bound.fees_nusd))
    for kind in bound.kinds:
        if getattr(price, _OWN_RATES[kind]) is None and model.output_types != (kind,):
            if bound.asks:
                raise _unbounded(f"{bound.asks}: what {kind} costs there is not known", _WITHOUT)
            raise _unbounded(f"an answer with {kind}, whose price is not known", "ask for text")
    most_in, why = bound.input_tokens, ""
    if bound.beyond:
        window = max(model.context_window or 0, bound.window)
        if not window:
            raise _unbounded(
                f"{bound.beyond}, which brings input that omni cannot count, to a model whose "
                "context window is unknown",
                f"leave it out, or: omni models edit {model.id} --context TOKENS",
            )
        most_in = max(most_in, window)
        why = f"{bound.beyond} lets its input be the whole context window of {window:,} tokens"
        if bound.rounds > 1:
            why += f", read up to {bound.rounds} times"
    if not bound.writes:
        made = bound.beside + (_most_made(bound, model) if bound.unlimited else 0)
        return _sane(Most(most_in * bound.rounds, 0, 1, made * bound.choices, bound.fees_nusd, why))
    each, beside = _each(bound, model), bound.beside * bound.choices
    return _sane(Most(most_in * bound.rounds, each, bound.choices, beside, bound.fees_nusd, why))


def _each(bound: CallBound, model: ModelInfo) -> int:
    return min(bound.output_tokens or model.max_output or DEFAULT_MAX_OUTPUT, _MOST_ANSWER)


def _sane(most: Most) -> Most:
    """Raises BudgetExceeded: a number in it is one that no server can mean."""
    if most.choices > _MOST_CHOICES or most.beside > _MOST_BESIDE or most.fees_nusd > _MOST_FEES:
        raise _unbounded("so many answers, or so long ones", "ask for fewer")
    return most


def _most_made(bound: CallBound, model: ModelInfo) -> int:
    """The most tokens that the model makes at once. Raises BudgetExceeded: nobody said."""
    if model.max_output:
        return model.max_output
    raise _unbounded(
        f"{bound.asks}: only its model limits what it makes, and omni does not know how far",
        f"omni models edit {model.id} --max-output TOKENS, or {_WITHOUT}",
    )


_WITHOUT = (
    "ask a model that is free, or with a key that no budget covers and without a maximum cost"
)


def bound_of(price: Price | None, most: Callable[[], Most]) -> Most | OmniError | None:
    """``most()`` as a value, for an opening of the ledger: an error is why nothing bounds the call.
    None where the price asks for no bound: it is free, or unknown."""
    if price is None or price.state != "priced":
        return None
    try:
        return most()
    except OmniError as exc:
        return exc


def worst_nusd(most: Most, price: Price, each: int) -> int:
    """What a call costs at most with ``each`` tokens of each answer. Raises UnknownPrice."""
    output = each * most.choices + most.beside
    return worst_case_nusd(most.input_tokens, output, price) + most.fees_nusd


def fitting(most: Most, price: Price, room_nusd: int) -> int:
    """The longest answer, in tokens of each choice, that ``room_nusd`` holds; 0 where it holds none
    that is worth asking for.

    What is answered without tokens has no shorter answer.
    """
    low, high = 0, most.each
    while low < high:
        middle = (low + high + 1) // 2
        if worst_nusd(most, price, middle) <= room_nusd:
            low = middle
        else:
            high = middle - 1
    return low if low * most.choices >= min(LEAST_OUTPUT, most.each * most.choices) else 0


def over_maximum(
    model: str, need_nusd: int, room_nusd: int, most_nusd: int, why: str
) -> BudgetExceeded:
    """The error for a call that does not fit what its request may still cost."""
    left = "" if room_nusd == most_nusd else f", of which {format_usd(max(room_nusd, 0))} is left"
    reason = f" ({why})" if why else ""
    return BudgetExceeded(
        f"{model}: this call may cost up to {format_usd(need_nusd)}{reason}, above the maximum "
        f"{format_usd(most_nusd)}{left}",
        hint="raise it (--max-cost; at the gateway x-omni-max-cost or max_cost), or ask for a "
        "shorter answer",
    )


def _unbounded(what: str, hint: str) -> BudgetExceeded:
    return BudgetExceeded(
        f"a budget or a maximum cost covers this call, and nothing bounds what it may cost with "
        f"{what}",
        hint=f"{hint}; docs/budgets.md says what a budget can hold",
    )

"""Usage that users already have: values read from other tools, and telling copies apart."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Literal

from msgspec import Struct

from omni_cli.domain.chat import Usage
from omni_cli.domain.sessions import Session, SessionRow, known_better

#: Exclusive kinds: for one call they add up to all its tokens. ``total`` is unsplit money.
TokenKind = Literal[
    "input", "cached", "cache_write", "cache_write_1h", "output", "web_search", "other", "total"
]

#: An exclusive kind -> the fields of Usage that count its tokens.
COUNTED_BY: Mapping[TokenKind, tuple[str, ...]] = {
    "input": ("input_tokens",),
    "cached": ("input_tokens", "cached_tokens"),
    "cache_write": ("input_tokens", "cache_write_tokens"),
    "cache_write_1h": ("input_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
    "output": ("output_tokens",),
}


class ImportedCall(Struct, frozen=True, gc=False):
    """One call, or one row of a usage report that sums ``requests`` calls.

    Attributes:
        source: the importer's name, e.g. ``claude-code``.
        external_id: identity of the real call within ``source``; the same however often and
            from whichever copy it is read.
        at_ms: milliseconds since the epoch, UTC; of a report row, the start of its period.
        provider: slug in omni's words where the source names one it knows, the source's own
            lower-case word where it names another, None where it names none.
        model: wire name exactly as recorded; None where the source does not say.
        usage: omni's convention; None when the source states neither input nor output.
        unstated: names of ``Usage`` fields that the source leaves open; their 0 means unknown.
        recorded_cost_nusd: what the tool says the call cost (nano-dollars), None when silent.
        byok_cost_nusd: charged by the upstream to the user's own key, beside the above.
        message_id, provider_request_id: the provider's ids of answer and request, which omni's
            own ledger rows carry too: the same call may have passed through the gateway.
        served_model: the model that the answer itself named, where it differs.
        session_id: conversation or session in the tool.
        about: what more its log says of the session; one value for all its calls.
        agent: the tool, or ``tool:subagent``.
        project: last path component only, never a whole path.
        file, line: origin; base name, and 1-based line (row of a table) or None.
        requests: number of calls in this row; None when a report does not say.
        span_ms: length of a report row's period, 0 for a single call.
        tier: service tier that changes the price (``fast``, ``batch``, ``priority``), if said.
        outcome: ``success``, ``failure``, ``cancelled``, or None when not said.
        cache_hit: answered by the tool's own response cache; no provider was called.
        web_searches: billed searches beside the tokens.
        replay: may be a copy under another id; dropped when its ``message_id`` is known.
        replay_id: under which a replay of this call is known; the call takes its place.
        revision: a later state of the same call has a higher number and wins.
        content: identity by what the record says, of sources that copy records under new ids:
            calls of different sessions that have the same are one call.
    """

    source: str
    external_id: str
    at_ms: int
    provider: str | None
    model: str | None
    usage: Usage | None
    unstated: frozenset[str] = frozenset()
    recorded_cost_nusd: int | None = None
    # Given by place for each call of an agent's log: by name takes three times as long.
    message_id: str | None = None
    provider_request_id: str | None = None
    session_id: str | None = None
    agent: str | None = None
    project: str | None = None
    about: Session | None = None
    file: str = ""
    line: int | None = None
    replay: bool = False
    replay_id: str | None = None
    tier: str | None = None
    web_searches: int = 0
    byok_cost_nusd: int = 0
    served_model: str | None = None
    latency_ms: int | None = None
    requests: int | None = 1
    span_ms: int = 0
    outcome: str | None = None
    cache_hit: bool = False
    revision: int = 0
    content: str | None = None

    @property
    def total_tokens(self) -> int:
        return self.usage.total_tokens if self.usage else 0

    @property
    def ledger_ids(self) -> tuple[str, ...]:
        """Ids under which omni's own ledger would know this call."""
        return tuple(i for i in (self.message_id, self.provider_request_id) if i)


class LogFile(Struct):
    """How far a file of another tool's is read.

    ``bytes``, ``changed_ns``: its size and time of change when it was. Of a log that only grows,
    ``offset`` and ``line`` are the end of the last whole line, ``tail`` a digest of what stands
    before it, and ``state`` what its importer must know of the lines before. ``partial``: the line
    being read has no end yet.
    """

    path: str
    bytes: int = 0
    changed_ns: int = 0
    offset: int = 0
    line: int = 0
    tail: str = ""
    state: str = ""
    read_at: int = 0
    partial: bool = False


class PricedCall(Struct, frozen=True, gc=False):
    """A call as it enters the ledger.

    Attributes:
        model: the catalogue's id where the name is known, else the name as recorded.
        provider: that model's provider, else the recorded one, else "".
        price: id of the price row that it is charged by, None where there is none.
        price_state: ``priced``, ``free`` or ``unknown``.
        cost_nusd, input_cost_nusd: nano-dollars, None where unknown.
        estimated: tokens or terms that the price depends on are not stated.
    """

    call: ImportedCall
    model: str
    provider: str
    price: int | None = None
    price_state: str = "unknown"
    cost_nusd: int | None = None
    input_cost_nusd: int | None = None
    estimated: bool = False


class ImportProblem(Struct, frozen=True):
    """Something that could not be read and was left out. ``line`` None: the whole file."""

    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.reason}"


class InvoiceLine(Struct, frozen=True):
    """A day's tokens or money of one kind, on an invoice or in the ledger.

    ``day`` is an ISO date (UTC). ``model`` None: the line names none. ``rounding_nusd`` is the
    most that rounding on paper can have moved ``cost_nusd`` (half its last printed digit).
    """

    day: str
    model: str | None
    kind: TokenKind
    tokens: int | None = None
    cost_nusd: int | None = None
    provider: str | None = None
    rounding_nusd: int = 0
    file: str = ""
    line: int | None = None


def _preference(call: ImportedCall) -> tuple[object, ...]:
    """Orders the copies of one call: the smallest is kept."""
    cost = call.recorded_cost_nusd
    return (
        call.replay,
        -call.revision,
        -call.total_tokens,
        cost is None,
        -(cost or 0),
        call.tier is None,
        call.at_ms,
        # Of copies made under new ids, the one with the earlier id: these ids grow with time.
        "" if call.content is None else call.external_id,
        call.session_id or "",
        call.file,
        call.line or 0,
    )


def better(one: ImportedCall, other: ImportedCall) -> ImportedCall:
    """The copy of a call that is kept; the same whichever comes first.

    A later revision wins, then more tokens (a streamed answer's lines grow), then a stated
    cost; among equals the earliest, which is the original of a history copied by a fork.
    """
    if one is other:
        return one
    left, right = _preference(one), _preference(other)
    if left == right:
        return min(one, other, key=repr)
    return one if left < right else other


def by_id(calls: Iterable[ImportedCall]) -> dict[tuple[str, str], ImportedCall]:
    """One of the calls with each ``(source, external_id)``, in any order of parts and of wholes."""
    kept: dict[tuple[str, str], ImportedCall] = {}
    last: ImportedCall | None = None
    keep = kept.setdefault
    for call in calls:
        # The lines of one answer mostly are one value.
        if call is last:
            continue
        last = call
        key = (call.source, call.external_id)
        known = keep(key, call)
        if known is not call:
            kept[key] = better(known, call)
    return kept


def collapse(calls: Iterable[ImportedCall]) -> list[ImportedCall]:
    """One call per real call, ordered by time; input order and repetition change nothing.

    Lines with the same ``(source, external_id)`` or ``content`` are copies. A ``replay`` goes when
    another call of its source has the same ``message_id``; of several replays alone, one stays.
    Memory: one value per real call, whatever the number of lines.
    """
    kept = by_id(calls)
    by_content: dict[tuple[str, str], ImportedCall] = {}
    for call in [call for call in kept.values() if call.content is not None]:
        twin = by_content.setdefault((call.source, call.content or ""), call)
        if twin is not call:
            first = better(twin, call)
            by_content[call.source, call.content or ""] = first
            del kept[(call.source, (call if first is twin else twin).external_id)]
    result = list(kept.values())
    again = [call for call in result if call.replay and call.message_id is not None]
    if again:
        result = _without_replays(result, again)
    result.sort(key=_ORDER)
    return result


_ORDER = attrgetter("at_ms", "source", "external_id")


def _without_replays(
    calls: Sequence[ImportedCall], replays: Iterable[ImportedCall]
) -> list[ImportedCall]:
    """The calls that are none, and of the others one each where none of them is the original."""
    result = [call for call in calls if not (call.replay and call.message_id is not None)]
    originals = {(call.source, call.message_id) for call in result}
    # One answer may hold those of other models.
    alone: dict[tuple[str, str | None, str | None], ImportedCall] = {}
    for call in replays:
        if (call.source, call.message_id) not in originals:
            known = alone.setdefault((call.source, call.message_id, call.model), call)
            alone[call.source, call.message_id, call.model] = better(known, call)
    return [*result, *alone.values()]


def unknown_only(
    calls: Iterable[ImportedCall],
    *,
    external_ids: Collection[tuple[str, str]],
    ledger_ids: Collection[str] = frozenset(),
    imported_message_ids: Collection[tuple[str, str]] = frozenset(),
    contents: Collection[tuple[str, str]] = frozenset(),
) -> list[ImportedCall]:
    """The calls that the ledger does not hold yet.

    Args:
        calls: collapsed calls.
        external_ids: ``(source, external_id)`` of what was imported before.
        ledger_ids: response and request ids of calls that the ledger holds from elsewhere: its
            own (made through the gateway), and those imported from another source.
        imported_message_ids: ``(source, message_id)`` of what was imported before; a replay
            of one of them is left out.
        contents: ``(source, content)`` of what was imported before.
    """
    if not (external_ids or ledger_ids or imported_message_ids or contents):
        return list(calls)
    return [
        call
        for call in calls
        if (call.source, call.external_id) not in external_ids
        and not _replaces(call, external_ids)
        and not any(i in ledger_ids for i in call.ledger_ids)
        and (call.content is None or (call.source, call.content) not in contents)
        and not (call.replay and (call.source, call.message_id) in imported_message_ids)
    ]


def sessions_of(calls: Iterable[ImportedCall]) -> list[SessionRow]:
    """The sessions that calls were part of."""
    found: dict[str, SessionRow] = {}
    said: dict[str, tuple[object, ...]] = {}
    for call in calls:
        if not call.session_id:
            continue
        # Mostly a call says of its session what the latest one before did: nothing is new then.
        says = call.agent, call.project, call.about
        row = found.get(call.session_id)
        if row is not None and said.get(call.session_id) == says:
            first, last = min(row.first_at, call.at_ms), max(row.last_at, call.at_ms)
            found[call.session_id] = SessionRow(row.session, first, last)
            continue
        agent = (call.agent or call.source).removesuffix(":subagent")
        told = Session(call.session_id, agent, call.project or "")
        if call.about is not None:
            told = known_better(told, call.about)
        row = found.get(told.id)
        if told.id == call.session_id and (row is None or call.at_ms >= row.last_at):
            said[told.id] = says
        if row is None:
            found[told.id] = SessionRow(told, call.at_ms, call.at_ms)
        elif call.at_ms >= row.last_at:
            found[told.id] = SessionRow(known_better(row.session, told), row.first_at, call.at_ms)
        else:
            first = min(row.first_at, call.at_ms)
            found[told.id] = SessionRow(known_better(told, row.session), first, row.last_at)
    return list(found.values())


def grown(
    calls: Iterable[ImportedCall],
    recorded: Mapping[tuple[str, str], int],
    external_ids: Collection[tuple[str, str]] = frozenset(),
) -> list[ImportedCall]:
    """The calls that were imported while they were not finished, and have more tokens now; and
    those of which only a replay was.

    That is a streamed answer whose last line came later, or a report of a day that went on.

    Args:
        calls: collapsed calls.
        recorded: ``(source, external_id)`` of imported calls -> total tokens as recorded.
    """
    return [
        call
        for call in (calls if recorded or external_ids else ())
        if call.total_tokens > recorded.get((call.source, call.external_id), call.total_tokens)
        or _replaces(call, external_ids)
    ]


def _replaces(call: ImportedCall, external_ids: Collection[tuple[str, str]]) -> bool:
    return (
        call.replay_id is not None
        and not call.replay
        and (call.source, call.replay_id) in external_ids
        and (call.source, call.external_id) not in external_ids
    )


def split_usage(usage: Usage) -> Mapping[TokenKind, int]:
    """Tokens by exclusive kind; the values add up to ``usage.total_tokens``."""
    writes = usage.cache_write_tokens
    long_writes = min(usage.cache_write_1h_tokens, writes)
    return {
        "input": usage.input_tokens - usage.cached_tokens - writes,
        "cached": usage.cached_tokens,
        "cache_write": writes - long_writes,
        "cache_write_1h": long_writes,
        "output": usage.output_tokens,
    }

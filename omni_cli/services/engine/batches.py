"""Batches: whose requests they carry to which provider, what is held for them, what they cost.

Nothing here sends (``batch_calls.py`` does). A batch is written down, and its money held, before
its provider is asked; each of its results becomes a request of the ledger, at the batch's price.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from omni_cli.domain.batches import (
    AGENT,
    Asked,
    Batch,
    KeptFile,
    Line,
    Outcome,
    Part,
    Waiting,
    batch_share,
)
from omni_cli.domain.bounds import most_of, over_maximum
from omni_cli.domain.chat import Usage
from omni_cli.domain.clouds import SURCHARGE_PERCENT, charged_more
from omni_cli.domain.document import document
from omni_cli.domain.errors import (
    BadRequest,
    BudgetExceeded,
    NoRoute,
    NotFound,
    OmniError,
    UnknownPrice,
    UsageError,
)
from omni_cli.domain.ids import id_text, make_id, parse_id
from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.domain.models import Provider
from omni_cli.domain.money import usd_string
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.prices import PRICE_HINT, Price, price_from_json, price_to_json
from omni_cli.domain.pricing import of_batch, worst_case_nusd
from omni_cli.domain.record import replace
from omni_cli.ports import Access, Clock, Endpoint
from omni_cli.records import StoredPrice
from omni_cli.repositories import Assignments, Audit, Batches, Budgets, Models, Providers
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.names import Names, shown
from omni_cli.services.engine.routing import RoutingService
from omni_cli.services.engine.sending import Sending, fields_of, one_name, read_field
from omni_cli.services.engine.settlement import estimated_usage, input_cost, plausible, price_state
from omni_cli.services.money.prices import PriceBook, cost_or_none
from omni_cli.wire.batching import Batching, Item, Result, Told
from omni_cli.wire.registry import FOLDERS, adapter, batching
from omni_cli.wire.values import host_of

#: Results that come into the ledger in one transaction.
_CHUNK = 500
#: What is bound where a price asks for no bound.
_FREE = Price("free")
_MESSAGE_CHARS = 500
#: For how long a file of requests can be made a batch of: 30 days, and one more.
_FILES_MS = 31 * DAY_MS
#: For how long a process that looks after batches keeps others from it, ms.
_LEASE_MS = 60_000


class Prepared(Struct, frozen=True):
    """A batch as its provider is to be given it."""

    provider: Provider
    asked: Asked


class _Found(Struct, frozen=True):
    """What a name in a batch stands for."""

    target: Target
    role: str


class BatchService:
    """Args:
    bits: random ones, for ids.
    """

    def __init__(
        self,
        *,
        store: Batches,
        models: Models,
        providers: Providers,
        assignments: Assignments,
        budgets: Budgets,
        audit: Audit,
        routing: RoutingService,
        names: Names,
        key: Callable[[Provider], str | Access | None],
        clock: Clock,
        bits: Callable[[], int],
    ) -> None:
        self.store = store
        self._models = models
        self._providers = providers
        self._assignments = assignments
        self._budgets = budgets
        self._audit = audit
        self._routing = routing
        self._names = names
        self._key = key
        self._clock = clock
        self._bits = bits

    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    def leads(self) -> bool:
        """Whether this process is the one that looks after batches for a while."""
        return self.store.lead(now_ms=self.now_ms(), for_ms=_LEASE_MS)

    def tidy(self) -> None:
        """Forget what the requests of old files ask: their provider has them no more."""
        self.store.forget_asked(self.now_ms() - _FILES_MS)

    # --- providers ------------------------------------------------------------------------------

    def speaker(self, provider: Provider) -> Batching:
        """Raises NotFound: it has no batches."""
        found = batching(provider.protocol)
        if found is None:
            raise NotFound(
                f"{provider.slug} has no batches that omni speaks", hint=self._who_has(None)
            )
        return found

    def providers(self) -> list[Provider]:
        return self._providers.all()

    def endpoint(self, provider: Provider) -> Endpoint:
        """Raises MissingKey."""
        return Endpoint.of(provider, self._key(provider))

    def provider(self, slug: str) -> Provider:
        """Raises NotFound: it is gone, or switched off."""
        found = self._providers.get(slug)
        if found is None:
            raise NotFound(f"{slug} is not connected any more")
        if not found.enabled:
            raise NotFound(f"{slug} is switched off", hint=f"omni providers enable {slug}")
        return found

    def chosen(self, protocol: str, wish: str | None) -> Provider:
        """Who is to keep a file that names no model.

        Raises NotFound, UsageError: nobody, or more than one, may.
        """
        if wish is not None:
            found = self.provider(wish)
            self._speaks(found, protocol)
            return found
        able = [p for p in self._providers.all() if p.enabled and p.protocol == protocol]
        if len(able) == 1:
            return able[0]
        if not able:
            raise NotFound(f"no provider of {protocol}'s protocol is connected")
        raise UsageError(
            "the file names no model, so that nothing says which provider is to keep it",
            hint=f"x-omni-provider says it: {', '.join(p.slug for p in able)}",
        )

    def _speaks(self, provider: Provider, protocol: str) -> None:
        """Raises NotFound: it does not."""
        if provider.protocol != protocol:
            raise NotFound(
                f"{provider.slug} speaks {provider.protocol}'s protocol and has no such batches",
                hint=self._who_has(protocol),
            )

    def _who_has(self, protocol: str | None) -> str:
        able = [
            provider.slug
            for provider in self._providers.all()
            if provider.enabled
            and provider.protocol in ((protocol,) if protocol else FOLDERS)
            and batching(provider.protocol) is not None
        ]
        return f"these have batches: {', '.join(able)}" if able else "no connected provider has any"

    # --- what is to be sent -----------------------------------------------------------------------

    def prepare(
        self,
        speaks: Batching,
        source: BinaryIO,
        target: BinaryIO,
        *,
        allowed: Callable[[str], bool],
        wish: str | None = None,
        limits: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Prepared:
        """Write a batch anew for its provider: models by its own names, and the limit of each
        answer where a budget may hold it.

        Args:
            source: a real file, as it came.
            target: takes what is to go out.
            allowed: whether its caller may call a model.
            wish: the provider that is to have it, where the caller says so.
            limits: its cost is limited, also where no budget is.
            headers: that go with it.

        Raises:
            BadRequest: it cannot be read, or a request cannot go with the others; the message
                names the line.
            NotFound, UsageError, NoRoute, ProviderError: as for single requests, with the line.
        """
        before, between, after = speaks.around
        target.write(before)
        lines: list[Line] = []
        seen: dict[str, int] = {}
        found: dict[str, _Found] = {}
        limits = limits or any(budget.enabled for budget in self._budgets.all())
        first: tuple[Item, Provider] | None = None
        unbounded = ""
        for item in speaks.items(source):
            try:
                if "\0" in item.custom_id:
                    raise BadRequest("its custom_id is no text: it has a NUL", status=400)
                if not item.custom_id or item.custom_id in seen:
                    raise _twice(speaks.word, item, seen)
                seen[item.custom_id] = item.line
                fields = fields_of(item.body)
                one_name("model", fields)
                name = read_field("model", fields["model"]) if "model" in fields else None
                if not isinstance(name, str) or not name:
                    raise BadRequest("its body names no model", status=400)
                if name not in found:
                    found[name] = self._find(speaks, name, wish, allowed)
                chosen = found[name]
                if first is None:
                    first = item, chosen.target.provider
                    self._check_endpoint(speaks, item.endpoint)
                _with_the_others(speaks.word, item, chosen.target, *first)
                line, body, why = self._line(
                    speaks, item, chosen, fields, headers or {}, limits=limits
                )
            except OmniError as exc:
                exc.message = f"{speaks.word} {item.line}: {exc.message}"
                exc.args = (exc.message,)
                raise
            if why and not unbounded:
                unbounded = f"{speaks.word} {item.line}: {why}"
            if lines:
                target.write(between)
            target.write(speaks.written(item, body))
            lines.append(line)
            if len(lines) > speaks.most_requests:
                raise BadRequest(
                    f"a batch has {speaks.most_requests:,} requests at most", status=400
                )
        if first is None:
            raise BadRequest("the batch has no requests", status=400)
        target.write(after)
        return Prepared(first[1], Asked(first[0].endpoint, tuple(lines), unbounded))

    def _check_endpoint(self, speaks: Batching, endpoint: str) -> None:
        if endpoint not in speaks.endpoints:
            raise BadRequest(
                f"a batch cannot carry {shown(endpoint)}",
                hint=f"it may be for {', '.join(speaks.endpoints)}",
                status=400,
            )

    def _find(
        self, speaks: Batching, name: str, wish: str | None, allowed: Callable[[str], bool]
    ) -> _Found:
        """Raises NotFound, UsageError, NoRoute."""
        role = ""
        try:
            selector = self._names.select(f"{wish}/{name}" if wish else name, suggest=False)
        except NotFound:
            if not wish:
                raise
            selector = self._names.select(name, suggest=False)
        if selector.kind == "auto":
            raise UsageError(
                f"{shown(name)} is decided for each request, and a batch goes out at once",
                hint="name a model, a role or a chain",
            )
        candidates = [selector.name]
        if selector.kind == "role":
            role = selector.name
            found = self._assignments.role(role)
            candidates = [item.model for item in (found.models if found else ())]
        elif selector.kind == "chain":
            chain = self._assignments.chain(selector.name)
            candidates = [link.model for link in (chain.links if chain else ())]
        blocked = ""
        for model in candidates:
            if not allowed(model):
                blocked = blocked or f"this key may not call {shown(name)}"
                continue
            why = self._routing.block(model)
            if why:
                blocked = blocked or f"{model}: {why}"
                continue
            info, provider, price = self._routing.known(model)
            self._speaks(provider, speaks.name)
            return _Found(Target(info, provider, price, 0, 0), role)
        raise NoRoute(blocked or f"{shown(name)} has no model")

    def _line(
        self,
        speaks: Batching,
        item: Item,
        found: _Found,
        fields: dict[str, msgspec.Raw],
        headers: Mapping[str, str],
        *,
        limits: bool,
    ) -> tuple[Line, bytes, str]:
        """What one request asks, its body, and why nothing bounds it."""
        target = found.target
        protocol, operation = speaks.endpoints[item.endpoint]
        client = adapter(protocol)
        # Written anew in any case: a name that stood there twice stands there once.
        renamed = {**fields, "model": msgspec.Raw(msgspec.json.encode(target.model.wire_name))}
        sending = Sending(item.body, target, client, operation, headers, renamed)
        if operation == "chat" and protocol == target.provider.protocol and "messages" in fields:
            client.mend(sending, item.body)
        price = _FREE if target.price is None else target.price.price
        try:
            bound = client.bound(sending)
            most = most_of(bound, target.model, price)
        except BudgetExceeded as exc:
            line = Line(item.custom_id, target.model.id, found.role, sending.size, 0)
            return line, sending.written(), exc.message
        why = ""
        if bound.writes and not (bound.plain and bound.output_tokens == most.each):
            if limits:
                client.limit(sending, most.each, bound)
            elif bound.output_tokens is None:
                why = (
                    "it states no limit of its answer, and nothing limited its cost when it came: "
                    "upload it again"
                )
        line = Line(
            item.custom_id,
            target.model.id,
            found.role,
            most.input_tokens,
            most.each * most.choices + most.beside,
            most.fees_nusd,
        )
        return line, sending.written(), why

    # --- a batch's beginning ----------------------------------------------------------------------

    def open(
        self,
        prepared: Prepared,
        *,
        org: str = "",
        key: str = "",
        agent: str = "",
        input_file: str = "",
        most_nusd: int | None = None,
    ) -> Batch:
        """Write a batch down before its provider is asked, and hold what it may cost.

        Args:
            most_nusd: what all of it may cost, None without a maximum.

        Raises BudgetExceeded, UnknownPrice: a budget, or the maximum, cannot hold it.
        """
        now, asked, provider = self.now_ms(), prepared.asked, prepared.provider
        batch = Batch(
            make_id(now, self._bits()),
            provider.slug,
            org,
            key,
            agent or AGENT,
            asked.endpoint,
            input_file,
            now,
            lines=len(asked.lines),
            checked_at=now,
        )
        share = batch_share(provider.slug, host_of(provider.base_url))
        book = PriceBook(self._models, now_ms=now)
        book.load({line.model for line in asked.lines})
        dearer = {model for model in {line.model for line in asked.lines} if self._dearer(model)}
        prices = {
            line.model: _priced(book.current(line.model), share, more=line.model in dearer)
            for line in asked.lines
        }
        held: list[tuple[Line, int]] = []
        sums: Counter[tuple[str, str]] = Counter()
        counts: Counter[tuple[str, str]] = Counter()
        unknown: set[tuple[str, str]] = set()
        for line in asked.lines:
            at = line.model, line.role
            most = _most_nusd(line, prices[line.model])
            if most is None:
                unknown.add(at)
            held.append((line, most or 0))
            sums[at] += most or 0
            counts[at] += 1
        parts = []
        for at, count in counts.items():
            price = prices[at[0]]
            text = None if price is None else json.dumps(price_to_json(price), sort_keys=True)
            unsure = share is None or at[0] in dearer
            marked = unsure and price is not None and price.state == "priced"
            parts.append((Part(*at, text, marked, count, sums[at]), at not in unknown))
        if most_nusd is not None:
            if asked.unbounded:
                raise BudgetExceeded(asked.unbounded)
            if unknown:
                raise UnknownPrice(f"the price of {min(unknown)[0]} is unknown", hint=PRICE_HINT)
            if (whole := sum(sums.values())) > most_nusd:
                raise over_maximum("the batch", whole, most_nusd, most_nusd, "")
        self.store.open(batch, parts, held, asked.unbounded)
        return batch

    def _dearer(self, model: str) -> bool:
        """Whether its calls cost a tenth more where they go: nobody says that those of a batch do
        not."""
        info = self._models.get(model)
        provider = None if info is None else self._providers.get(info.provider)
        if info is None or provider is None:
            return False
        return charged_more(info.wire_name, provider.base_url)

    # --- what its provider says of it -------------------------------------------------------------

    def heard(self, batch: Batch, told: Told, document: str) -> Batch:
        """Write down what the provider says of a batch; what it has ended is to be read."""
        now = self.now_ms()
        batch.remote, batch.status, batch.document = told.id, told.status, document
        batch.expires_at, batch.checked_at, batch.trouble = told.expires_at, now, ""
        if batch.state == "opening":
            batch.state = "open"
        if told.ended and batch.state == "open":
            batch.state, batch.ended_at = "ended", now
        names = ("remote", "status", "document", "expires_at", "checked_at", "trouble")
        self.store.note(batch, *names, "state", "ended_at")
        return batch

    def failed(self, batch: Batch, why: OmniError) -> None:
        """Write down that it could not be asked about."""
        batch.trouble, batch.checked_at = why.message[:_MESSAGE_CHARS], self.now_ms()
        self.store.note(batch, "trouble", "checked_at")

    def lost_results(self, batch: Batch, why: OmniError) -> None:
        """Its provider has its results no more: what is held for it stays held, until somebody
        says what it cost."""
        batch.state = "unread"
        self.store.note(batch, "state")
        self.failed(batch, why)

    def output(self, batch: Batch, ident: str, document: str) -> None:
        """Keep whose a file is that a batch has made."""
        self.store.add_file(
            KeptFile(
                ident,
                batch.provider,
                batch.org,
                batch.key,
                "batch_output",
                self.now_ms(),
                document,
                batch.id,
            )
        )

    def find(self, text: str) -> Batch:
        """By our id, or the first part of it, or by the provider's name. Raises NotFound."""
        span = parse_id(text) or (1, 0)
        found = [
            batch
            for batch in self.store.all()
            if batch.remote == text or span[0] <= batch.id <= span[1]
        ]
        if len(found) != 1:
            how = "more than one batch begins" if found else "no batch begins"
            raise NotFound(f"{how} with {shown(text)}", hint="omni batches list shows them")
        return found[0]

    def check_release(self, batch: Batch) -> None:
        """Raises UsageError: it is settled, or its provider still works on it."""
        if batch.state == "settled" or (batch.state == "open" and not batch.trouble):
            raise UsageError(
                f"{id_text(batch.id)} is {batch.state}: nothing is to be released",
                hint="omni batches sync asks its provider how far it is",
            )

    def release(self, batch: Batch, *, who: str) -> Batch:
        """Hold nothing more for a batch that cannot be settled. Audited. Raises UsageError."""
        self.check_release(batch)
        now = self.now_ms()
        if self.store.finish(batch.id, now_ms=now):
            self._audit.record(
                at_ms=now,
                who=who,
                action="batch.release",
                target=id_text(batch.id),
                after={"released_usd": usd_string(batch.held_nusd), "state": batch.state},
            )
        return self.store.get(batch.id) or batch

    # --- its results ------------------------------------------------------------------------------

    def settle(self, batch: Batch, source: BinaryIO) -> int:
        """Bring a batch's results into the ledger; returns how many were new to it.

        Args:
            source: lines of JSON, as the provider gives them.
        """
        provider = self._providers.get(batch.provider)
        speaks = None if provider is None else batching(provider.protocol)
        if provider is None or speaks is None:
            raise NotFound(f"{batch.provider} is not connected any more")
        parts = {(part.model, part.role): part for part in self.store.parts(batch.id)}
        prices = {
            part.model: None if part.price is None else price_from_json(json.loads(part.price))
            for part in parts.values()
        }
        new, waiting = 0, self.store.waiting(batch.id)
        results = _results(speaks, source)
        while chunk := list(islice(results, _CHUNK)):
            outcomes = []
            for result, size in chunk:
                asked = waiting.pop(result.custom_id, None)
                if asked is not None and result.tried:
                    part = parts[asked.model, asked.role]
                    price = prices[asked.model]
                    outcomes.append(
                        self._outcome(batch, provider, part, price, result, asked, size)
                    )
            new += self.store.settle(batch, outcomes)
        return new

    def _outcome(
        self,
        batch: Batch,
        provider: Provider,
        part: Part,
        price: Price | None,
        result: Result,
        asked: Waiting,
        size: int,
    ) -> Outcome:
        now, usage = self.now_ms(), result.usage or Usage()
        cost: int | None = 0
        inputs: int | None = 0
        state = None
        if result.answered:
            info = self._models.get(part.model)
            counted = result.usage is not None and (info is None or plausible(usage, info))
            if not counted:  # answered, and nobody counted it
                usage = estimated_usage(asked.input_tokens, size, None)
            cost, beside = cost_or_none(usage, price), usage.beside
            usage = replace(usage, beside=(), estimated=usage.estimated or part.marked)
            for name, tokens in beside:
                other = self._routing.price_named(provider, name)
                share = Decimal(1) if price is None else price.share
                more = None if other is None else cost_or_none(tokens, of_batch(other, share))
                cost = None if cost is None or more is None else cost + more
            inputs = input_cost(usage, price) if cost else cost
            state = price_state(cost, price)
        said = result.error_message
        words = None if said is None else said[:_MESSAGE_CHARS]
        request = RequestRow(
            id=0,
            created_at=batch.created_at,
            source="gateway",
            org=batch.org,
            key=batch.key,
            role=part.role,
            agent=batch.agent,
            state="ok" if result.answered else "failed",
            settled_at=now,
            model=part.model,
            provider=batch.provider,
            attempts=1,
            usage=usage,
            price_state=state,
            cost_nusd=cost,
            estimated=usage.estimated,
            error_code=result.error_code,
            error_message=words,
        )
        # Without an end: how long a batch takes says nothing of its provider's health.
        attempt = AttemptRow(
            request=0,
            n=1,
            model=part.model,
            provider=batch.provider,
            state="ok" if result.answered else "failed",
            started_at=batch.created_at,
            usage=usage,
            input_estimate=asked.input_tokens,
            cost_nusd=cost,
            input_cost_nusd=inputs,
            http_status=result.http_status,
            provider_request_id=result.response_id,
            error_code=result.error_code,
            error_message=words,
        )
        return Outcome(asked.n, request, attempt)


def batch_document(batch: Batch, parts: Sequence[Part] = ()) -> dict[str, Any]:
    """A batch as JSON values. ``parts``: its requests by model, where they are asked for."""
    names = [name for name in Batch.__struct_fields__ if name not in ("id", "document", "lines")]
    told: dict[str, Any] = {"id": id_text(batch.id), "requests": batch.lines}
    told |= document(batch, *names)
    told["trouble"] = batch.trouble or None
    if parts:
        told["models"] = [
            {
                "model": part.model,
                "role": part.role or None,
                "requests": part.lines,
                "price": None if part.price is None else json.loads(part.price),
                "batch_price_known": part.price is not None and not part.marked,
                "held_usd": usd_string(part.held_nusd),
            }
            for part in parts
        ]
    return told


def _results(speaks: Batching, source: BinaryIO) -> Iterator[tuple[Result, int]]:
    """Each result, and the bytes of its line."""
    for text in source:
        if (result := speaks.result(text)) is not None:
            yield result, len(text)


def _priced(row: StoredPrice | None, share: Decimal | None, *, more: bool) -> Price | None:
    """What a batch's calls are charged by; None where that is unknown. ``more``: in a region."""
    if row is None or row.price.state == "unknown":
        return None
    if row.price.state == "free" or (share is None and not more):
        return row.price
    part = Decimal(1) if share is None else share
    return of_batch(row.price, part * (100 + SURCHARGE_PERCENT * more) / 100)


def _most_nusd(line: Line, price: Price | None) -> int | None:
    """The most that a request can be billed for; None where its price is unknown."""
    if price is None:
        return None
    try:
        most = worst_case_nusd(line.input_tokens, line.output_tokens, price)
    except UnknownPrice:
        return None
    return most + (0 if price.state == "free" else line.fees_nusd)


def _twice(word: str, item: Item, seen: dict[str, int]) -> BadRequest:
    if not item.custom_id:
        return BadRequest("its custom_id is empty", status=400)
    return BadRequest(
        f"its custom_id {shown(item.custom_id)} is {word} {seen[item.custom_id]}'s, too", status=400
    )


def _with_the_others(
    word: str, item: Item, target: Target, first: Item, provider: Provider
) -> None:
    """Raises BadRequest: it cannot go into one batch with the first."""
    if item.endpoint != first.endpoint:
        raise BadRequest(
            f"it is for {shown(item.endpoint)}, and {word} {first.line} for {first.endpoint}: one "
            "batch is for one of them",
            status=400,
        )
    if target.provider.slug != provider.slug:
        raise BadRequest(
            f"{target.model.id} is {target.provider.slug}'s, and {word} {first.line} is for "
            f"{provider.slug}: one batch goes to one provider",
            hint="make a batch for each",
            status=400,
        )

"""A ledger that loses no end: what the store does not take is set aside, and written later."""

import json
from collections.abc import Sequence

from omni_cli.domain.errors import StoreError
from omni_cli.domain.ledger import Allowance, AttemptEnd, Charged, RequestEnd
from omni_cli.store.connection import Store
from omni_cli.store.ledger import LedgerStore
from omni_cli.store.rows import promote
from omni_cli.store.spool import (
    Record,
    Spool,
    allowance_of,
    attempt_end_of,
    attempt_record,
    begun_of,
    request_record,
)


class LateLedger(LedgerStore):
    """Within somebody's transaction (``unit()``) ends are written or refused as ever."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._spool = Spool(store.path)
        self._behind: StoreError | None = None
        #: What no disk had room for.
        self._unkept: list[Record] = []

    def end_attempt(
        self,
        request: int,
        n: int,
        end: AttemptEnd,
        *,
        priced: str | None,
        allowance: Allowance | None = None,
    ) -> Charged | None:
        try:
            return super().end_attempt(request, n, end, priced=priced, allowance=allowance)
        except StoreError as exc:
            if self._store.in_transaction:
                raise
            begun, sent = self.begun(request, n)
            self.set_aside([attempt_record(begun, sent, request, n, end, priced, allowance)], exc)
            return Charged(end, priced)

    def late_end(self, request: int, end: RequestEnd, why: StoreError) -> StoreError:
        """Set a request's end aside; returns what its user is to be told."""
        return self.set_aside([request_record(request, end)], why)

    @property
    def behind(self) -> StoreError | None:
        """Why this process has set something aside: what belongs to it must follow it."""
        return self._behind

    def set_aside(self, records: Sequence[Record], why: StoreError) -> StoreError:
        """Keep ends that the store did not take; returns what is to be told of it."""
        self._behind = why
        self._unkept += records
        path = self._spool.keep(self._unkept)
        if path is not None:
            self._unkept.clear()
            return StoreError(
                f"the call is not in the ledger yet: {why.message}",
                hint=f"it is kept in {path}; the next omni command writes it",
            )
        return StoreError(
            f"the call is not in the ledger, and no disk has room to keep it: {why.message}",
            hint=f"make room, and keep this: {json.dumps(self._unkept)}",
        )

    def catch_up(self) -> bool:
        """Write what was set aside, also by processes that have ended; False where the store does
        not take it yet. Within a transaction nothing is done: it might be undone."""
        if self._store.in_transaction:
            return True
        if self._unkept:
            try:
                self._write_all(self._unkept)
            except StoreError:
                return False
            self._unkept.clear()
        for path in self._spool.waiting():
            try:
                self._write_all(self._spool.read(path))
            except StoreError:
                return False
            except FileNotFoundError:
                continue  # another process has written it
            except (OSError, ValueError, TypeError, KeyError, LookupError):
                self._spool.spoilt(path)
                continue
            self._spool.done(path)
        self._behind = None
        return True

    def _write_all(self, records: Sequence[Record]) -> None:
        with self.unit():
            for record in records:
                self._write_late(record)

    def _write_late(self, record: Record) -> None:
        request = int(record["request"])
        if "end" in record:
            self.end_request(request, RequestEnd(**record["end"]))
            return
        began = begun_of(record)
        if began is None:
            promote(self._store.db, (request,))
        else:
            self.reinstate(*began)
        super().end_attempt(
            request,
            int(record["n"]),
            attempt_end_of(record),
            priced=record["priced"],
            allowance=allowance_of(record),
        )

"""Configuration and usage of several machines, met in a git repository of the user's own (A10).

The repository holds ``fleet.toml``, the fleet that all share, and ``usage/<machine>/``, which
that machine alone writes: two machines' usage can neither clash nor be counted twice.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from msgspec import Struct

from omni_cli.domain.analytics import TOTALS_FIELDS, Totals, sum_totals
from omni_cli.domain.document import document
from omni_cli.domain.errors import Busy, ConfigError, UsageError
from omni_cli.domain.record import asdict
from omni_cli.domain.secrets import scrub
from omni_cli.ports import Clock
from omni_cli.records import UsageLine
from omni_cli.repositories import Reports, Store
from omni_cli.services.fleet.apply import Change, FleetApplier, compare
from omni_cli.services.fleet.fleet import FleetService
from omni_cli.services.money.report_documents import totals_document

Side = Literal["mine", "theirs"]
_TABLES = ("providers", "models", "roles", "chains", "budgets")
_RULES = "rules"


class Conflict(Struct, frozen=True):
    """One thing that both sides changed, differently. Lines are those of ``omni diff``."""

    section: str
    name: str
    mine: tuple[str, ...]
    theirs: tuple[str, ...]


def merge(
    base: Mapping[str, Any],
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    prefer: Side | None = None,
) -> tuple[dict[str, Any], list[Conflict]]:
    """Both sides' changes since ``base``, as fleet documents.

    Each provider, model, role, chain and budget is one thing, and the rules together are one:
    their order counts. ``prefer`` settles what both changed; without it the conflicts are
    returned, and the document holds this side's version of them.
    """
    merged: dict[str, Any] = {}
    conflicts: list[Conflict] = []

    def settle(section: str, name: str, b: Any, m: Any, t: Any) -> Any:
        if m == t or t == b:
            return m
        if m == b:
            return t
        if prefer is None:
            conflicts.append(
                Conflict(section, name, _lines(section, name, b, m), _lines(section, name, b, t))
            )
        return t if prefer == "theirs" else m

    for section in _TABLES:
        b, m, t = base.get(section, {}), mine.get(section, {}), theirs.get(section, {})
        kept = {
            name: value
            for name in sorted({*m, *t})
            if (value := settle(section, name, b.get(name), m.get(name), t.get(name))) is not None
        }
        if kept:
            merged[section] = kept
    rules = settle(_RULES, "", base.get(_RULES), mine.get(_RULES), theirs.get(_RULES))
    if rules:
        merged[_RULES] = rules
    return merged, conflicts


def _lines(section: str, name: str, before: Any, after: Any) -> tuple[str, ...]:
    def document(value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        return {section: value if section == _RULES else {name: value}}

    changes = compare(document(before), document(after))
    return tuple(line for change in changes for line in change.lines())


KEYS = ("source", "org", "key", "provider", "model", "role", "agent", "task")


def months(lines: Iterable[UsageLine]) -> dict[str, str]:
    """The text of each month's file by ``yyyy-mm``."""
    found: dict[str, list[str]] = {}
    for line in lines:
        year, month, day = line.day // 10_000, line.day // 100 % 100, line.day % 100
        # Labels are the user's own words; what looks like a key among them stays at home.
        keys = {name: scrub(line.keys[name]) for name in KEYS if line.keys[name]}
        sums = {name: value for name, value in asdict(line.totals).items() if value}
        row = {"day": f"{year:04d}-{month:02d}-{day:02d}", **keys, **sums}
        found.setdefault(f"{year:04d}-{month:02d}", []).append(
            json.dumps(row, ensure_ascii=False) + "\n"
        )
    return {month: "".join(rows) for month, rows in found.items()}


def read(name: str, text: str) -> Iterator[tuple[Mapping[str, str], Totals]]:
    """The rows of a month's file: what they are cut by ("day" too), and their sums.

    Raises ConfigError, which names the line, where a file is damaged.
    """
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            sums = {key: row[key] for key in TOTALS_FIELDS if key in row}
            keys = {key: row.get(key, "") for key in ("day", *KEYS)}
        except (ValueError, TypeError, AttributeError) as exc:
            raise _damaged(name, number) from exc
        if not keys["day"] or not all(isinstance(value, str) for value in keys.values()):
            raise _damaged(name, number)
        if not all(type(value) is int for value in sums.values()):
            raise _damaged(name, number)
        yield keys, Totals(**sums)


def _damaged(name: str, number: int) -> ConfigError:
    return ConfigError(
        f"{name}, line {number}, is no usage of omni's",
        hint="omni sync on the machine that wrote it writes it anew",
    )


FLEET = "fleet.toml"
README = "README.md"
BY = ("machine", "day", *KEYS)
_BASE, _MACHINE, _AT = "sync_base", "sync_machine", "sync_at"
_TRIES = 5
_ABOUT = """# omni sync

Written by `omni sync`. `fleet.toml` is the fleet that all machines share; `usage/MACHINE/` has
what each machine used, a file a month, a line for each day and kind of use: integer tokens, money
in nano-dollars. No key, no prompt and no answer is in here.
"""


class Clone(Protocol):
    """See store/git_clone.py."""

    @property
    def exists(self) -> bool: ...
    def url(self) -> str: ...
    def clone(self, url: str) -> None: ...
    def locked(self) -> AbstractContextManager[None]: ...
    def pull(self) -> None: ...
    def push(self, message: str) -> bool | None: ...
    def text(self, name: str) -> str | None: ...
    def write(self, name: str, text: str) -> None: ...
    def delete(self, name: str) -> None: ...
    def names(self, pattern: str) -> list[str]: ...


class Synced(Struct, frozen=True):
    """``pulled``: what changed here; ``pushed``: what this machine changed in the shared fleet.
    With ``conflicts`` nothing was changed anywhere."""

    pulled: tuple[Change, ...] = ()
    pushed: tuple[Change, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    sent: bool = False


class SyncStatus(Struct, frozen=True):
    """As of the last sync, without a look at the remote. ``changes``: the fleet's since then."""

    url: str
    machine: str
    machines: tuple[str, ...]
    synced_at: int | None
    changes: tuple[Change, ...]


class SyncService(Struct, kw_only=True, eq=False):
    """Args:
    machine_name: what people call this machine.
    new_id: makes a machine's id, once.
    """

    clone: Clone
    fleet: FleetService
    applier: FleetApplier
    reports: Reports
    memory: Store
    machine_name: str
    new_id: Callable[[], str]
    clock: Clock

    @property
    def machine(self) -> str:
        """This machine's id; made on first use, kept in the store."""
        with self.memory.transaction():
            found = self.memory.get_meta(_MACHINE)
            if not found:
                found = self.new_id()
                self.memory.set_meta(_MACHINE, found)
        return found

    def init(self, url: str) -> None:
        """Clone the repository to sync with. Raises UsageError, ConfigError."""
        if re.match(r"\w+://[^/@]*:[^/@]*@", url):
            raise UsageError(
                "the address holds a password, which git would keep in plain text",
                hint="leave it out; git asks its credential helper",
            )
        with self.clone.locked():
            self.clone.clone(url)
            self.memory.set_meta(_BASE, "")
            self.memory.set_meta(_AT, "")

    def sync(self, prefer: Side | None = None) -> Synced:
        """Pull, merge, push.

        Args:
            prefer: whose version counts of what both sides changed.

        Raises:
            NotFound: not set up. Busy: another omni is syncing, or others push all the time.
            ConfigError: git failed, or a file of the repository is damaged.
            UsageError: the merged fleet does not fit together.
        """
        self.clone.url()
        with self.clone.locked():
            pulled: list[Change] = []
            pushed: list[Change] = []
            for _ in range(_TRIES):
                self.clone.pull()
                met = self._meet(prefer)
                if met.conflicts:
                    return met
                pulled += met.pulled
                pushed = list(met.pushed)
                text = self.fleet.document()
                self._write(text)
                sent = self.clone.push(f"omni sync from {self.machine_name}")
                if sent is False:
                    continue
                with self.memory.transaction():
                    self.memory.set_meta(_BASE, text)
                    self.memory.set_meta(_AT, str(int(self.clock() * 1000)))
                return Synced(tuple(pulled), tuple(pushed), sent=bool(sent))
        raise Busy("others push to the repository all the time", hint="omni sync tries again")

    def _meet(self, prefer: Side | None) -> Synced:
        """Bring the repository's fleet and this machine's together, here."""
        text = self.clone.text(FLEET)
        if text is None:
            return Synced(pushed=tuple(compare({}, self._now())))
        theirs = _parsed(text, FLEET)
        base = _parsed(self.memory.get_meta(_BASE) or "", "the last sync")
        mine = self._now()
        merged, conflicts = merge(base, mine, theirs, prefer)
        if conflicts:
            return Synced(conflicts=tuple(conflicts))
        self.applier.parse(merged)
        with self.memory.transaction():
            pulled = self.applier.apply(merged, action="sync", target="pulled")
            # From here on only what is changed on this machine is this machine's change.
            self.memory.set_meta(_BASE, text)
        return Synced(tuple(pulled), tuple(compare(theirs, merged)))

    def _now(self) -> dict[str, Any]:
        return tomllib.loads(self.fleet.document())

    def _write(self, fleet: str) -> None:
        if scrub(fleet) != fleet:
            raise ConfigError(
                "something in the fleet looks like a key, so it is not sent anywhere",
                hint="omni fleet export shows it; keys belong into: omni providers key",
            )
        folder = f"usage/{self.machine}"
        files = {
            f"{folder}/{month}.jsonl": text
            for month, text in months(self.reports.lines(0, 99_999_999)).items()
        }
        for name in self.clone.names(f"{folder}/*.jsonl"):
            if name not in files:
                self.clone.delete(name)
        files[f"{folder}/machine.json"] = json.dumps({"name": self.machine_name}) + "\n"
        files[FLEET] = fleet
        if self.clone.text(README) is None:
            files[README] = _ABOUT
        for name, text in files.items():
            self.clone.write(name, text)

    def status(self) -> SyncStatus:
        """Raises NotFound where sync is not set up."""
        base, at = self.memory.get_meta(_BASE), self.memory.get_meta(_AT)
        before = _parsed(base or "", "the last sync")
        return SyncStatus(
            scrub(self.clone.url()),
            self.machine,
            tuple(name for name, _ in self._machines()),
            int(at) if at else None,
            tuple(compare(before, self._now())),
        )

    def usage(self, by: str = "machine") -> dict[str, Totals]:
        """All machines' usage since ever, the dearest first: the others' as of the last sync, this
        one's as of now.

        Raises UsageError on an unknown ``by``, ConfigError where a file is damaged.
        """
        if by not in BY:
            raise UsageError(f"cannot add up by {by!r}", hint=f"one of {', '.join(BY)}")
        self.clone.url()
        sums: dict[str, Totals] = {}
        for machine, files in self._usage_files():
            for name, text in files:
                for keys, totals in read(name, text):
                    group = machine if by == "machine" else keys[by]
                    sums[group] = sums.get(group, Totals()) + totals
        return dict(sorted(sums.items(), key=lambda item: (-item[1].cost_nusd, item[0])))

    def machine_names(self) -> dict[str, str]:
        """What people call each machine, by id."""
        named = {self.machine: self.machine_name}
        for machine, text in self._machines():
            try:
                named.setdefault(machine, str(json.loads(text)["name"]))
            except (ValueError, KeyError, TypeError):
                named[machine] = machine
        return named

    def _machines(self) -> list[tuple[str, str]]:
        names = self.clone.names("usage/*/machine.json")
        return [(name.split("/")[1], self.clone.text(name) or "") for name in names]

    def _usage_files(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        own = months(self.reports.lines(0, 99_999_999))
        yield self.machine, list(own.items())
        for name in self.clone.names("usage/*/*.jsonl"):
            machine = name.split("/")[1]
            if machine != self.machine:
                yield machine, [(name, self.clone.text(name) or "")]


def synced_document(done: Synced) -> dict[str, Any]:
    return {
        "synced": not done.conflicts,
        "sent": done.sent,
        "pulled": [_change(one) for one in done.pulled],
        "pushed": [_change(one) for one in done.pushed],
        "conflicts": [document(conflict) for conflict in done.conflicts],
    }


def status_document(found: SyncStatus) -> dict[str, Any]:
    return {
        "repository": found.url,
        **document(found, "machine", "machines", "synced_at"),
        "changes": [_change(change) for change in found.changes],
    }


def usage_document(by: str, sums: Mapping[str, Totals], names: Mapping[str, str]) -> dict[str, Any]:
    """``names``: what people call the machines, where ``by`` is that."""
    rows = [
        {by: key, **({"name": names.get(key, key)} if names else {}), **totals_document(totals)}
        for key, totals in sums.items()
    ]
    return {"by": by, "rows": rows, "total": totals_document(sum_totals(sums.values()))}


def _change(change: Change) -> dict[str, Any]:
    return document(change, "kind", "section", "name")


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{name} of the sync repository is no TOML: {exc}") from exc

"""The fleet's past: what each revision changed, going back to one, and taking back the last."""

import tomllib
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.records import Revision
from omni_cli.repositories import Audit
from omni_cli.services.fleet.apply import Change, FleetApplier, compare

#: What revisions give as their reason that went back; that took the last one back, and so lead to
#: the one before it; that took back another one only.
_ROLLBACK, _UNDO, _TAKE = "fleet.rollback", "fleet.undo", "fleet.takeback"
_UNDONE, _TAKEN = f"{_UNDO} revision ", f"{_TAKE} revision "


class History(Struct, kw_only=True, eq=False):
    audit: Audit
    applier: FleetApplier

    def revision(self, number: int) -> Revision:
        """Raises NotFound."""
        found = self.audit.revision(number)
        if found is None:
            raise NotFound(f"no revision {number}", hint="omni history lists them")
        return found

    def document(self, number: int) -> dict[str, Any]:
        """The fleet as it was. Raises NotFound."""
        return tomllib.loads(self.revision(number).fleet)

    def changes(self, number: int) -> list[Change]:
        """What a revision changed. Raises NotFound."""
        before = self.audit.revision(number - 1)
        old = {} if before is None else tomllib.loads(before.fleet)
        return compare(old, self.document(number))

    def plan(self, number: int) -> list[Change]:
        """What going back to a revision would change now. Raises NotFound, UsageError."""
        return self.applier.plan(self.document(number))

    def roll_back(self, number: int) -> list[Change]:
        """Go back to a revision, as a new one. Raises NotFound, UsageError."""
        document = self.document(number)
        return self.applier.apply(document, action=_ROLLBACK, target=f"revision {number}")

    def last(self) -> Revision | None:
        """The change that ``undo`` would take back, behind any that were; None: there is none."""
        newest = self.audit.revisions(limit=1)
        found, taken = newest[0] if newest else None, set[int]()
        while found is not None:
            if found.reason.startswith(_UNDONE):
                found = self.audit.revision(int(found.reason.removeprefix(_UNDONE)))
                continue
            if found.reason.startswith(_TAKEN):
                taken.add(int(found.reason.removeprefix(_TAKEN)))
            elif found.number not in taken:
                break
            found = self.audit.revision(found.number - 1)
        return found

    def undo(self) -> Revision:
        """Take the last change back, as a revision of its own; again: one change further.

        Returns the change that was taken back. Raises UsageError: there is none.
        """
        found = self.last()
        if found is None or self.audit.revision(found.number - 1) is None:
            newest = self.audit.revisions(limit=1)
            why = f"the fleet's last change was {newest[0].reason}" if newest else "none was made"
            raise UsageError(
                f"no change of the fleet to take back: {why}",
                hint="omni history lists all changes; omni rollback N goes back to any",
            )
        return self.take_back(found.number)

    def take_back(self, number: int) -> Revision:
        """Take one change back and leave what was changed since, as a revision of its own.

        Returns the change that was taken back. Raises NotFound; UsageError: what it changed was
        changed again since.
        """
        found, document = self.revision(number), self.applier.current()
        if document == tomllib.loads(found.fleet):
            action, target = _UNDO, f"revision {number - 1}"
            document = self.document(number - 1)
        else:
            action, target = _TAKE, f"revision {number}"
            for change in self.changes(number):
                _revert(document, change, f"revision {number}")
        self.applier.apply(document, action=action, target=target)
        return found


def _revert(document: dict[str, Any], change: Change, what: str) -> None:
    """Put what a change changed back into ``document``. Raises UsageError: it is another now."""
    section, name = change.section, change.name
    rules = section == "rules"
    # Rules are a list, and their order says who comes first; one that went comes back as the last.
    held = document.setdefault(section, [] if rules else {})
    there = next((r for r in held if r == change.after), None) if rules else held.get(name)
    if there != change.after or (rules and change.before is None and change.after is None):
        raise UsageError(
            f"{section.rstrip('s')} {name} was changed again after {what}",
            hint="omni history lists all changes; omni rollback N goes back to any",
        )
    if not rules:
        held.pop(name, None)
        if change.before is not None:
            held[name] = change.before
        return
    at = held.index(there) if there is not None else len(held)
    held[at : at + 1] = [] if change.before is None else [change.before]

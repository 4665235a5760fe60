"""The fleet's past: what each revision changed, going back to one, and taking back the last."""

import tomllib
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.records import Revision
from omni_cli.repositories import Audit
from omni_cli.services.fleet.apply import Change, FleetApplier, compare

#: What revisions give as their reason that went back, and that took one back.
_ROLLBACK, _UNDO = "fleet.rollback", "fleet.undo"
_UNDONE = f"{_UNDO} revision "


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

    def last(self, kind: str = "") -> Revision | None:
        """The change that ``undo`` would take back, behind any that were; None: there is none.

        Args:
            kind: how its reason begins, such as "chain."; None where the last one is another.
        """
        newest = self.audit.revisions(limit=1)
        found = newest[0] if newest else None
        while found is not None and found.reason.startswith(_UNDONE):
            found = self.audit.revision(int(found.reason.removeprefix(_UNDONE)))
        return found if found is not None and found.reason.startswith(kind) else None

    def undo(self, kind: str = "") -> Revision:
        """Take the last change back, as a revision of its own; again: one change further.

        Returns the change that was taken back. Raises UsageError: there is none.
        """
        found = self.last(kind)
        before = None if found is None else self.audit.revision(found.number - 1)
        if found is None or before is None:
            newest = self.audit.revisions(limit=1)
            why = f"the fleet's last change was {newest[0].reason}" if newest else "none was made"
            what = f"change of a {kind.rstrip('.')}" if kind else "change of the fleet"
            raise UsageError(
                f"no {what} to take back: {why}",
                hint="omni history lists all changes; omni rollback N goes back to any",
            )
        target = f"revision {before.number}"
        self.applier.apply(tomllib.loads(before.fleet), action=_UNDO, target=target)
        return found

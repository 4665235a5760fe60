"""Deploys under watch: on a share of traffic first, and back by themselves when they do harm.

A canary sends a share of a role's new conversations to the model that the document puts first
there: an A/B test for each role that it changes, which keeps a conversation with one model. A
whole deploy is applied at once. Both may carry a condition (domain/guard.py); whoever looks first
(``omni watch``, the gateway, a chat) takes the deploy back, once.
"""

import tomllib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from omni_cli.domain.document import document
from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.guard import Evidence, evidence, parse_conditions
from omni_cli.domain.periods import iso
from omni_cli.ports import Clock
from omni_cli.records import Deploy, DeployState
from omni_cli.repositories import Audit, Store
from omni_cli.repositories import Deploys as Stored
from omni_cli.services.fleet.apply import Change, FleetApplier
from omni_cli.services.judge.abtest import AbTests, Settings
from omni_cli.services.judge.alerts import Alert, Level


class Standing(Struct, frozen=True):
    """A deploy, and what its traffic shows so far."""

    deploy: Deploy
    calls: int
    evidence: tuple[Evidence, ...]


class Deploys(Struct, kw_only=True, eq=False):
    """Watched deploys: begun, looked at, taken back or let stand."""

    stored: Stored
    applier: FleetApplier
    abtests: AbTests
    revisions: Audit
    unit: Store
    clock: Clock

    def begin(
        self,
        document: Mapping[str, Any],
        *,
        share: float | None,
        for_s: float | None,
        condition: str,
        target: str,
    ) -> list[Change]:
        """Apply ``document`` to a share of traffic, or whole and watched.

        Args:
            for_s: seconds after which it stands; None: until it is promoted or aborted.
            condition: as ``parse_conditions`` takes it, or "".

        Raises:
            UsageError: it cannot be tried on a share, another deploy is under way, or a
                condition does not parse; nothing is written then.
        """
        if condition:
            parse_conditions(condition)
        changes = self.applier.plan(document)
        if not changes:
            return []
        now = self._now()
        leads = self._leads(changes) if share is not None else {}
        with self.unit.transaction():
            base = self._newest()
            tests: dict[str, int] = {}
            for role, model in leads.items():
                assert share is not None
                tests[role] = self.abtests.start(role, model, share, Settings()).id
            if share is None:
                self.applier.apply(document, action="fleet.apply", target=target)
            self.stored.start(
                Deploy(
                    id=0,
                    started_at=now,
                    ended_at=None,
                    until_at=None if for_s is None else now + int(for_s * 1000),
                    state="watching" if share is None else "canary",
                    share=share,
                    condition=condition,
                    base_revision=base,
                    revision=self._newest(),
                    document=dict(document),
                    tests=tests,
                    reason="",
                )
            )
        return changes

    def _leads(self, changes: list[Change]) -> dict[str, str]:
        """Roles whose first model changes. Raises UsageError: something else changes too."""
        found: dict[str, str] = {}
        for change in changes:
            models = change.after.get("models") if isinstance(change.after, dict) else None
            if change.section != "roles" or change.kind != "change" or not models:
                raise UsageError(
                    f"{change.section} {change.name} cannot be tried on a share of traffic",
                    hint="a share is for which model leads a role; apply the rest first, or all "
                    "of it with --rollback-if",
                )
            first = min(models, key=lambda item: item["priority"])["model"]
            before = min(change.before["models"], key=lambda item: item["priority"])["model"]
            if first == before:
                raise UsageError(
                    f"role {change.name} keeps its first model, so a share of it shows nothing",
                    hint="leave --share out",
                )
            found[change.name] = first
        return found

    # --- looking ------------------------------------------------------------------------------

    def standing(self, deploy: Deploy) -> Standing:
        """What its traffic shows."""
        calls = self.stored.calls(deploy)
        conditions = parse_conditions(deploy.condition) if deploy.condition else ()
        return Standing(deploy, len(calls), tuple(evidence(conditions, calls)))

    def check(self) -> list[Alert]:
        """Take the deploy under way back where its condition is shown, or let it stand when its
        time is over; what was done, as alerts."""
        deploy = self.stored.open()
        if deploy is None:
            return []
        standing = self.standing(deploy)
        shown = [one for one in standing.evidence if one.shown]
        if shown:
            why = "; ".join(_words(one) for one in shown)
            return [self._alert(deploy, "error", self._back(deploy, why))]
        ended = self._ended_tests(deploy)
        if ended:
            return [self._alert(deploy, "error", self._back(deploy, ended))]
        if deploy.until_at is not None and self._now() >= deploy.until_at:
            return [self._alert(deploy, "info", self._stand(deploy, "its time is over"))]
        return []

    def _ended_tests(self, deploy: Deploy) -> str:
        """Why one of a canary's tests ended by itself, or ""."""
        if deploy.share is None:
            return ""
        running = {test.id for test in self.abtests.tests()}
        for role, number in deploy.tests.items():
            if number not in running:
                tests = self.abtests.tests(role, ended=True)
                reason = next((test.reason for test in tests if test.id == number), "")
                return f"the test of role {role} ended: {reason}"
        return ""

    # --- ending -------------------------------------------------------------------------------

    def promote(self) -> str:
        """Let the deploy under way stand; what was done. Raises NotFound."""
        return self._stand(self._under_way(), "promoted by the user")

    def abort(self, reason: str = "aborted by the user") -> str:
        """Take the deploy under way back; what was done. Raises NotFound."""
        deploy = self._under_way()
        return self._back(deploy, reason, state="aborted")

    def _under_way(self) -> Deploy:
        deploy = self.stored.open()
        if deploy is None:
            raise NotFound("no deploy is under way", hint="omni apply FILE --share 10% begins one")
        return deploy

    def _stand(self, deploy: Deploy, reason: str) -> str:
        with self.unit.transaction():
            state: DeployState = "held" if deploy.share is None else "promoted"
            if not self.stored.end(deploy.id, state, reason, at_ms=self._now()):
                return "another process has ended it"
            if deploy.share is None:
                return f"revision {deploy.revision} stands: {reason}"
            self._stop_tests(deploy, "the canary was promoted")
            self.applier.apply(deploy.document, action="fleet.promote", target=f"{deploy.id}")
            return f"applied to all as revision {self._newest()}: {reason}"

    def _back(self, deploy: Deploy, reason: str, *, state: DeployState = "rolled_back") -> str:
        with self.unit.transaction():
            number = deploy.base_revision
            changed = deploy.share is None and self._newest() != deploy.revision
            # Before the first revision the fleet was empty.
            before = self.revisions.revision(number) if number else None
            lost = deploy.share is None and bool(number) and before is None
            final: DeployState = "left" if changed or lost else state
            if not self.stored.end(deploy.id, final, reason, at_ms=self._now()):
                return "another process has ended it"
            if lost:
                return (
                    f"{reason}; not rolled back, because revision {number} is not kept any more: "
                    "omni history lists those that are"
                )
            if changed:
                return (
                    f"{reason}; not rolled back, because the fleet was changed since: "
                    f"omni rollback {number} goes back all the way"
                )
            if deploy.share is not None:
                self._stop_tests(deploy, reason)
                return f"all traffic is with the models of before: {reason}"
            base = {} if before is None else tomllib.loads(before.fleet)
            target = f"revision {number}" if number else "the empty fleet"
            self.applier.apply(base, action="fleet.rollback.automatic", target=target)
            return f"rolled back to {target} as revision {self._newest()}: {reason}"

    def _stop_tests(self, deploy: Deploy, reason: str) -> None:
        for role, number in deploy.tests.items():
            if any(test.id == number for test in self.abtests.tests(role)):
                self.abtests.stop(role, reason)

    def _alert(self, deploy: Deploy, level: Level, text: str) -> Alert:
        kind = "canary" if deploy.share is not None else "deploy"
        return Alert(f"deploy:{deploy.id}", level, f"{kind} {deploy.id} ended", text)

    def _newest(self) -> int:
        found = self.revisions.revisions(limit=1)
        return int(found[0].number) if found else 0

    def _now(self) -> int:
        return int(self.clock() * 1000)


def _words(one: Evidence) -> str:
    value = "unknown" if one.value is None else f"{one.value:.4g}"
    return f"{one.condition.text} is shown: {value} over {one.calls} calls"


def standing_document(one: Standing) -> dict[str, Any]:
    deploy = one.deploy
    return {
        **document(deploy, "id", "state", "share", "started_at"),
        "until": iso(deploy.until_at),
        **document(deploy, "ended_at", "base_revision", "revision"),
        "roles": sorted(deploy.tests),
        "reason": deploy.reason,
        "calls": one.calls,
        "conditions": [
            {
                "condition": found.condition.text,
                "calls": found.calls,
                "value": found.value,
                "evidence": round(found.e, 3),
                "shown": found.shown,
            }
            for found in one.evidence
        ],
    }

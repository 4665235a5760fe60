"""Give a role another first model: a real call of each kind that the role gets proves it, and a
failure puts everything back."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

from msgspec import Struct

from omni_cli.domain.analytics import Totals, day_key, key_date
from omni_cli.domain.chat import Usage
from omni_cli.domain.document import document
from omni_cli.domain.errors import (
    AllProvidersFailed,
    BudgetExceeded,
    NotFound,
    OmniError,
    UnknownPrice,
    UsageError,
)
from omni_cli.domain.ledger import EVALUATION
from omni_cli.domain.models import Role, RoleModel
from omni_cli.domain.money import usd
from omni_cli.domain.periods import local_date
from omni_cli.domain.record import asdict, replace
from omni_cli.ports import Clock
from omni_cli.repositories import Models, Reports, Store
from omni_cli.services.engine.chat import ChatService
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.fleet_view import Quality
from omni_cli.services.engine.role_calls import (
    CALLS,
    GETS,
    SAID,
    Kind,
    cannot,
    doubt,
    flaw,
    kinds_of,
    request_of,
)
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.services.fleet.fleet import FleetService
from omni_cli.services.money.prices import PriceBook, sum_cost_or_none

#: Calls of this many days tell what a model costs in a role.
WINDOW_DAYS = 28
#: A switch is done within 30 s: two tries of this length, shared by the kinds of call, and no
#: wait that a provider asks for.
_TIMEOUT_MS = 12_000


class Effect(Struct, frozen=True):
    """A model in a role. ``measured``: from its own calls there; else expected: the role's
    calls at this model's price. Each figure is None where nothing tells it."""

    model: str | None
    measured: bool
    calls: int
    cost_per_call_nusd: int | None
    latency_ms: int | None
    quality: float | None


class Preview(Struct, frozen=True):
    """A switch that was not done. ``calls_a_day``: of the role, since its first call in four
    weeks. ``lacks``: what the role gets and the model cannot take, in words."""

    role: str
    before: Effect
    after: Effect
    calls_a_day: float
    lacks: tuple[str, ...] = ()

    def a_day_nusd(self, effect: Effect) -> int | None:
        """What the role's calls cost a day; None where a call's cost is unknown."""
        cost = effect.cost_per_call_nusd
        return None if cost is None else round(cost * self.calls_a_day)

    @property
    def ratio(self) -> float | None:
        """What a call costs then, in what it costs now; None where either is unknown or free."""
        now, then = self.before.cost_per_call_nusd, self.after.cost_per_call_nusd
        return None if not now or then is None else then / now


class Verification(Struct, frozen=True):
    """One real call. ``cost_nusd`` None: the model's price is unknown."""

    kind: Kind
    request: int
    latency_ms: int | None
    cost_nusd: int | None


class Switched(Struct, frozen=True):
    """``verifications``: a call of each kind that the role gets; empty where none was wanted.
    ``notes``: what keeps calls from the model all the same."""

    role: Role
    before: Effect
    after: Effect
    verifications: tuple[Verification, ...]
    notes: tuple[str, ...] = ()


class RoleSwitcher(Struct, kw_only=True, eq=False):
    """Args:
    quality: what the router thinks of models, by kind of task.
    """

    fleet: FleetService
    models: Models
    reports: Reports
    chat: Callable[[], ChatService]
    quality: Callable[[], Quality]
    memory: Store
    zone: str
    clock: Clock

    def switch(self, role_name: str, model_name: str, *, verify: bool = True) -> Switched:
        """Make a model the role's first.

        Raises:
            NotFound: no such role or model.
            UsageError: the model is the first already.
            AllProvidersFailed: a call failed, or the model cannot take what the role gets; the
                role is as it was (exit 5).
            BudgetExceeded, UnknownPrice: a call was not allowed; the role is as it was.
        """
        old = self.fleet.role(role_name)
        model = self.fleet.model(model_name)
        first = old.models[0].model if old.models else None
        if first == model.id:
            raise UsageError(f"{model.id} is the first model of role {role_name} already")
        before, after = self._effects(role_name, first, model.id)
        kinds = self.kinds(old)
        kind: Kind
        for kind in kinds if verify else ():
            if lack := cannot(kind, model):
                raise AllProvidersFailed(
                    f"role {role_name} gets {GETS[kind]}, and {model.id} takes none; it stays on "
                    f"{first or 'no model'}",
                    hint=f"{lack}; --no-verify switches without a call",
                )
        fresh = _put_first(old, model.id)
        status, own = self.fleet.kept_status(model.id)
        with self.fleet.change("role.switch", role_name, first, model.id):
            self.fleet.put_role(fresh)
            if model.status != "active":
                self.fleet.set_status(model.id, "active")
            self._remember(old, fresh, status, own)
        if not verify:
            return Switched(fresh, before, after, ())
        found: list[Verification] = []
        try:
            for kind in kinds:
                found.append(self._verify(role_name, model.id, kind, len(kinds)))
        except BaseException as exc:
            self.undo(role_name)
            kept = f"role {role_name} is back on {first or 'no model'}"
            if isinstance(exc, BudgetExceeded | UnknownPrice):
                raise type(exc)(f"{exc.message}; {kept}", hint=exc.hint) from exc
            if isinstance(exc, OmniError):
                raise AllProvidersFailed(
                    f"{model.id} did not pass {CALLS[kind]}: {exc.message}; {kept}",
                    hint=exc.hint or "--no-verify switches without a call",
                ) from exc
            raise
        rest = [self.models.get(item.model) for item in fresh.models[1:]]
        notes = tuple(why for kind in kinds if any(rest) and (why := doubt(kind, model)))
        return Switched(fresh, before, after, tuple(found), notes)

    def kinds(self, role: Role) -> tuple[Kind, ...]:
        """The kinds of call that a role gets."""
        calls: dict[str, int] = {}
        by = self.reports.totals(*self._days(), ["source", "task"], {"role": role.name})
        for (source, task), sums in by.items():
            if source not in EVALUATION:
                calls[task] = calls.get(task, 0) + sums.calls
        models = [model for item in role.models if (model := self.models.get(item.model))]
        return kinds_of(role, calls, models)

    def undo(self, role_name: str) -> Role:
        """Take the last switch of a role back.

        Raises:
            NotFound: there is none, or it was taken back already.
            UsageError: the role was changed since.
        """
        text = self.memory.get_meta(_key(role_name))
        if not text:
            raise NotFound(f"no switch of role {role_name} to undo", hint="omni history lists more")
        kept = json.loads(text)
        old, fresh = _role(kept["before"]), _role(kept["after"])
        now = self.fleet.role(role_name)
        if now != fresh:
            raise UsageError(
                f"role {role_name} was changed since the switch",
                hint="omni history lists revisions, omni rollback N brings one back",
            )
        first = old.models[0].model if old.models else None
        with self.fleet.change("role.switch.undo", role_name, fresh.models[0].model, first):
            self.fleet.put_role(old)
            model = self.models.get(fresh.models[0].model)
            unused = model is not None and not self.fleet.uses(model.id)
            if model is not None and unused and model.status != kept["status"]:
                self.fleet.put_back(model.id, kept["status"], kept.get("own", True))
            self.memory.set_meta(_key(role_name), "")
        return old

    def _remember(self, old: Role, fresh: Role, status: str, own: bool) -> None:
        kept = {"before": asdict(old), "after": asdict(fresh), "status": status, "own": own}
        self.memory.set_meta(_key(old.name), json.dumps(kept))

    def _verify(self, role_name: str, model_id: str, kind: Kind, of: int) -> Verification:
        try:
            return self._ask(role_name, model_id, kind, _TIMEOUT_MS // of)
        except AllProvidersFailed as exc:
            if not exc.causes or not all(cause.retryable for _, cause in exc.causes):
                raise
        return self._ask(role_name, model_id, kind, _TIMEOUT_MS // of)

    def _ask(self, role_name: str, model_id: str, kind: Kind, timeout_ms: int) -> Verification:
        from omni_cli.services.engine.names import Selector

        chat = self.chat()
        job = ChatJob(
            request_of(kind),
            Selector("model", model_id),
            RouteOptions(role=role_name),
            source="test",
            keep=False,
        )
        plan = chat.plan(job)
        target = replace(plan.targets[0], timeout_ms=timeout_ms, max_retries=0)
        run = chat.start(replace(plan, targets=(target,)))
        with closing(chat.chunks(run)) as chunks:
            for _ in chunks:
                pass
        why = flaw(kind, run.completion)
        if why:
            raise AllProvidersFailed(why)
        row = run.row
        return Verification(
            kind,
            run.id,
            None if row is None else row.latency_ms,
            None if row is None else row.known_nusd,
        )

    def preview(self, role_name: str, model_name: str) -> Preview:
        """What a switch would do, before it is done; nothing is written or sent.

        Raises NotFound: no such role or model.
        """
        role, model = self.fleet.role(role_name), self.fleet.model(model_name)
        first = role.models[0].model if role.models else None
        before, after = self._effects(role_name, first, model.id)
        kinds = self.kinds(role)
        lacks = tuple(f"gets {GETS[kind]}: {why}" for kind in kinds if (why := cannot(kind, model)))
        return Preview(role_name, before, after, self._calls_a_day({"role": role_name}), lacks)

    def matrix(self, roles: Iterable[Role], models: Sequence[str]) -> dict[str, dict[str, Effect]]:
        """What each of these models costs and gives in each role, by role and model."""
        days = self._days()
        mine = self.reports.totals(*days, ["role", "model"])
        tasks = self.reports.totals(*days, ["role", "task"])
        anywhere = self.reports.totals(*days, ["model"])
        prices = self._prices(models)
        return {
            role.name: self._in_role(
                models,
                {(model,): sums for (name, model), sums in mine.items() if name == role.name},
                {task: s.calls for (name, task), s in tasks.items() if name == role.name},
                anywhere,
                prices,
            )
            for role in roles
        }

    def _days(self) -> tuple[int, int]:
        today = local_date(int(self.clock() * 1000), self.zone)
        return day_key(today - timedelta(days=WINDOW_DAYS)), day_key(today)

    def _calls_a_day(self, filters: Mapping[str, str]) -> float:
        """Since its first call in the window."""
        daily = {day: s.calls for day, s in self.reports.daily(*self._days(), filters).items()}
        used = [day for day, calls in daily.items() if calls]
        if not used:
            return 0.0
        today = local_date(int(self.clock() * 1000), self.zone)
        return sum(daily.values()) / ((today - key_date(min(used))).days + 1)

    def _prices(self, models: Iterable[str]) -> PriceBook:
        prices = PriceBook(self.models, now_ms=int(self.clock() * 1000))
        prices.load(models)
        return prices

    def _effects(self, role: str, first: str | None, fresh: str) -> tuple[Effect, Effect]:
        days, names = self._days(), [name for name in (first, fresh) if name is not None]
        tasks = self.reports.totals(*days, ["task"], {"role": role})
        found = self._in_role(
            names,
            self.reports.totals(*days, ["model"], {"role": role}),
            {task: sums.calls for (task,), sums in tasks.items()},
            self.reports.totals(*days, ["model"]),
            self._prices(names),
        )
        nobody = Effect(None, False, 0, None, None, None)
        return nobody if first is None else found[first], found[fresh]

    def _in_role(
        self,
        names: Sequence[str],
        by_model: Mapping[tuple[str, ...], Totals],
        tasks: Mapping[str, int],
        anywhere: Mapping[tuple[str, ...], Totals],
        prices: PriceBook,
    ) -> dict[str, Effect]:
        """Args:
        by_model, tasks: what models did in the role, and calls by kind of task.
        anywhere: what models did in all roles.
        """
        shares = {task: float(calls) for task, calls in tasks.items() if task and calls}
        judged = self.quality()(shares or _evenly(), names)
        every = sum(by_model.values(), Totals())

        def effect(name: str, quality: float | None) -> Effect:
            own = by_model.get((name,), Totals())
            timed = own if own.latency_calls else anywhere.get((name,), Totals())
            latency = timed.latency_ms // timed.latency_calls if timed.latency_calls else None
            cost: int | None = None
            if own.ok and not own.unknown_attempts:
                cost = own.cost_nusd // own.ok
            elif every.ok and (row := prices.current(name)) is not None:
                whole = sum_cost_or_none(
                    Usage(input_tokens=every.input_tokens, output_tokens=every.output_tokens),
                    row.price,
                    every.ok,
                )
                cost = None if whole is None else whole // every.ok
            return Effect(name, bool(own.ok), own.ok, cost, latency, quality)

        return {name: effect(name, mean) for name, (mean, _, _) in zip(names, judged, strict=True)}


def _evenly() -> dict[str, float]:
    from omni_cli.domain.tasks import TASK_TYPES

    return dict.fromkeys(TASK_TYPES, 1.0)


def _put_first(role: Role, model: str) -> Role:
    rest = [item for item in role.models if item.model != model]
    shift = int(any(item.priority == 1 for item in rest))
    moved = tuple(RoleModel(item.model, item.priority + shift) for item in rest)
    return replace(role, models=(RoleModel(model, 1), *moved))


def _key(role: str) -> str:
    return f"role_switch:{role}"


def _role(kept: Mapping[str, Any]) -> Role:
    models = tuple(RoleModel(item["model"], item["priority"]) for item in kept["models"])
    return Role(kept["name"], kept["description"], models)


def switched_document(done: Switched) -> dict[str, Any]:
    """What ``omni roles switch --json`` prints; money as decimal strings, null where unknown."""
    from omni_cli.domain.ids import id_text

    def plain(effect: Effect) -> dict[str, Any]:
        return {
            "model": effect.model,
            "basis": "measured" if effect.measured else "expected",
            **document(effect, "calls", "cost_per_call_nusd", "latency_ms"),
            "quality": None if effect.quality is None else round(effect.quality, 4),
        }

    checks = [
        {
            "kind": check.kind,
            "id": id_text(check.request),
            "latency_ms": check.latency_ms,
            "cost_usd": usd(check.cost_nusd),
        }
        for check in done.verifications
    ]
    return {
        "role": document(done.role),
        "before": plain(done.before),
        "after": plain(done.after),
        # The first call, and all of them: a role that gets images and tools has two.
        "verified": checks[0] if checks else None,
        "verifications": checks,
        "notes": list(done.notes),
        "undo": f"omni roles switch {done.role.name} --undo",
    }


def verified_lines(done: Switched) -> list[str]:
    """What was proved, a line for each kind of call, the same on every face."""
    from omni_cli.domain.money import format_usd

    return [
        f"answered {SAID[check.kind]}"
        + ("" if check.latency_ms is None else f" in {check.latency_ms:,} ms")
        + f" for {format_usd(check.cost_nusd)}"
        for check in done.verifications
    ]

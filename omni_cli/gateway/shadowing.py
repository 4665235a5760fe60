"""Challengers answer in the shadow of a role, or of what the router decides
(services/judge/shadow.py), after the caller has its own answer: from a queue in memory, one after
the other, in a thread with a store of its own.

What was asked is never written down, so what waits when the gateway ends is forgotten. A queue that
is full forgets the newest: callers go first.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from omni_cli.bootstrap import App
from omni_cli.domain.batch import unpack_decision
from omni_cli.domain.errors import BudgetExceeded, OmniError
from omni_cli.domain.shadow import Shadow

if TYPE_CHECKING:
    from omni_cli.gateway.deadlines import Deadlines
    from omni_cli.gateway.receipts import Receipt
    from omni_cli.services.judge.shadow import Answer

log = logging.getLogger("omni.gateway")

#: Requests that may wait.
_MOST = 100
#: How long a request's shadow lets callers go first, seconds, looking so often.
_PATIENCE_S, _LOOK_S = 2.0, 0.05
#: How long a shadow rests whose budget is used up, seconds.
_REST_S = 300.0
#: Pairs between two looks at what they show.
_EVERY = 5


class _Job(Struct):
    shadow: Shadow
    call: "Receipt"
    answer: "Answer"


class Shadowing:
    """Args:
    app: made into a second one, used in the thread only.
    deadlines: tells whether callers are waiting.
    """

    def __init__(self, app: App, deadlines: "Deadlines") -> None:
        self._app = App(app.env, clock=app.clock, org="")
        self._deadlines = deadlines
        self._waiting: asyncio.Queue[_Job] = asyncio.Queue(_MOST)
        self._task: asyncio.Task[None] | None = None
        self._full: dict[int, float] = {}
        #: By role; whoever looks after the gateway keeps it true.
        self.running: Mapping[str, Shadow] = {}
        self.paired = self.dropped = 0

    def chosen(self, role: str, request: int) -> Shadow | None:
        """The shadow that a request of this role is compared for."""
        shadow = self.running.get(role)
        if shadow is None:
            return None
        from omni_cli.services.judge.shadow import chosen

        return shadow if chosen(shadow, request) else None

    def offer(self, call: "Receipt", shadow: Shadow) -> None:
        """Compare a request that was answered, if it was by whom the shadow is of."""
        completion, target = call.progress.completion, call.progress.target
        now = asyncio.get_running_loop().time()
        if completion is None or target is None or shadow.champion not in ("", target.model.id):
            return
        if self._full.get(shadow.id, 0.0) > now:
            return
        from omni_cli.services.judge.shadow import Answer

        task = call.plan.task
        form = "" if task is None else task.form
        answer = Answer(
            call.new.id,
            target.model.id,
            unpack_decision(call.plan.decision),
            call.new.task,
            form,
            completion,
            call.total_nusd,
        )
        try:
            self._waiting.put_nowait(_Job(shadow, call, answer))
        except asyncio.QueueFull:
            self.dropped += 1
            return
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._waiting.empty():
            job = self._waiting.get_nowait()
            shadow, began = job.shadow, loop.time()
            while len(self._deadlines) and loop.time() - began < _PATIENCE_S:
                await asyncio.sleep(_LOOK_S)
            if self._full.get(shadow.id, 0.0) > loop.time():
                continue
            try:
                await asyncio.to_thread(self._pair, job)
            except BudgetExceeded as exc:
                log.info("shadow of %s rests: %s", shadow.of, exc.message)
                self._full[shadow.id] = loop.time() + _REST_S
            except OmniError as exc:
                log.warning("shadow of %s: %s", shadow.of, exc.message)
            except Exception:
                # Its place, not its words: these may hold what a caller sent.
                log.exception("unexpected error in the shadow of %s", shadow.of)

    def _pair(self, job: _Job) -> None:
        """In the thread."""
        from omni_cli.services.judge.shadow import told

        app = self._app
        app.refresh()
        parsed = job.call.ask.parsed()
        if parsed.left or parsed.refused:
            return  # it says what another model may not be asked, or would be asked otherwise
        if app.shadow.pair(job.shadow, parsed.request, job.answer) is None:
            return
        self.paired += 1
        if self.paired % _EVERY == 1:
            alerter = app.alerter(lambda alert: log.warning("%s: %s", alert.title, alert.text))
            for alert in told(app.shadow.evaluate(job.shadow)):
                alerter.consider(alert)
            alerter.finish()

    async def close(self) -> None:
        """Forget what waits; the one under way is paid for and ends."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        if self._task is not None:
            await asyncio.wait([self._task])
        self._app.close()

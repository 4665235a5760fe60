"""Reports and changes of the fleet: work for the store that a call must not wait for."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from omni_cli.bootstrap import App
from omni_cli.domain.errors import StoreError
from omni_cli.gateway.auth import Principal

Value = TypeVar("Value")
#: Organisations whose view of the fleet is kept ready: a caller may name any (?org=NAME).
_MOST_ORGS = 32


class Desk:
    """Runs one job after another in a thread, over a store connection of its own.

    Args:
        app: made into a second one; it is used in the thread only.
    """

    def __init__(self, app: App) -> None:
        self._app = App(app.env, clock=app.clock, org="")
        #: Of organisations, each over the first one's connection; made when first asked.
        self._orgs: dict[str, App] = {}
        self._lock = asyncio.Lock()
        #: Held while a job runs: whoever asked may have gone, its thread goes on.
        self._running = threading.Lock()
        self._closed = False

    async def do(self, job: Callable[[App], Value], who: Principal | None = None) -> Value:
        """Raises what ``job`` raises.

        Args:
            who: in whose name, for the audit log, and for which organisation; None: the
                gateway's own.
        """
        async with self._lock:
            return await asyncio.to_thread(self._locked, job, who)

    def _locked(self, job: Callable[[App], Value], who: Principal | None) -> Value:
        with self._running:
            if self._closed:
                raise StoreError("this gateway is ending")
            return self._run(job, who)

    def _run(self, job: Callable[[App], Value], who: Principal | None) -> Value:
        org = "" if who is None else who.org
        app = self._app if not org else self._orgs.pop(org, None)
        if app is None:
            if len(self._orgs) >= _MOST_ORGS:  # in the order of their last use
                self._orgs.pop(next(iter(self._orgs))).close()
            app = App(self._app.env, clock=self._app.clock, org=org)
            app.use(_db=self._app.store)
        if org:
            self._orgs[org] = app
        # What was read before may have changed since.
        app.refresh()
        if who is not None and who.key:
            app.who = f"key {who.key}" + (f" of {org}" if org else "")
        return job(app)

    def close(self) -> None:
        """After the job under way: a connection that is closed in use takes the process with it."""
        with self._running:
            self._closed = True
            for app in self._orgs.values():
                app.close()
            self._app.close()

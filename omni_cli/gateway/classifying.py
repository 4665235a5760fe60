"""A model as the classifier, at the gateway: asked in threads, so that nobody else waits."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest

#: Classifications at once.
_AT_ONCE = 8


class Classifying:
    """Args:
    app: made into one for each thread.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._pool: ThreadPoolExecutor | None = None
        self._own = threading.local()
        self._made: list[App] = []
        self._known: dict[bytes, str] = {}

    async def of(self, request: ChatRequest, name: str, key: str) -> str | None:
        """The type of a request by the model that ``name`` is, None where it does not say.

        Args:
            key: the caller's, whose budgets hold for this, too.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_AT_ONCE, "classifying")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._ask, request, name, key)

    def _ask(self, request: ChatRequest, name: str, key: str) -> str | None:
        app: App | None = getattr(self._own, "app", None)
        if app is None:
            app = self._own.app = App(self._app.env, clock=self._app.clock, org="")
            self._made.append(app)
        if app.classifier.name != name:  # the setting is another now
            app.refresh()
        app.classifier.known = self._known
        return app.classifier.of(request, key)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for app in self._made:
            app.close()

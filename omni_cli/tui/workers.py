"""Work in a worker thread over a session of its own, and from there back to the event loop."""

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from textual.app import App as TextualApp
from textual.screen import Screen
from textual.worker import get_current_worker

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.tui.data import Loader

if TYPE_CHECKING:
    from textual.widget import Widget as _Host

    from omni_cli.tui.app import OmniApp
else:
    _Host = object  # as a second Widget among the bases it would take part in what Textual sends

Done = TypeVar("Done")


def tell(app: TextualApp[Any], what: Callable[..., Any], *args: Any) -> None:
    """Call ``what`` in the event loop and wait for it; nothing when the app is going down."""
    if not app.is_running or get_current_worker().is_cancelled:
        return
    try:
        app.call_from_thread(what, *args)
    except (RuntimeError, CancelledError):
        # The loop may end between the question above and the call; anything else is a fault.
        if app.is_running:
            raise


class WorkerMixin(_Host):
    """For a widget or screen that has a ``loader``."""

    loader: Loader

    @property
    def omni(self) -> "OmniApp":
        from omni_cli.tui.app import OmniApp

        assert isinstance(self.app, OmniApp)
        return self.app

    def act(
        self,
        work: Callable[[App], Done],
        done: Callable[[Done], None] | None = None,
        *,
        failed: Callable[[OmniError], None] | None = None,
    ) -> None:
        """Do ``work`` in a worker thread, then ``done`` with its result here; panes read again.

        An OmniError goes to ``failed``, or is shown as a notification with its hint.
        """
        self.run_worker(lambda: self._work(work, done, failed), thread=True, group="act")

    def _work(
        self,
        work: Callable[[App], Done],
        done: Callable[[Done], None] | None,
        failed: Callable[[OmniError], None] | None,
    ) -> None:
        try:
            with self.loader.session() as omni:
                result = work(omni)
        except OmniError as exc:
            tell(self.app, failed or self.omni.complain, exc)
            return
        self.loader.touch()
        if done is not None:
            tell(self.app, done, result)
        tell(self.app, self.omni.store_changed)


class WorkerScreen(Screen[None], WorkerMixin):
    """A screen that is no pane."""

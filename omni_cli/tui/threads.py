"""From a worker's thread to the event loop."""

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from textual.app import App
from textual.worker import get_current_worker


def tell(app: App[Any], what: Callable[..., Any], *args: Any) -> None:
    """Call ``what`` in the event loop and wait for it; nothing when the app is going down."""
    if not app.is_running or get_current_worker().is_cancelled:
        return
    try:
        app.call_from_thread(what, *args)
    except (RuntimeError, CancelledError):
        # The loop may end between the question above and the call; anything else is a fault.
        if app.is_running:
            raise

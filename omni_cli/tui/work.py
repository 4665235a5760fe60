"""Work in a worker thread for screens that are no panes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from textual.screen import Screen

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.tui.data import Loader
from omni_cli.tui.threads import tell

if TYPE_CHECKING:
    from omni_cli.tui.app import OmniApp

Done = TypeVar("Done")


class Works(Screen[None]):
    """Mix it into a screen that has a ``loader``."""

    loader: Loader

    @property
    def omni(self) -> "OmniApp":
        from omni_cli.tui.app import OmniApp

        assert isinstance(self.app, OmniApp)
        return self.app

    def work(self, what: Callable[[App], Done], done: Callable[[Done], None]) -> None:
        """``what`` with a session in a thread, ``done`` with its result here; errors are told."""
        self.run_worker(lambda: self._work(what, done), thread=True)

    def _work(self, what: Callable[[App], Done], done: Callable[[Done], None]) -> None:
        try:
            with self.loader.session() as omni:
                result = what(omni)
        except OmniError as exc:
            tell(self.app, self.omni.complain, exc)
            return
        self.loader.touch()
        tell(self.app, done, result)
        tell(self.app, self.omni.store_changed)

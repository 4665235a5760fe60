"""Fleet: who is at work, how good, at what cost."""

from typing import Any

from textual.app import ComposeResult
from textual.widgets import Static

from omni_cli.bootstrap import App
from omni_cli.tui.overview import Overview, read_overview
from omni_cli.tui.pane import Pane


class FleetPane(Pane[Overview]):
    def compose(self) -> ComposeResult:
        yield Static()

    def load(self, omni: App, _wanted: Any) -> Overview:
        return self.loader.memo("overview", omni, read_overview)

    def show(self, value: Overview) -> None:
        self.query_one(Static).update(
            "\n".join(f"{card.model.name}  {card.state}" for card in value.models)
        )

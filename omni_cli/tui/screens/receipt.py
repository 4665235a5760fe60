"""A request's receipt as a dialog."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import id_text
from omni_cli.services.money.receipt import Receipt
from omni_cli.tui.actions import rate_request
from omni_cli.tui.data import Loader
from omni_cli.tui.receipts import receipt_text
from omni_cli.tui.threads import tell


class ReceiptScreen(ModalScreen[None]):
    """Follows its request while that is under way."""

    DEFAULT_CSS = """
    ReceiptScreen { align: center middle; background: $background 60%; }
    ReceiptScreen > VerticalScroll {
        width: 100; max-width: 98%; height: auto; max-height: 94%;
        background: $surface; border: round $primary; padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss(None)", "Close"),
        Binding("j,down", "scroll(1)", "Down", show=False),
        Binding("k,up", "scroll(-1)", "Up", show=False),
        *(Binding(str(n), f"rate({n})", f"Rate {n} of 5", show=False) for n in range(1, 6)),
    ]

    def __init__(self, loader: Loader, request: int) -> None:
        super().__init__()
        self._loader = loader
        self._request = request
        self._zone = "UTC"
        self.receipt: Receipt | None = None

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "Receipt"
            box.border_subtitle = "1-5 rates the answer · Esc closes"
            yield Static("Reading…", id="receipt", markup=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        self.refresh_data()

    def refresh_data(self) -> None:
        self.run_worker(self._read, thread=True, exclusive=True)

    def _read(self) -> None:
        try:
            with self._loader.session() as omni:
                self._zone = omni.rollups.zone
                found: Receipt | OmniError = omni.receipts.read(id_text(self._request))
        except OmniError as exc:
            found = exc
        tell(self.app, self._take, found)

    def _take(self, found: Receipt | OmniError) -> None:
        if not self.is_attached:
            return
        place = self.query_one("#receipt", Static)
        if isinstance(found, OmniError):
            place.update(f"{found.message}\n{found.hint}")
        else:
            self.receipt = found
            place.update(receipt_text(found, self._zone))

    def action_rate(self, stars: int) -> None:
        self.run_worker(lambda: self._rate(stars), thread=True)

    def _rate(self, stars: int) -> None:
        try:
            with self._loader.session() as omni:
                said = rate_request(omni, self._request, stars)
        except OmniError as exc:
            said = exc.message
        tell(self.app, self.notify, said)
        tell(self.app, self.refresh_data)

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

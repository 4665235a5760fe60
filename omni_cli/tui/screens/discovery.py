"""Discovery: ask every provider what it serves now, and take what is recommended."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from omni_cli.bootstrap import App
from omni_cli.domain.discovery import FindingKind
from omni_cli.services.fleet.discovery import Asked, Discovery, Found, touches
from omni_cli.tui import text
from omni_cli.tui.data import Loader
from omni_cli.tui.widgets.sheet import Sheet
from omni_cli.tui.workers import WorkerScreen, tell

_MUTED = "$foreground-muted"
#: Lines of one kind that are shown; the others are counted.
_MOST = 12
_KINDS: tuple[tuple[FindingKind, str, str, str], ...] = (
    ("gone", "Gone", "✗", "$error"),
    ("deprecated", "Deprecated", "▲", "$warning"),
    ("updated", "Updated", "●", "$primary"),
    ("new", "New", "●", "$success"),
)


class DiscoveryScreen(Sheet, WorkerScreen):
    """Asks at once; the lists of models are not billed."""

    DEFAULT_CSS = "DiscoveryScreen > VerticalScroll { width: 104; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "apply", "Take what is recommended"),
        Binding("r", "again", "Ask again"),
    ]
    FOOTER = True
    subtitle = ""

    def __init__(self, loader: Loader) -> None:
        super().__init__("What providers serve now")
        self.loader = loader
        self._asked: list[Asked] = []
        self._found: Discovery | None = None
        self._applied: list[str] | None = None

    def parts(self) -> ComposeResult:
        yield Static(id="asked", markup=False)
        yield Static(id="found", markup=False)

    def on_mount(self) -> None:
        self.action_again()

    def action_again(self) -> None:
        self._asked, self._found, self._applied = [], None, None
        self._draw()
        self.act(self._discover, self._took)

    def _discover(self, omni: App) -> Discovery:
        """In a worker's thread; each answer is shown as it comes."""
        return omni.discovery.discover(progress=lambda one: tell(self.app, self._heard, one))

    def _heard(self, one: Asked) -> None:
        self._asked.append(one)
        self._draw()

    def _took(self, found: Discovery) -> None:
        self._found = found
        self._draw()

    def action_apply(self) -> None:
        found = self._found
        if found is None or self._applied is not None:
            return
        if not any(item.recommended for item in found.found):
            self.notify("nothing is recommended; omni discover --all lists everything")
            return

        def done(applied: list[str]) -> None:
            self._applied = applied
            self._draw()

        self.act(lambda omni: omni.discovery.apply(found), done)

    def _draw(self) -> None:
        if not self.is_attached:
            return
        waiting = self._found is None
        self.query_one("#asked", Static).update(asked_text(self._asked, waiting=waiting))
        if self._found is not None:
            self.query_one("#found", Static).update(found_text(self._found, self._applied))
        else:
            self.query_one("#found", Static).update("")


def asked_text(asked: list[Asked], *, waiting: bool) -> Content:
    parts: list[Content] = []
    for one in sorted(asked, key=lambda one: one.provider):
        if one.error is None:
            line = Content.styled("● ", "$success")
            line += Content(f"{one.provider}: {one.listed} models, {text.seconds(one.took_ms)}")
        else:
            line = Content.styled("✗ ", "$error")
            line += Content(f"{one.provider}: {one.error.message}")
        parts.append(line)
    if waiting:
        parts.append(Content.styled("◌ asking…", _MUTED))
    return Content("\n").join(parts)


def found_text(found: Discovery, applied: list[str] | None) -> Content:
    """What changed, what touches a role or chain first, and what may be done."""
    parts = [
        Content.styled(f"\n✗ {item.model}: {touches(item)}", "bold $error")
        for item in found.found
        if item.loud
    ]
    for kind, title, sign, style in _KINDS:
        items = [item for item in found.of(kind) if not item.loud and _shown(item)]
        if items:
            parts.append(Content.styled(f"\n{title}  {len(items)}", "bold $primary"))
            parts += [
                Content.assemble((f"{sign} ", style), f"{item.model}: {touches(item)}")
                for item in items[:_MOST]
            ]
        if len(items) > _MOST:
            rest = f"  and {len(items) - _MOST} more; omni discover --all shows them"
            parts.append(Content.styled(rest, _MUTED))
    if not parts:
        heard = any(one.listed is not None for one in found.asked)
        said = "Nothing changed." if heard else "Nobody answered, so nothing is known."
        parts.append(Content.styled(f"\n{said}", "bold"))
    todo = sum(bool(item.recommended) for item in found.found)
    if applied is not None:
        said = f"\n★ added or updated {len(applied)}, as one revision; omni rollback undoes it"
        parts.append(Content.styled(said, "$success"))
    elif todo:
        parts.append(
            Content.assemble("\n", ("a", "bold $primary"), f" adds or updates {todo} of these")
        )
    return Content("\n").join(parts)


def _shown(item: Found) -> bool:
    return item.kind != "new" or item.finding.chats

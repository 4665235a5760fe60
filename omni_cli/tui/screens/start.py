"""The first minutes: what an empty fleet offers, and a proposal that Enter takes over."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from omni_cli import config as settings
from omni_cli.bootstrap import App
from omni_cli.domain.models import Provider
from omni_cli.domain.money import dollars
from omni_cli.domain.words import counted, percent
from omni_cli.services.fleet.setup import Found, Pick, Proposal, apply
from omni_cli.tui.colours import hue
from omni_cli.tui.data import Loader
from omni_cli.tui.overview import Overview
from omni_cli.tui.screens.provider_forms import add_provider
from omni_cli.tui.widgets.sheet import Sheet
from omni_cli.tui.widgets.tiles import Empty
from omni_cli.tui.workers import WorkerMixin, WorkerScreen

_MUTED = "$foreground-muted"
_LOGO = "█▀█ █▀▄▀█ █▄ █ █\n█▄█ █ ▀ █ █ ▀█ █"
#: Key, what it does, and in which words.
_KEYS = (
    ("i", "Detect", "API keys and local servers here, and a fleet of them"),
    ("a", "Add a provider", "from a list, or any OpenAI-compatible address"),
    ("D", "Live demo", "simulated providers at work; needs no key"),
)

Proposed = tuple[Sequence[Found], Proposal]


class StartPanel(Vertical, WorkerMixin):
    """What stands where a fleet would; it says what there is already."""

    DEFAULT_CSS = """
    StartPanel { padding: 1 3; height: 1fr; }
    StartPanel Empty { display: block; padding: 0; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "detect", "Detect"),
        Binding("a", "add", "Add a provider"),
        Binding("D", "demo", "Live demo"),
        Binding("m", "models", "Models", show=False),
    ]

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self.loader = loader

    def compose(self) -> ComposeResult:
        yield Empty()

    def entry(self) -> Widget:
        return self.query_one(Empty)

    def put(self, view: Overview) -> None:
        head = Content.assemble((_LOGO, "bold $primary"), "\n\n")
        if view.providers:
            names = ", ".join(card.provider.name for card in view.providers[:4])
            head += Content.assemble(
                (f"{names}: no model at work yet.\n\n", "bold"),
                ("  m", "bold $primary"),
                "  Take models     the recommended ones, shown first\n",
            )
        else:
            head += Content.styled(
                "Your models, their cost and their health on one screen.\n\n", "bold"
            )
        lines = [
            Content.assemble((f"  {key}", "bold $primary"), f"  {title:<16}", (words, _MUTED))
            for key, title, words in _KEYS
        ]
        self.query_one(Empty).update(head + Content("\n").join(lines))

    def action_detect(self) -> None:
        self.app.push_screen(ProposalScreen(self.loader, "What this machine has", detect))

    def action_models(self) -> None:
        self.app.push_screen(ProposalScreen(self.loader, "Models", models_of_all))

    def action_add(self) -> None:
        add_provider(self.omni, self.loader, lambda slug: propose_models(self, slug))

    def action_demo(self) -> None:
        self.omni.leave_for_demo()


def propose_models(host: WorkerMixin, slug: str) -> None:
    """After a provider was added: the models it is recommended to begin with, Enter takes them."""
    host.app.push_screen(
        ProposalScreen(
            host.loader, f"{slug} is in the fleet", lambda omni: models_of(omni, (slug,))
        )
    )


def detect(omni: App) -> Proposed:
    """What ``omni init`` would propose. Raises OmniError."""
    found = omni.find_providers()
    return found, omni.propose_fleet(found)


def models_of_all(omni: App) -> Proposed:
    return models_of(omni, [provider.slug for provider in omni.providers.all()])


def models_of(omni: App, slugs: Sequence[str]) -> Proposed:
    """A proposal for providers that are there. Raises OmniError: one does not answer."""
    found = []
    for slug in slugs:
        provider: Provider = omni.fleet.provider(slug)
        local = provider.auth_method == "none" and not provider.simulated
        served = tuple(omni.tester.listing(provider)) if local else ()
        found.append(Found(provider, omni.keys.place(provider) or "", served))
    return found, omni.propose_fleet(found)


class ProposalScreen(Sheet, WorkerScreen):
    """Asks ``how`` in a worker, shows what it would set up; Enter takes it, as one revision."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "Take it", priority=True),
    ]
    subtitle = "Enter takes it · Esc leaves all as it is"

    def __init__(self, loader: Loader, title: str, how: Callable[[App], Proposed]) -> None:
        super().__init__(title)
        self.loader = loader
        self._how = how
        self._proposed: Proposed | None = None
        self._taken = False

    def parts(self) -> ComposeResult:
        yield Static("Looking…", id="proposal", markup=False)

    def on_mount(self) -> None:
        self.act(self._how, self._took, failed=self._failed)

    def _failed(self, error: Exception) -> None:
        self.query_one("#proposal", Static).update(f"{error}\n{getattr(error, 'hint', '')}")

    def _took(self, proposed: Proposed) -> None:
        self._proposed = proposed
        self.query_one("#proposal", Static).update(proposal_text(*proposed))

    def action_take(self) -> None:
        if self._proposed is None or self._taken:
            return
        proposal = self._proposed[1]
        if proposal.empty:
            self.dismiss(None)
            return
        self._taken = True

        def take(omni: App) -> str:
            apply(omni.fleet, omni.models, proposal)
            if proposal.premium and not omni.config.general.premium_model:
                settings.set_value(omni.paths, "general.premium_model", proposal.premium)
            picks, roles = len(proposal.picks), len(proposal.roles)
            return (
                f"{counted(picks, 'model')} at work, {counted(roles, 'role')}; u or omni rollback"
            )

        def done(said: str) -> None:
            self.notify(said.partition(";")[0], title="Fleet")
            self.dismiss(None)

        self.act(take, done)


def proposal_text(found: Sequence[Found], proposal: Proposal) -> Content:
    """Providers, models with price and quality, roles: what Enter would set up."""
    if not found and proposal.empty:
        return Content.assemble(
            ("Found neither a key nor a local server.\n\n", "bold"),
            "Esc, then ",
            ("a", "bold $primary"),
            " adds a provider with its key, ",
            ("D", "bold $primary"),
            " shows a live demo.",
        )
    shown = Content.styled("PROVIDERS", "bold $primary")
    for item in found:
        provider = item.provider
        served = f", {counted(len(item.served), 'model')}" if item.served else ""
        at = f", at {provider.base_url} ({item.address})" if item.address else ""
        shown += Content.assemble(
            "\n",
            (f"{provider.name:<16}", f"bold {hue(provider.slug)}"),
            (f" {item.how.removeprefix('env:')}{served}{at}", _MUTED),
        )
    if proposal.picks:
        many = counted(len(proposal.picks), "model")
        shown += Content.assemble(
            ("\n\nMODELS", "bold $primary"), (f"  take the {many} recommended?", "bold")
        )
        for pick in proposal.picks:
            shown += Content("\n") + _pick(pick)
    if proposal.roles:
        shown += Content.styled("\n\nROLES", "bold $primary")
        for role, models in proposal.roles.items():
            shown += Content.assemble(f"\n{role:<20}", (", then ".join(models), _MUTED))
    if proposal.unpriced:
        names = ", ".join(proposal.unpriced[:3])
        shown += Content.styled(f"\n\nleft out, nobody tells their price: {names}", _MUTED)
    if proposal.empty:
        shown += Content.assemble(
            ("\n\nNo model to recommend beside what is there. ", _MUTED),
            ("3", "bold $primary"),
            (" Catalogue has them all.", _MUTED),
        )
    return shown


def _pick(pick: Pick) -> Content:
    price = "free" if pick.local else "?" if pick.average_usd is None else dollars(pick.average_usd)
    return Content.assemble(
        (f"{pick.model.id:<44}", "bold"),
        (f" {pick.tier:<9}", _MUTED),
        f"{price:>8}",
        ("/1M ", _MUTED),
        f"{percent(pick.quality):>5}",
    )

"""Failover: chains at the left, the chosen chain's models at the right, in the order of trying."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from msgspec import Struct
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from omni_cli.bootstrap import App
from omni_cli.domain.ids import id_time_ms
from omni_cli.domain.models import HEDGE_MS_RANGE, Chain, ChainLink
from omni_cli.domain.record import replace
from omni_cli.domain.words import counted, times
from omni_cli.services.fleet.describe import chain_consent
from omni_cli.tui import text
from omni_cli.tui.chains import (
    ANY_COST,
    AS_LISTED,
    FREE_TO_PAID,
    NO_HEDGE,
    Chains,
    Member,
    change_chain,
    read_chains,
    remove_chain,
    save_chain,
)
from omni_cli.tui.colours import hue
from omni_cli.tui.overview import overview_of
from omni_cli.tui.pane import Pane
from omni_cli.tui.widgets.form import ConfirmScreen, Field, FormScreen, Values
from omni_cli.tui.widgets.links import LinkList, LinkRow
from omni_cli.tui.widgets.picker import Item, PickerScreen
from omni_cli.tui.widgets.tiles import CardList, Empty, set_empty
from omni_cli.tui.widgets.words import Words

#: So many takeovers are listed.
_TOOK = 30
#: As the fleet's service has it; it checks again.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_. -]{0,61}[A-Za-z0-9])?")


def name_field(name: str, taken: set[str]) -> Field:
    """For a chain's name, which no other chain may have."""

    def check(value: str) -> str:
        if value in taken:
            return "there is a chain of this name"
        return "" if _NAME.fullmatch(value) else "letters, digits, spaces, - _ . inside"

    return Field("name", "Name", name, "Production Chain", check=check)


def choices(members: Iterable[Member], taken: set[str]) -> Sequence[tuple[str, Sequence[Item]]]:
    """What a chain may still take, by provider; active models first."""
    groups: dict[str, list[Member]] = {}
    for member in members:
        if member.model.id not in taken:
            groups.setdefault(member.provider, []).append(member)
    order = {"active": 0, "standby": 1, "disabled": 2}
    return [
        (
            provider,
            [
                Item(m.model.id, _item(m), f"{m.model.id} {m.model.name} {provider}".lower())
                for m in sorted(found, key=lambda m: (order[m.model.status], m.model.name.lower()))
            ],
        )
        for provider, found in sorted(groups.items())
    ]


def _item(member: Member) -> Content:
    status = member.model.status
    said = "" if status == "active" else f"  {status}"
    return Content.assemble(
        (f"{member.model.name:<30}", "bold" if status == "active" else ""),
        (f" {member.facts}{said}", _MUTED),
    )


def row(link: ChainLink, first: str, view: Chains) -> LinkRow:
    """A link with what is known of its model.

    Args:
        first: the chain's first model, whose cost the others' are told in.
    """
    member, base = view.members.get(link.model), view.members.get(first)
    slug, _, wire_name = link.model.partition("/")
    facts = []
    if member is not None:
        facts.append(member.facts)
        if link.model != first and base and base.average_usd and member.average_usd is not None:
            facts.append(f"x{times(member.average_usd / base.average_usd)}")
        if member.latency_ms is not None:
            facts.append(text.seconds(member.latency_ms))
        if took := sum(one.model == link.model for one in view.takeovers):
            facts.append(f"took over {took:,}x")
    return LinkRow(
        model=link.model,
        name=wire_name if member is None else member.model.name,
        provider=slug if member is None else member.provider,
        max_retries=link.max_retries,
        timeout_ms=link.timeout_ms,
        facts=tuple(facts),
        state=text.SIGNS["unknown" if member is None else member.state],
        note="its provider is not in the fleet" if member is None else member.note,
    )


def takeovers_text(chain: Chain, view: Chains) -> Content:
    """When another model answered for one of the chain's, the newest first, and why."""
    models = {link.model for link in chain.links}
    found = [one for one in view.takeovers if {one.failed, one.model} <= models]
    shown = Content.styled("TOOK OVER", "bold $primary")
    if not found:
        return shown + Content.styled("  never lately", _MUTED)
    shown += Content.styled(f"  {counted(len(found), 'time')} in the newest tries", _MUTED)

    def name(model: str) -> Content:
        member = view.members.get(model)
        said = model if member is None else member.model.name
        return Content.styled(said, f"bold {hue(model)}")

    for one in found[:_TOOK]:
        when = text.ago(id_time_ms(one.request), view.now_ms)
        shown += Content.assemble((f"\n{when:>10} ", _MUTED), name(one.failed))
        shown += Content.assemble((f" {one.code}".rstrip(), "$error"), (" > ", _MUTED))
        shown += name(one.model)
    return shown


def fields(chain: Chain, names: set[str]) -> list[Field]:
    """Of a chain as it is; ``names``: those of the other chains."""

    def check_multiple(text: str) -> str:
        well = text in (ANY_COST, AS_LISTED) or (
            re.fullmatch(r"\d+(\.\d+)?", text) and float(text) >= 1
        )
        return "" if well else f"a number from 1 on, {AS_LISTED} or {ANY_COST}"

    def check_hedge(text: str) -> str:
        low, high = HEDGE_MS_RANGE
        well = text == NO_HEDGE or (text.isdecimal() and low <= int(text) <= high)
        return "" if well else f"{low} to {high} ms, or {NO_HEDGE}"

    limit = chain.max_cost_multiple
    return [
        name_field(chain.name, names),
        Field(
            "multiple",
            "Times the cost",
            ANY_COST if chain.any_cost else AS_LISTED if limit is None else f"{limit:g}",
            f"what a stand-in may cost; {AS_LISTED}: the chain's own, anything",
            check=check_multiple,
        ),
        Field(
            "free_to_paid",
            "Free to paid",
            next(word for word, may in FREE_TO_PAID.items() if may == chain.allow_free_to_paid),
            choices=tuple(FREE_TO_PAID),
        ),
        Field(
            "hedge",
            "Hedge after",
            NO_HEDGE if chain.hedge_ms is None else str(chain.hedge_ms),
            "ms; the next model is then asked as well",
            check=check_hedge,
        ),
    ]


_MUTED = "$foreground-muted"
_EMPTY = Content.assemble(
    ("No failover chain yet.\n\n", "bold"),
    "A chain says which model stands in when another one fails: the first is\n",
    "asked, retried as often as it says, and then the next one.\n\n",
    ("  n", "bold $primary"),
    "   makes one",
)


class _Draft(Struct):
    """A chain as edited and not saved; ``steps`` are its links before each edit."""

    links: tuple[ChainLink, ...]
    steps: list[tuple[ChainLink, ...]]
    new: bool = False


class FailoverPane(Pane[Chains]):
    DEFAULT_CSS = """
    FailoverPane.-empty #full { display: none; }
    FailoverPane #chains { width: 28; }
    FailoverPane #chain {
        width: 1fr; border-left: solid $panel-lighten-2; padding: 0 1;
    }
    FailoverPane #head, FailoverPane #foot { height: auto; }
    FailoverPane #foot { border-top: solid $panel-lighten-2; color: $foreground-muted; }
    FailoverPane #links { height: 1fr; }
    FailoverPane #took { margin-top: 1; }
    """
    ON_ONE = frozenset({"add", "save", "rename", "drop", "remove"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", tooltip="New chain"),
        Binding("a", "add", "Add", tooltip="Add a model"),
        Binding("s", "save", "Save"),
        Binding("u", "undo", "Undo"),
        Binding("r", "rename", "Rename"),
        Binding("x", "drop", "Take model out", show=False),
        Binding("delete", "remove", "Delete", key_display="del"),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_value: Chains | None = None
        self._drafts: dict[str, _Draft] = {}
        self._wanted_chain: str | None = None

    def compose(self) -> ComposeResult:
        yield Empty(_EMPTY)
        with Horizontal(id="full"):
            yield CardList(id="chains")
            with Vertical(id="chain"):
                yield Words(id="head")
                with VerticalScroll(id="links", can_focus=False):
                    yield LinkList()
                    yield Words(id="took", markup=False)
                yield Words(id="foot", markup=False)

    def entry(self) -> Widget | None:
        return self.query_one(Empty) if self.has_class("-empty") else self.query_one(CardList)

    def unsaved(self) -> str:
        names = ", ".join(sorted(self._drafts))
        return f"Failover: {names} not saved (4, then s)" if names else ""

    def load(self, omni: App, _wanted: Any) -> Chains:
        return read_chains(omni, overview_of(self.loader, omni))

    def show(self, value: Chains) -> None:
        self._read_value = value
        stored = {chain.name for chain in value.chains}
        for name, draft in list(self._drafts.items()):
            if name not in stored and not draft.new:
                del self._drafts[name]  # deleted elsewhere
            elif name in stored:
                draft.new = False
        self._redraw()

    def resized(self) -> None:
        if self._read_value is not None:
            self.call_after_refresh(self._redraw)

    # --- what is shown -----------------------------------------------------------------------

    @property
    def _chains(self) -> list[Chain]:
        """Stored ones as edited, then new ones that are not saved."""
        view = self._read_value
        stored = [] if view is None else list(view.chains)
        shown = [
            replace(c, links=self._drafts[c.name].links) if c.name in self._drafts else c
            for c in stored
        ]
        return shown + [Chain(n, d.links) for n, d in self._drafts.items() if d.new]

    @property
    def chosen(self) -> str | None:
        return self.query_one("#chains", CardList).chosen

    @property
    def chain(self) -> Chain | None:
        """The chosen chain as edited."""
        return next((chain for chain in self._chains if chain.name == self.chosen), None)

    def _redraw(self) -> None:
        chains = self._chains
        set_empty(self, not chains)
        cards = self.query_one("#chains", CardList)
        cards.fill([(chain.name, self._card(chain)) for chain in chains])
        names = [chain.name for chain in chains]
        if self._wanted_chain in names:
            cards.highlighted = names.index(self._wanted_chain)
        self._wanted_chain = None
        self._show_chain()

    def _show_chain(self) -> None:
        chain, view = self.chain, self._read_value
        if chain is None or view is None:
            return
        dirty = chain.name in self._drafts
        head = Content.styled(chain.name, "bold")
        if dirty:
            head += Content.styled("  ▲ not saved", "$warning")
        hedge = "" if chain.hedge_ms is None else f", asked too after {chain.hedge_ms} ms"
        head += Content.styled(f"\nstand-ins: {chain_consent(chain)}{hedge}", _MUTED)
        self.query_one("#head", Static).update(head)
        first = chain.links[0].model
        self.query_one(LinkList).fill([row(link, first, view) for link in chain.links])
        self.query_one("#took", Static).update(takeovers_text(chain, view))
        said = "s saves · u takes the last edit back" if dirty else "drag or ⇧↑ ⇧↓ to reorder"
        self.query_one("#foot", Static).update(said)

    def _card(self, chain: Chain) -> Content:
        dirty = ("  ▲", "$warning") if chain.name in self._drafts else ""
        models = f"{len(chain.links)} model{'s' * (len(chain.links) != 1)}"
        name = chain.name if len(chain.name) <= 22 else chain.name[:21] + "…"
        return Content.assemble((name, "bold"), dirty, "\n", (models, _MUTED))

    @on(OptionList.OptionHighlighted)
    def _moved(self) -> None:
        self._show_chain()

    @on(OptionList.OptionSelected)
    def _to_links(self) -> None:
        self.query_one(LinkList).focus()

    # --- editing -----------------------------------------------------------------------------

    @on(LinkList.Changed)
    def _edited(self, event: LinkList.Changed) -> None:
        self._draft(
            tuple(ChainLink(row.model, row.max_retries, row.timeout_ms) for row in event.rows)
        )

    def _draft(self, links: tuple[ChainLink, ...]) -> None:
        """The chosen chain with these links, not saved."""
        chain = self.chain
        if chain is None or chain.links == links:
            return
        draft = self._drafts.setdefault(chain.name, _Draft(chain.links, []))
        draft.steps.append(draft.links)
        draft.links = links
        self._redraw()

    def action_add(self) -> None:
        chain = self.chain
        if chain is None:
            self.action_new()
            return
        taken = {link.model for link in chain.links}

        def picked(model: str | None) -> None:
            current = self.chain
            if model is not None and current is not None:
                self._draft((*current.links, ChainLink(model)))
                self.query_one(LinkList).cursor = len(current.links)
                self.query_one(LinkList).focus()

        self._pick(f"Add to {chain.name}", taken, picked)

    def _pick(self, title: str, taken: set[str], picked: Any) -> None:
        members = {} if self._read_value is None else self._read_value.members
        if not members:
            self.notify("no provider yet: 2 Providers, then a", severity="warning")
            return
        self.app.push_screen(PickerScreen(title, choices(members.values(), taken)), picked)

    def action_new(self) -> None:
        names = {chain.name for chain in self._chains}
        made: list[str] = []

        def named(done: bool | None) -> None:
            if done:
                self._pick(f"First model of {made[-1]}", set(), first)

        def first(model: str | None) -> None:
            if model is not None:
                self._drafts[made[-1]] = _Draft((ChainLink(model),), [], new=True)
                self._wanted_chain = made[-1]
                self._redraw()
                self.query_one(LinkList).focus()

        def keep(_omni: App, values: Values) -> None:
            made.append(values["name"])

        field = name_field("", names)
        form = FormScreen(self.loader, "New failover chain", [field], keep, save="Choose model")
        self.app.push_screen(form, named)

    def action_drop(self) -> None:
        chain, row = self.chain, self.query_one(LinkList).row
        if chain is None or row is None:
            return
        if len(chain.links) == 1:
            self.notify(
                "a chain has at least one model; Delete removes the chain", severity="warning"
            )
            return
        self._draft(tuple(link for link in chain.links if link.model != row.model))

    def action_save(self) -> None:
        chain = self.chain
        if chain is None or chain.name not in self._drafts:
            self.notify("nothing to save", timeout=2)
            return

        def saved(said: str) -> None:
            # Edits made while it was written stay edits.
            draft = self._drafts.get(chain.name)
            if draft is not None and draft.links == chain.links:
                del self._drafts[chain.name]
            self._wanted_chain = chain.name
            self.notify(said, title=chain.name)

        self.act(lambda omni: save_chain(omni, chain), saved)

    def action_undo(self) -> None:
        """An edit that is not saved, or else what ``u`` takes back in every tab."""
        draft = self._drafts.get(self.chosen or "")
        if draft is not None and draft.steps:
            draft.links = draft.steps.pop()
            if not draft.steps and not draft.new:
                del self._drafts[self.chosen or ""]
            self._redraw()
        elif draft is not None:
            del self._drafts[self.chosen or ""]
            self._redraw()
        else:
            self.omni.action_undo()

    def action_rename(self) -> None:
        chain = self.chain
        if chain is None:
            return
        draft = self._drafts.get(chain.name)
        if draft is not None and draft.new:
            self.notify("save it first: s", severity="warning")
            return
        names = {item.name for item in self._chains} - {chain.name}
        form = FormScreen(
            self.loader,
            f"Edit {chain.name}",
            fields(chain, names),
            lambda omni, values: self._change(omni, chain.name, values),
        )
        self.app.push_screen(form, lambda _: self.omni.store_changed())

    def _change(self, omni: App, name: str, values: Values) -> None:
        change_chain(omni, name, values)
        fresh = values["name"]
        if fresh != name:
            self.app.call_from_thread(self._renamed, name, fresh)

    def _renamed(self, name: str, fresh: str) -> None:
        if name in self._drafts:
            self._drafts[fresh] = self._drafts.pop(name)
            self._drafts[fresh].new = True  # until the store is read again
        self._wanted_chain = fresh

    def action_remove(self) -> None:
        chain = self.chain
        if chain is None:
            return
        if self._drafts.get(chain.name, _Draft((), [])).new:
            del self._drafts[chain.name]
            self._redraw()
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._drafts.pop(chain.name, None)
                self.act(lambda omni: remove_chain(omni, chain.name), self.omni.notify)

        detail = f"{len(chain.links)} models stand in it; they stay in the fleet."
        self.app.push_screen(ConfirmScreen(f"Delete {chain.name}?", detail, yes="Delete"), answered)

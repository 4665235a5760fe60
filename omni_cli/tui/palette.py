"""The command palette: every object of the fleet and every action of every tab, by name."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import id_text
from omni_cli.domain.models import ModelInfo, Role
from omni_cli.domain.search import Search
from omni_cli.services.money.budget_document import budget_name
from omni_cli.tui import actions
from omni_cli.tui.pane import Action, actions_of

if TYPE_CHECKING:
    from omni_cli.tui.app import OmniApp
    from omni_cli.tui.registry import Tab

#: How many requests are found by name, how many hits are listed, and how many choices remembered.
_REQUESTS, _MOST_HITS, _RECENT = 50, 60, 20
#: Words of "switch ROLE to MODEL" that name neither.
_GLUE = frozenset({"switch", "role", "to"})

#: What was typed, in a title.
_HIT = "bold underline"

Run = Callable[[], Awaitable[Any] | None]


class Command(Struct, frozen=True):
    """``key`` finds it among those used last; ``about`` stands below its title; ``words``: lower
    case, what it is found by."""

    key: str
    title: str
    about: str
    run: Run
    words: str

    @classmethod
    def of(cls, key: str, title: str, about: str, run: Run, *more: str) -> "Command":
        return cls(key, title, about, run, " ".join((title, about, *more)).lower())


class Objects(Struct, frozen=True):
    """What the fleet and the ledger have. ``budgets``: (id, name); ``requests`` and live
    ``sessions``: (id, words)."""

    models: tuple[ModelInfo, ...] = ()
    providers: tuple[tuple[str, str], ...] = ()
    roles: tuple[Role, ...] = ()
    chains: tuple[str, ...] = ()
    budgets: tuple[tuple[int, str], ...] = ()
    requests: tuple[tuple[int, str], ...] = ()
    sessions: tuple[tuple[str, str], ...] = ()


def read_objects(omni: App) -> Objects:
    """Raises OmniError."""
    providers = omni.providers.all()
    order = {"active": 0, "standby": 1, "disabled": 2}
    models = omni.models.of_providers(provider.slug for provider in providers)
    return Objects(
        tuple(sorted(models, key=lambda m: (order[m.status], m.name.lower()))),
        tuple((provider.slug, provider.name) for provider in providers),
        tuple(omni.assignments.roles()),
        tuple(chain.name for chain in omni.assignments.chains()),
        tuple(
            (status.budget.id, budget_name(status.budget))
            for status in omni.budget_admin.statuses(disabled=True)
        ),
        tuple(
            (call.id, " · ".join(filter(None, (call.model, call.state, call.task, call.role))))
            for call in omni.glance.search(Search(), limit=_REQUESTS)
        ),
        tuple(
            (live.id, " · ".join(filter(None, (live.agent, live.project, live.title, live.state))))
            for live in omni.agent_sessions.live()
        ),
    )


class Catalogue:
    """Commands of an app with these objects.

    Args:
        tabs: with the actions of each.
        open_now: the id of the tab to be seen.
    """

    def __init__(
        self,
        app: "OmniApp",
        tabs: Sequence[tuple["Tab", Sequence[Action]]],
        objects: Objects,
    ) -> None:
        self._app, self._tabs, self._objects = app, tabs, objects
        self._at_work = {model.id for model in objects.models if model.status == "active"}
        self._all = [*self._acts(), *self._go(), *self._things(), *self._own()]
        self._by_key = {command.key: command for command in self._all}

    def at_first(self) -> list[Command]:
        """Before a word is typed: what was used last, what can be done here, then elsewhere."""
        here = self._app.open_tab_id
        used = [found for key in self._app.used if (found := self._found(key)) is not None]
        acts = sorted(self._acts(), key=lambda command: f" {here} " not in command.key)
        rest = [*acts, *self._go(), *self._own()]
        return list({command.key: command for command in [*used, *rest]}.values())

    def matching(self, typed: str) -> list[tuple[float, Command]]:
        """(score, command), the best first; of equals, what was used last."""
        words = typed.lower().split()
        recent = {key: 1 - at / _RECENT for at, key in enumerate(self._app.used)}
        here = f" {self._app.open_tab_id} "
        found = []
        for command in [*self._all, *self._switches(words)]:
            points = score(words, command)
            if points:
                points += recent.get(command.key, 0.0) + 0.2 * (here in command.key)
                points += 0.1 * (command.key.partition(" ")[2] in self._at_work)
                found.append((points, command))
        return sorted(found, key=lambda hit: -hit[0])[:_MOST_HITS]

    def _found(self, key: str) -> Command | None:
        kind, _, rest = key.partition(" ")
        if kind != "switch":
            return self._by_key.get(key)
        role_name, _, model_id = rest.partition(" > ")
        role = next((role for role in self._objects.roles if role.name == role_name), None)
        model = next((model for model in self._objects.models if model.id == model_id), None)
        return None if role is None or model is None else self._switch(role, model)

    # --- what there is -----------------------------------------------------------------------

    def _acts(self) -> Iterator[Command]:
        for tab, found in self._tabs:
            titles: set[str] = set()
            for action in found:
                if action.title in titles:
                    continue  # left and right do the same: the first stands for both
                titles.add(action.title)
                key = f"{tab.key} {action.key}" if action.key else tab.key
                yield Command.of(
                    f"do {tab.id} {action.name}",
                    f"{tab.title}: {action.title}",
                    f"{tab.about} ({key})",
                    self._doer(tab.id, action.name),
                )

    def _go(self) -> Iterator[Command]:
        for tab, _ in self._tabs:
            yield Command.of(
                f"go {tab.id}", f"Go to {tab.title}", f"{tab.about} ({tab.key})", self._goer(tab.id)
            )

    def _things(self) -> Iterator[Command]:
        app, things = self._app, self._objects
        for model in things.models:
            about = f"model {model.id}, {model.status}"
            yield Command.of(
                f"model {model.id}",
                model.name,
                about,
                self._call(app.show_model, model.id),
                *model.aliases,
            )
            verb = "Disable" if model.status == "active" else "Activate"
            yield Command.of(
                f"status {model.id}", f"{verb} {model.name}", about, self._turner(model.id)
            )
            yield Command.of(
                f"logs {model.id}",
                f"Requests of {model.name}",
                about,
                self._finder(model=model.id),
            )
        for slug, name in things.providers:
            yield Command.of(
                f"provider {slug}", name, f"provider {slug}", self._goer("providers", slug)
            )
            yield Command.of(
                f"test {slug}", f"Test {name}", f"provider {slug}, unbilled", self._tester(slug)
            )
        for role in things.roles:
            first = role.models[0].model if role.models else "no model"
            yield Command.of(
                f"role {role.name}", role.name, f"role, now {first}", self._goer("roles", role.name)
            )
        for name in things.chains:
            yield Command.of(f"chain {name}", name, "chain", self._goer("failover", name))
        for number, name in things.budgets:
            yield Command.of(
                f"budget {number}", f"Budget {name}", "limit", self._goer("budgets", str(number))
            )
        for request, words in things.requests:
            ident = id_text(request)
            yield Command.of(
                f"request {request}",
                f"Request {ident}",
                words,
                self._call(app.show_receipt, request),
            )

        for session, words in things.sessions:
            yield Command.of(
                f"session {session}",
                f"Session {session}",
                words,
                self._finder(session=session),
            )

    def _switches(self, words: Sequence[str]) -> Iterator[Command]:
        """ "Switch ROLE to MODEL", of active models, once one of its words is typed."""
        if not any("switch".startswith(word) and len(word) > 1 for word in words):
            return
        wanted = [word for word in words if word not in _GLUE and not "switch".startswith(word)]
        for role in self._objects.roles:
            mine = [word for word in wanted if word not in role.name.lower()]
            first = role.models[0].model if role.models else ""
            for model in self._objects.models:
                name = f"{model.name} {model.id}".lower()
                if (
                    model.status == "active"
                    and model.id != first
                    and all(word in name for word in mine)
                ):
                    yield self._switch(role, model)

    def _switch(self, role: Role, model: ModelInfo) -> Command:
        app, first = self._app, role.models[0].model if role.models else "no model"
        return Command.of(
            f"switch {role.name} > {model.id}",
            f"Switch {role.name} to {model.name}",
            f"role, now {first}",
            lambda: actions.offer_switch(app, app.act, role.name, model.id),
            model.id,
        )

    def _own(self) -> Iterator[Command]:
        app = self._app
        for name, found in sorted(app.themes.items()):
            yield Command.of(
                f"theme {name}", f"Theme: {found.title}", found.source, self._dresser(name)
            )
        yield Command.of("reload", "Reload", "read everything again (F5)", app.action_reload)
        yield Command.of("help", "Help", "all keys (?)", app.action_help)
        yield Command.of("quit", "Quit", "leave omni (q)", app.action_quit)

    # --- doing it ----------------------------------------------------------------------------

    def _goer(self, tab: str, key: str = "") -> Run:
        async def go() -> None:
            await self._app.reach(tab, key)

        return go

    def _doer(self, tab: str, action: str) -> Run:
        async def do() -> None:
            pane = await self._app.reach(tab)
            await pane.run_action(action)

        return do

    def _call(self, what: Callable[[Any], None], value: object) -> Run:
        return lambda: what(value)

    def _finder(self, **values: str) -> Run:
        return lambda: self._app.show_found(**values)

    def _turner(self, model: str) -> Run:
        app = self._app
        return lambda: actions.offer_status(app, app.act, model)

    def _tester(self, slug: str) -> Run:
        app = self._app
        return lambda: app.act(lambda omni: actions.check_connection(omni, slug), app.report_test)

    def _dresser(self, name: str) -> Run:
        def dress() -> None:
            self._app.theme = name

        return dress


def score(words: Sequence[str], command: Command) -> float:
    """How well a command answers to all of the words, 0 where it does not to one of them.

    A word that begins one of the title's is worth most, then one inside the title, then one that
    only its description has; the letters in their order, with gaps, in the title alone count last.
    """
    title, points = command.title.lower(), 0.0
    for word in words:
        at = title.find(word)
        if at >= 0:
            points += 4 if not at or not title[at - 1].isalnum() else 3
        elif word in command.words:
            points += 2
        elif len(word) > 2 and _scattered(word, title):
            points += 0.5
        else:
            return 0.0
    # Of titles that say the same, the one with the least besides.
    return points + 1 / (1 + len(title)) + (title == " ".join(words))


def _scattered(word: str, text: str) -> bool:
    rest = iter(text)
    return all(letter in rest for letter in word)


class Commands(Provider):
    """All of them, to Textual's palette."""

    async def startup(self) -> None:
        app = self._omni
        tabs, objects = await asyncio.to_thread(self._read)
        self._catalogue = Catalogue(app, tabs, objects)

    @property
    def _omni(self) -> "OmniApp":
        from omni_cli.tui.app import OmniApp

        assert isinstance(self.app, OmniApp)
        return self.app

    def _read(self) -> tuple[list[tuple["Tab", list[Action]]], Objects]:
        app = self._omni
        tabs = [(tab, list(actions_of(tab.load()))) for tab in app.tabs]
        try:
            with app.loader.session() as omni:
                return tabs, app.loader.memo("objects", omni, read_objects)
        except OmniError:
            return tabs, Objects()  # the panes say what is wrong; actions are there all the same

    async def discover(self) -> Hits:
        for command in self._catalogue.at_first():
            yield DiscoveryHit(
                Content(command.title), self._runner(command), command.title, _plain(command.about)
            )

    async def search(self, query: str) -> Hits:
        for points, command in self._catalogue.matching(query):
            shown = Content(command.title)
            for word in query.lower().split():
                at = command.title.lower().find(word)
                if at >= 0:
                    shown = shown.stylize(_HIT, at, at + len(word))
            run = self._runner(command)
            yield Hit(points, shown, run, command.title, _plain(command.about))

    def _runner(self, command: Command) -> Callable[[], Any]:
        return lambda: self._omni.run_command(command.key, command.run)


def _plain(text: str) -> str:
    """As Textual's markup reads it: names may have brackets."""
    return text.replace("[", r"\[")

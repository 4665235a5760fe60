"""Fleets as ``omni init --yes`` proposes them, on a simulator, one provider of which is down.

The walk behind ``tests/integration/test_outage.py``: every pair and triple of the known providers
that have keys, and what is asked of each.
"""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations, cycle, product
from pathlib import Path

import httpx

from omni_cli.bootstrap import App
from omni_cli.catalog.load import load_catalog
from omni_cli.catalog.priors import load_priors
from omni_cli.cli.prompts import RequestFacts, route_options
from omni_cli.config import set_value
from omni_cli.domain.chat import ChatRequest, MediaPart, Message, Part, TextPart
from omni_cli.domain.models import Chain, ModelInfo, Role, RoleModel
from omni_cli.domain.models import Provider as ProviderInfo
from omni_cli.domain.prices import Price
from omni_cli.domain.record import replace
from omni_cli.providers.presets import PRESETS
from omni_cli.records import ClientKey
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.routing import FRESH_MS
from omni_cli.services.fleet.setup import (
    DEFAULT_CHAIN,
    ROLES,
    Fleet,
    Found,
    PriorOf,
    Proposal,
    propose,
)
from omni_cli.services.money.prices import PriceBook
from omni_cli.simulator import Simulator
from omni_cli.store.gateway_keys import GatewayKeyStore

KEYED = tuple(preset.slug for preset in PRESETS.values() if preset.key_envs)
PAIRS = tuple(combinations(KEYED, 2))
TRIPLES = tuple(combinations(KEYED, 3))
#: How a provider goes down. ``revoked``: the key was good once; each says so in its own way.
FAULTS = ("503", "429", "dns", "401", "revoked", "hang")
ASKS = ("auto", "chain", *(wish.name for wish in ROLES))
#: A hang takes its time: one of so many fleets meets one.
HANGS_EVERY = 20
#: Who hangs before a gateway: init activates one model of it, which is soon left alone.
SILENT = "mistral"
_NOWHERE = "http://down.invalid/v1"
#: What one try may take, seconds: a living simulator on a busy machine answers within it.
TRY_S = 0.4
#: A pixel.
PIXEL = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
_PATHS = {"anthropic": "", "gemini": "/v1beta", "clarifai": ""}


@dataclass(frozen=True)
class Case:
    """``asked``: auto, chain or a role's name."""

    fleet: tuple[str, ...]
    down: str
    fault: str
    asked: str
    stream: bool


@dataclass(frozen=True)
class _Catalogue:
    known: Mapping[str, Sequence[ModelInfo]]
    retired: frozenset[str]
    price: Callable[[str], Price | None]
    prior: PriorOf
    types: Sequence[str]


class Outage:
    """A home whose every known provider is the simulator.

    Args:
        seeded: a store with the catalogue in it.
    """

    def __init__(self, home: Path, sim: Simulator, seeded: bytes) -> None:
        self.home, self.sim = home, sim
        for folder in (home, home / "catalogue"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "omni.db").write_bytes(seeded)
        self._reader = App({"OMNI_HOME": str(home / "catalogue"), "USER": "test"})
        self.env = {"OMNI_HOME": str(home), "USER": "test"}
        self.env |= {PRESETS[slug].key_envs[0]: f"sk-{slug}" for slug in KEYED}
        self._later_s = 0.0
        self.app = App(self.env, clock=lambda: time.time() + self._later_s, durable=False)
        set_value(self.app.paths, "chat.max_retries", "0")
        set_value(self.app.paths, "chat.timeout_s", str(TRY_S))
        self.providers = {slug: self._provider(slug) for slug in KEYED}
        self._proposals: dict[tuple[str, ...], Proposal] = {}

    def close(self) -> None:
        self.app.close()
        self._reader.close()

    def _provider(self, slug: str) -> ProviderInfo:
        preset = PRESETS[slug]
        url = f"{self.sim.url}/{_at(slug)}{_PATHS.get(preset.protocol, '/v1')}"
        key = preset.key_envs[0]
        return ProviderInfo(
            slug, preset.name, preset.protocol, url, key_env=key, max_concurrency=64
        )

    # --- what init proposes -------------------------------------------------------------------

    def proposal(self, fleet: tuple[str, ...]) -> Proposal:
        """What ``omni init`` proposes where these keys are there and nothing is set up."""
        if fleet not in self._proposals:
            read = self._catalogue
            self._proposals[fleet] = propose(
                [Found(self.providers[slug], "env") for slug in fleet],
                [model for slug in fleet for model in read.known.get(slug, ())],
                retired=read.retired,
                price=read.price,
                prior=read.prior,
                tasks=read.types,
                here=lambda *_: False,
                there=Fleet(frozenset(), (), frozenset(), frozenset()),
            )
        return self._proposals[fleet]

    @cached_property
    def _catalogue(self) -> "_Catalogue":
        """What ``App.propose_fleet`` reads anew each time, read once."""
        prices = PriceBook(self._reader.models, now_ms=self._reader.now_ms())
        models = [m for m in self._reader.models.all() if m.provider in KEYED]
        prices.load(model.id for model in models)

        def price(model_id: str) -> Price | None:
            row = prices.current(model_id)
            return None if row is None else row.price

        known: dict[str, list[ModelInfo]] = {}
        for model in models:
            known.setdefault(model.provider, []).append(model)
        retired = frozenset(m.info.id for m in load_catalog().models if m.deprecated)
        types = tuple(load_priors().types)
        return _Catalogue(known, retired, price, cache(self._reader.priors({})), types)

    def lives(self, case: Case) -> bool:
        """Whether another provider of the fleet has a model that could answer."""
        others = [p.model for p in self.proposal(case.fleet).picks if p.model.provider != case.down]
        if case.asked == "photo_analysis":
            others = [model for model in others if model.has("vision") is not False]
        return bool(others)

    def is_proposed(self, case: Case) -> bool:
        proposal = self.proposal(case.fleet)
        if case.asked == "chain":
            return proposal.chain is not None
        return case.asked == "auto" or case.asked in proposal.roles

    # --- outages ------------------------------------------------------------------------------

    def take_down(self, slug: str, fault: str) -> None:
        if fault == "dns":
            self.app.providers.put(replace(self.providers[slug], base_url=_NOWHERE))
            return
        if fault == "revoked":
            fault = "400-key" if PRESETS[slug].protocol == "gemini" else "403"
        self.sim.fault(fault, f"{_at(slug)}/*")

    def mend(self, slug: str) -> None:
        """All well again, and nobody remembers."""
        self.sim.reset()
        if self.app.providers.get(slug) not in (None, self.providers[slug]):
            self.app.providers.put(self.providers[slug])
        with self.app.store.transaction() as db:
            db.execute("DELETE FROM breakers")

    def prune(self, fleets: Sequence[tuple[str, ...]]) -> None:
        """Models that no proposal has would only take time."""
        wanted = {pick.model.id for fleet in fleets for pick in self.proposal(fleet).picks}
        with self.app.store.transaction() as db:
            for (model,) in db.execute("SELECT id FROM models").fetchall():
                if model not in wanted:
                    db.execute("DELETE FROM models WHERE id = ?", (model,))

    # --- by the service that the CLI uses -----------------------------------------------------

    def install(self, fleet: tuple[str, ...]) -> None:
        """The proposal, and nothing else, in the store; the chain's links as patient as a try."""
        app, proposal = self.app, self.proposal(fleet)
        with app.store.transaction() as db:
            for table in ("roles", "chains", "providers"):
                db.execute(f"DELETE FROM {table}")
            db.execute("UPDATE models SET status = 'standby' WHERE status = 'active'")
            for provider in proposal.providers:
                app.providers.put(provider)
            for pick in proposal.picks:
                app.models.put(replace(pick.model, status="active"), now_ms=0)
            for name, models in proposal.roles.items():
                ranked = tuple(RoleModel(model, place) for place, model in enumerate(models, 1))
                app.assignments.put_role(Role(name, "", ranked))
            if proposal.chain is not None:
                app.assignments.put_chain(impatient(proposal.chain))
        self.forget()

    def forget(self) -> None:
        """What another process would read anew."""
        self._later_s += 2 * FRESH_MS / 1000

    def chat(self, case: Case) -> str:
        """Who answered. Raises OmniError."""
        app = self.app
        job = ChatJob(
            request_of(case),
            app.names.select(f"chain:{DEFAULT_CHAIN}" if case.asked == "chain" else case.asked),
            route_options(app, RequestFacts()),
            keep=False,
        )
        run = app.chat.start(app.chat.plan(job))
        text = "".join(chunk.text for chunk in app.chat.chunks(run))
        assert run.row is not None
        assert "simulated" in text
        return run.row.provider

    # --- by a gateway -------------------------------------------------------------------------

    def name(self, fleet: tuple[str, ...], asked: str) -> str:
        """Of a fleet's chain or role, shared by those that propose the same models for it."""
        proposal = self.proposal(fleet)
        links = () if proposal.chain is None else proposal.chain.links
        models = [link.model for link in links] if asked == "chain" else proposal.roles[asked]
        return f"{asked}.{zlib.crc32(repr(models).encode()):08x}"

    def install_all(self, fleets: Sequence[tuple[str, ...]]) -> None:
        """Every fleet's roles and chain side by side, and a key that sees its models only."""
        app, keys = self.app, GatewayKeyStore(self.app.store)
        self.prune(fleets)
        with app.store.transaction():
            for slug in KEYED:
                app.providers.put(self.providers[slug])
            for fleet in fleets:
                proposal, name = self.proposal(fleet), "-".join(fleet)
                for pick in proposal.picks:
                    app.models.put(replace(pick.model, status="active"), now_ms=0)
                for role, models in proposal.roles.items():
                    ranked = tuple(RoleModel(model, at) for at, model in enumerate(models, 1))
                    app.assignments.put_role(Role(self.name(fleet, role), "", ranked))
                if proposal.chain is not None:
                    chain = replace(impatient(proposal.chain), name=self.name(fleet, "chain"))
                    app.assignments.put_chain(chain)
                picked = tuple(pick.model.id for pick in proposal.picks)
                if picked:
                    keys.add(ClientKey(name, "omni-...", models=picked), f"omni-{name}")


def _at(slug: str) -> str:
    """The provider's name at the simulator: OpenRouter's models bear those of other providers."""
    return f"at-{slug}"


def impatient(chain: Chain) -> Chain:
    links = tuple(replace(link, max_retries=0, timeout_ms=1_000) for link in chain.links)
    return replace(chain, links=links)


def request_of(case: Case) -> ChatRequest:
    parts: tuple[Part, ...] = (TextPart("Is it up?"),)
    if case.asked == "photo_analysis":
        parts = (TextPart("What is this?"), MediaPart("image/gif", PIXEL))
    return ChatRequest((Message("user", parts),), max_output_tokens=60, stream=case.stream)


def ask_gateway(http: httpx.Client, outage: Outage, case: Case) -> httpx.Response:
    model = "auto"
    if case.asked != "auto":
        kind = "chain" if case.asked == "chain" else "role"
        model = f"{kind}:{outage.name(case.fleet, case.asked)}"
    content: object = "Is it up?"
    if case.asked == "photo_analysis":
        url = f"data:image/gif;base64,{PIXEL}"
        content = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": url}},
        ]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 60,
        "stream": case.stream,
    }
    key = {"authorization": f"Bearer omni-{'-'.join(case.fleet)}"}
    return http.post("/v1/chat/completions", json=body, headers=key)


def rotation(fleets: Sequence[tuple[str, ...]]) -> Iterator[Case]:
    """Each fleet once; who fails, how, and what is asked in turn: every fault meets everything
    that can be asked, plain and streaming."""
    usual = cycle(product(FAULTS[:-1], ASKS, (False, True)))
    slow = cycle(product(FAULTS[-1:], ASKS, (False, True)))
    for number, fleet in enumerate(fleets):
        fault, asked, stream = next(usual if number % HANGS_EVERY else slow)
        down = fleet[(number + number // 3) % len(fleet)]
        yield Case(fleet, down, fault, asked, stream)


def by_outage(fleets: Sequence[tuple[str, ...]]) -> Iterator[Case]:
    """Each fleet once, in the order of who is down: a gateway then sees an outage last."""
    asks = cycle(product(ASKS, (False, True)))
    of: dict[str, list[tuple[str, ...]]] = {slug: [] for slug in KEYED}
    for fleet in fleets:
        min((of[slug] for slug in fleet), key=len).append(fleet)
    usual = cycle(FAULTS[:-1])
    for down, mine in of.items():
        fault = FAULTS[-1] if down == SILENT else next(usual)
        for fleet in mine:
            asked, stream = next(asks)
            yield Case(fleet, down, fault, asked, stream)


def everything(fleets: Sequence[tuple[str, ...]]) -> Iterator[Case]:
    """The whole product, in the order of who is down and how."""
    for down, fault in product(KEYED, FAULTS):
        for fleet in fleets:
            for asked, stream in product(ASKS, (False, True)) if down in fleet else ():
                yield Case(fleet, down, fault, asked, stream)

"""One provider down: in every fleet that ``omni init --yes`` proposes, whoever else lives answers.

Every pair and triple of the known providers that have keys (105 and 455) is walked: pairs by the
service that the CLI uses and by a gateway, triples by one or the other, as a rotation of faults
and of what is asked. The whole product (each provider of each fleet, each fault, each role, auto
and the chain, plain and streaming, both faces) takes hours: OMNI_OUTAGE=all runs it,
OMNI_OUTAGE=openai,anthropic,google that of these providers' fleets, and -s shows the figures.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, product
from pathlib import Path

import httpx
import pytest

from omni_cli.domain.errors import OmniError
from omni_cli.simulator import Simulator
from tests.gateway_server import seeded, serving
from tests.integration.cli_process import omni
from tests.outage import (
    ASKS,
    FAULTS,
    KEYED,
    PAIRS,
    TRIPLES,
    Case,
    Outage,
    ask_gateway,
    by_outage,
    everything,
    rotation,
)

_WHOLE = os.environ.get("OMNI_OUTAGE", "")
_ASKED_FOR = frozenset(KEYED if _WHOLE == "all" else filter(None, _WHOLE.split(",")))
#: Which fleets the CLI's service, and which a gateway is asked about.
FLEETS = tuple(
    tuple(fleet for fleet in (*PAIRS, *TRIPLES) if _ASKED_FOR.issuperset(fleet))
    if _WHOLE
    else (*PAIRS, *TRIPLES[half::2])
    for half in (0, 1)
)
#: Longer than a gateway takes to see what another process wrote.
_SEEN_S = 0.6
#: No request may take so long: tries, retries and stand-ins of a fleet of three.
_LIMIT_S = 60.0
Walk = Callable[[Case], str]


@pytest.fixture
def outage(tmp_path: Path, sim: Simulator) -> Iterator[Outage]:
    made = Outage(tmp_path / "omni", sim, seeded())
    yield made
    made.close()


class Figures:
    """What came of it. A provider of the fleet that is down must not have answered; somebody
    must, where another one could."""

    def __init__(self, outage: Outage) -> None:
        self._outage = outage
        self.met: set[tuple[str, str, bool]] = set()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.longest_s = 0.0

    def add(self, case: Case, ask: Walk) -> None:
        began = time.monotonic()
        try:
            who, error = ask(case), ""
        except OmniError as exc:
            who, error = "", exc.message
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        lives = self._outage.lives(case)
        self.counts["answered" if who else "nobody else lives" if not lives else "unanswered"] += 1
        if bool(who) != lives or who == case.down:
            self.wrong.append(f"{case}: {who or error}")
        self.met.add((case.fault, case.asked, case.stream))

    def check(self, face: str) -> None:
        told = f"{face}: {dict(self.counts)}, the longest took {self.longest_s:.1f} s"
        sys.stdout.write(told + "\n")
        assert not self.wrong, f"{len(self.wrong)} of {self.counts.total()}: {self.wrong[:5]}"
        assert self.counts["answered"] > self.counts.total() // 2
        assert self.longest_s < _LIMIT_S


def _proposed(outage: Outage, cases: Iterable[Case]) -> Iterator[Case]:
    """Not what init did not propose: a role that no model of the fleet is fit for."""
    return (case for case in cases if outage.is_proposed(case))


def test_the_service_behind_the_cli_finds_whoever_lives(outage: Outage) -> None:
    figures = Figures(outage)
    outage.prune(FLEETS[0])
    cases = everything(FLEETS[0]) if _WHOLE else rotation(FLEETS[0])
    for case in _proposed(outage, cases):
        outage.install(case.fleet)
        outage.take_down(case.down, case.fault)
        outage.forget()
        figures.add(case, outage.chat)
        outage.mend(case.down)
    figures.check("CLI")
    assert {(fault, asked) for fault, asked, _ in figures.met} == set(product(FAULTS, ASKS))
    assert {stream for _, _, stream in figures.met} == {False, True}


def test_a_gateway_finds_whoever_lives(outage: Outage) -> None:
    figures = Figures(outage)
    cases = list(_proposed(outage, everything(FLEETS[1]) if _WHOLE else by_outage(FLEETS[1])))
    with serving(outage.home, outage.sim, env=outage.env) as served:
        outage.install_all(FLEETS[1])
        with httpx.Client(base_url=served.url, timeout=_LIMIT_S, trust_env=False) as http:

            def ask(case: Case) -> str:
                answer = ask_gateway(http, outage, case)
                if answer.status_code != 200:
                    raise OmniError(answer.text)
                whole = '"finish_reason":"stop"' if case.stream else "simulated"
                assert whole in answer.text, answer.text
                assert '"error"' not in answer.text
                return answer.headers["x-omni-model"].partition("/")[0]

            for (down, fault), some in groupby(cases, lambda case: (case.down, case.fault)):
                outage.take_down(down, fault)
                time.sleep(_SEEN_S)
                for case in some:
                    figures.add(case, ask)
                outage.mend(down)
            time.sleep(_SEEN_S)
    figures.check("gateway")
    assert {asked for _, asked, _ in figures.met} == set(ASKS)
    assert {fault for fault, _, _ in figures.met} == set(FAULTS)


def test_the_real_commands_with_nothing_configured(outage: Outage) -> None:
    """As a newcomer does it: keys, ``omni init --yes``, an outage; settings are the defaults."""
    home = outage.home.parent / "fresh"
    urls = {slug: outage.providers[slug].base_url for slug in ("openai", "anthropic")}
    env = {
        **os.environ,
        "OMNI_HOME": str(home),
        "OPENAI_API_KEY": "sk-openai",
        "ANTHROPIC_API_KEY": "sk-anthropic",
    }
    assert omni(env, "init", "--yes", "--no-local").code == 0
    for slug, url in urls.items():
        assert omni(env, "providers", "edit", slug, "--base-url", url).code == 0
    proposal = outage.proposal(("openai", "anthropic"))
    roles = omni(env, "roles", "list", "--json").json
    assert {r["name"]: tuple(m["model"] for m in r["models"]) for r in roles} == proposal.roles
    outage.sim.fault("503", "at-openai/*")
    for asked in ((), ("-m", "role:heartbeat"), ("-m", "chain:default")):
        answer = omni(env, "chat", "--json", "--no-stream", *asked, "Is it up?").json
        assert answer["model_used"].startswith("anthropic/")
    receipt = omni(env, "why", "--json").json
    assert receipt["model_used"].startswith("anthropic/")

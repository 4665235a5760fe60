"""One namespace and one rule for odd prices, whoever sets them: CLI, apply, TUI, management API."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tomli_w

from omni_cli.bootstrap import App
from omni_cli.domain.errors import UsageError
from omni_cli.services.money.prices import doubt
from omni_cli.simulator import Simulator
from omni_cli.tui import actions
from tests.gateway_server import Served, serving
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import connect

GPT, DEEPSEEK = "openai/gpt-4o", "deepseek/deepseek-chat"


@pytest.fixture
def fleet(omni: Omni, home: Path, sim: Simulator) -> Omni:
    connect(home, sim)
    omni("roles", "assign", "writer", GPT)
    omni("chains", "create", "Night Shift", GPT, DEEPSEEK)
    omni("models", "alias", GPT, "quick")
    return omni


#: Words of omni's own, and names that the fleet above has given away.
OWN = ["auto", "AUTO", "auto:cheap", "role:x", "chain:x", "last", "list"]
GIVEN = ["writer", "night-shift", "quick", "openai"]


@pytest.mark.parametrize("name", [*OWN, *GIVEN, "Writer", "a b", "x" * 300, "ü"])
def test_an_alias_means_one_thing(fleet: Omni, name: str) -> None:
    ran = fleet("models", "alias", DEEPSEEK, name)
    assert ran.code == 2, ran.out
    assert "hint:" in ran.err
    assert fleet("models", "add", DEEPSEEK, "--alias", name).code == 2
    document = tomllib.loads(fleet("fleet", "export").out)
    assert not document["models"][DEEPSEEK].get("aliases")
    document["models"][DEEPSEEK]["aliases"] = [name]
    ran = fleet("apply", "-", "--yes", stdin=tomli_w.dumps(document))
    assert ran.code == 2, ran.out
    assert "hint:" in ran.err


@pytest.mark.parametrize("name", ["auto", "last", "list", "quick", "openai", "deepseek-chat"])
def test_roles_and_chains_mean_one_thing(fleet: Omni, name: str) -> None:
    for ran in (
        fleet("roles", "assign", name, GPT),
        fleet("chains", "create", name, GPT),
        fleet("chains", "rename", "Night Shift", name),
        fleet("apply", "-", "--yes", stdin=_with(fleet, f'[roles."{name}"]\nmodels = []\n')),
    ):
        assert ran.code == 2, (name, ran.out)
        assert "hint:" in ran.err
    assert fleet("chains", "create", "writer", GPT).code == 2
    assert fleet("roles", "assign", "night-shift", GPT).code == 2
    assert (
        fleet("providers", "add", "writer", "--protocol", "openai", "--base-url", "http://x").code
        == 2
    )


def _with(omni: Omni, table: str) -> str:
    return omni("fleet", "export").out + "\n" + table


def test_a_role_keeps_its_name_when_a_catalogue_brings_the_same(omni: Omni, home: Path) -> None:
    """A provider that is added later has models of its own; who named a chain meant the chain."""
    omni("providers", "add", "openai")
    omni("models", "activate", GPT)
    omni("chains", "create", "deepseek-chat", GPT, "openai/gpt-4o-mini")
    omni("providers", "add", "deepseek")
    with App() as app:
        assert app.names.select("deepseek-chat").kind == "chain"


# --- prices -------------------------------------------------------------------------------------

ODD = [("0.0000025", "0.00001"), ("0.0025", "0.01"), ("2500", "10000"), ("2.5", "0.00001")]


@pytest.mark.parametrize(("price_in", "price_out"), ODD)
def test_a_price_in_another_unit_needs_a_word(fleet: Omni, price_in: str, price_out: str) -> None:
    rates = ("--price-in", price_in, "--price-out", price_out)
    for command in (
        ("models", "price", GPT, *rates),
        ("models", "add", GPT, *rates),
        ("reprice", "-m", GPT, *rates),
    ):
        ran = fleet(*command)
        assert ran.code == 2, command
        assert "times" in ran.err
        assert "per 1,000,000 tokens" in ran.err
        assert "--yes" in ran.err
    with App() as app:
        assert not app.models.user_prices()
    assert fleet("models", "price", GPT, *rates, "--yes").code == 0


def test_a_price_of_a_model_that_nobody_publishes(fleet: Omni) -> None:
    args = ("models", "add", "openai/ours", "--price-out", "2")
    assert "less than any model costs" in fleet(*args, "--price-in", "0.000002").err
    assert fleet(*args, "--price-in", "0.02").code == 0
    assert (
        fleet("models", "price", "openai/ours", "--price-in", "nan", "--price-out", "1").code == 2
    )


def test_a_unit_alone_is_a_price(fleet: Omni) -> None:
    """An image, an hour of sound, a text to be spoken and a search are not counted in tokens."""
    assert fleet("models", "add", "openai/flux").code == 0
    assert fleet("models", "price", "openai/flux", "--per-request", "1").code == 2
    units = ("--per-image", "0.04", "--per-audio-hour", "0.36", "--per-million-characters", "15")
    assert fleet("models", "price", "openai/flux", *units).code == 0
    searches = ("--per-thousand-searches", "2", "--json")
    told = json.loads(fleet("models", "price", "openai/flux", *searches).out)
    assert (told["state"], told["input"], told["per_image_usd"]) == ("priced", None, "0.04")
    assert (told["per_audio_hour_usd"], told["per_million_characters_usd"]) == ("0.36", "15")
    assert told["per_thousand_searches_usd"] == "2"
    assert "hour of sound" in fleet("models", "show", "openai/flux").out
    assert fleet("models", "price", "openai/flux", "--per-image", "-1").code == 2


@pytest.mark.parametrize("factor", ["0.5", "0", "1.2", "20", "0.05"])
def test_discounts_and_mark_ups_are_not_asked_about(fleet: Omni, factor: str) -> None:
    rates = (str(2.5 * float(factor)), str(10 * float(factor)))
    assert fleet("models", "price", GPT, "--price-in", rates[0], "--price-out", rates[1]).code == 0


def test_no_price_of_the_catalogue_is_odd() -> None:
    from omni_cli.catalog.load import load_catalog
    from omni_cli.services.money.prices import base_rates

    odd = [
        (model.info.id, found)
        for model in load_catalog().models
        for price in model.prices
        if (found := doubt(base_rates(price), None))
    ]
    assert odd == []


def test_apply_asks_about_an_odd_price_and_takes_yes(fleet: Omni) -> None:
    price = '[models."openai/gpt-4.1".price]\nstate = "priced"\ninput = "0.000002"\noutput = "8"\n'
    document = _with(fleet, f'[models."openai/gpt-4.1"]\nstatus = "active"\n{price}')
    ran = fleet("apply", "-", stdin=document)
    assert ran.code == 2
    assert "an odd price: openai/gpt-4.1: input at $0.000002 is 1,000,000 times less" in ran.err
    assert fleet("apply", "-", "--yes", stdin=document).code == 0
    assert "odd price" not in fleet("apply", "-", "--plan", stdin=fleet("fleet", "export").out).err


def test_free_requests_alone_go_with_the_price_there_is(fleet: Omni) -> None:
    data = fleet("models", "price", GPT, "--free-requests", "100", "--json").data
    assert (data["free_requests_per_month"], data["input"]) == (100, "2.5")
    ran = fleet("models", "price", "openai/nowhere", "--free-requests", "1")
    assert ran.code == 1
    fleet("models", "add", "openai/ours")
    ran = fleet("models", "price", "openai/ours", "--free-requests", "1")
    assert ran.code == 2
    assert "give --price-in and --price-out" in ran.err


# --- the other faces ----------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    home = tmp_path / "gateway"
    home.mkdir()
    with serving(home, sim) as found:
        yield found


def test_the_management_api_has_the_same_rules(served: Served) -> None:
    with httpx.Client(base_url=served.url) as http:
        for name in ("auto", "openai", "list", "anthropic"):
            answer = http.put(f"/api/roles/{name}", json={"model": GPT})
            assert answer.status_code == 400, answer.text
            assert http.put(f"/api/models/{GPT}/roles", json={"roles": [name]}).status_code == 400
        price = {"price": {"input": "0.0000025", "output": "0.00001"}}
        answer = http.put(f"/api/models/{GPT}/config", json=price)
        assert answer.status_code == 400
        assert "times less than the catalogue" in answer.text
        assert http.put(f"/api/models/{GPT}/config", json={**price, "sure": True}).is_success


def test_the_tui_has_the_same_rules(fleet: Omni) -> None:
    from omni_cli.tui.screens.model import _save

    with App() as app:
        with pytest.raises(UsageError, match="already names"):
            _save(app, DEEPSEEK, {"alias": "writer"}, {"alias": "writer"})
        values = {"input": "0.0000025", "cached": "", "output": "10"}
        with pytest.raises(UsageError, match="times less"):
            _save(app, GPT, {"input": "0.0000025"}, values)
        _save(app, GPT, {"input": "0.0000025"}, values, sure=True)
        form = dict.fromkeys(("name", "protocol", "key_env", "key", "max_concurrency"), "")
        form |= {"slug": "writer", "base_url": "http://127.0.0.1:9", "protocol": "openai"}
        with pytest.raises(UsageError, match="already names the role writer"):
            actions.put_provider(app, form)

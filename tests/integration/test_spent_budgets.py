"""A spent budget of one provider or model is a filter (M5); one of everything refuses."""

import time

import httpx
import pytest

from omni_cli.domain.budgets import Budget
from tests.conftest import CHEAP, FREE, GOOD, Fleet
from tests.gateway_server import Served
from tests.integration.cli_process import omni
from tests.integration.gateway.conftest import gateway, http

__all__ = ["gateway", "http"]

PATH = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "hello there"}], "max_tokens": 50}


def test_route_and_chat_pass_over_a_provider_without_budget(fleet: Fleet) -> None:
    fleet.app.fleet.set_status(FREE, "disabled")
    assert omni(fleet.env, "route", "hello there", "--json").json["model"] == CHEAP
    set_ = omni(fleet.env, "budgets", "set", "provider:openai", "0.0000001", "--per", "day")
    assert set_.code == 0
    route = omni(fleet.env, "route", "hello there", "--json").json
    assert route["model"] == GOOD
    kept_out = {c["model"]: c["kept_out"] for c in route["candidates"]}
    assert kept_out[CHEAP] == "budget"
    assert f"in place of {CHEAP} (the day budget of provider openai" in route["reason"]
    answer = omni(fleet.env, "chat", "--json", "hello there").json
    assert answer["model_used"] == GOOD
    receipt = omni(fleet.env, "why", "--json").json
    assert [s["model"] for s in receipt["decision"]["skipped"]] == [CHEAP]
    shown = omni(fleet.env, "why").out
    assert "not asked" in shown
    assert "day budget of provider openai" in shown


def test_the_refusal_names_what_kept_each_out_and_what_lifts_it(fleet: Fleet) -> None:
    fleet.app.fleet.set_status(FREE, "disabled")
    fleet.app.budgets.put(Budget(0, "provider", "openai", "day", 1))
    (fleet.home / "config.toml").write_text("[routing]\nconsent_floor_usd = 0.0\n")
    refused = omni(fleet.env, "chat", "hello there")
    assert refused.code == 4
    assert "day budget of provider openai" in refused.err
    assert f"{GOOD}: " in refused.err
    assert "more than 5 times" in refused.err
    for way in ("--any-cost", "x-omni-any-cost", "routing.max_fallback_multiple"):
        assert way in refused.err
    assert omni(fleet.env, "route", "hello there", "--json").json["model"] is None
    for lifted in (
        omni(fleet.env, "chat", "--any-cost", "--json", "hello there"),
        omni({**fleet.env}, "route", "--any-cost", "--json", "hello there"),
    ):
        assert lifted.code == 0, lifted.err
    assert omni(fleet.env, "config", "set", "routing.max_fallback_multiple", "0").code == 0
    assert omni(fleet.env, "chat", "--json", "hello there").json["model_used"] == GOOD


@pytest.mark.parametrize(
    "budget", [Budget(0, "all", "", "day", 0), Budget(0, "agent", "bot", "day", 0)]
)
def test_a_spent_budget_of_everything_refuses(fleet: Fleet, budget: Budget) -> None:
    fleet.app.fleet.set_status(FREE, "disabled")
    fleet.app.budgets.put(budget)
    refused = omni(fleet.env, "chat", "--agent", "bot", "hello there")
    assert refused.code == 4
    assert budget.label in refused.err


def test_the_gateway_asks_others_and_says_whom_it_did_not_ask(
    gateway: Served, http: httpx.Client
) -> None:
    gateway.app.fleet.set_status("ollama/llama3.1:70b", "disabled")  # what is free needs none
    time.sleep(0.5)
    first = http.post(PATH, json={**ASK, "model": "auto"}).headers["x-omni-model"]
    gateway.settle(1)
    slug = first.partition("/")[0]
    gateway.app.budgets.put(Budget(0, "provider", slug, "day", 1))
    # The decision may rest on what was read up to four seconds ago; the reservation never does.
    for count in (2, 3):
        answer = http.post(PATH, json={**ASK, "model": "auto"})
        assert answer.status_code == 200, answer.text
        assert not answer.headers["x-omni-model"].startswith(f"{slug}/")
        assert f"{first}=budget" in answer.headers["x-omni-skipped"]
        gateway.settle(count)
    gateway.app.budgets.put(Budget(0, "all", "", "day", 0))
    refused = http.post(PATH, json={**ASK, "model": "openai/gpt-4o"})
    assert refused.status_code == 402

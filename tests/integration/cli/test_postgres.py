"""A day's commands on a store in PostgreSQL: the same as on a file."""

import pytest

from tests.conftest import CHEAP
from tests.engine import DATABASES
from tests.integration.cli.conftest import Omni
from tests.integration.conftest import Simulator
from tests.postgres import MISSING, programs

SECRET = "s3cret-of-the-database"


@pytest.fixture(autouse=True)
def on_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    if programs() is None:
        pytest.skip(MISSING)
    monkeypatch.setattr(DATABASES, "engine", "postgres")


def test_a_day_of_commands(
    on_postgres: None, omni: Omni, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = omni(
        "providers", "add", "openai", "--protocol", "openai", "--base-url", f"{sim.url}/openai/v1",
        "--no-auth",
    )  # fmt: skip
    assert added.code == 0, added.err
    assert omni("models", "activate", CHEAP).code == 0
    assert omni("budgets", "set", "all", "0.01", "--per", "day").code == 0
    asked = omni("chat", "why is the sky blue?", "-m", CHEAP, "--json")
    assert asked.code == 0, asked.err
    cost = asked.data["cost_usd"]
    assert omni("chat", "and at night?", "-c", "-m", CHEAP, "--no-stream").code == 0
    why = omni("why", asked.data["id"], "--json")
    assert why.data["cost_usd"] == cost
    total = omni("usage", "--json").data["total"]
    assert total["calls"] == 2
    assert omni("budgets", "list", "--json").data
    # A budget that is spent refuses, before anything is sent.
    assert omni("budgets", "set", "all", "0.0000001", "--per", "day").code == 0
    assert omni("chat", "more", "-m", CHEAP).code == 4
    for words in (
        ("models", "list"), ("logs",), ("costs",), ("savings",), ("health",), ("recommend",),
        ("route", "hi"), ("fleet", "export"), ("roles", "list"), ("audit",),
        ("db", "stats"), ("db", "check"), ("db", "rebuild"), ("db", "vacuum"),
        ("db", "prune", "--keep", "90d"),
    ):  # fmt: skip
        ran = omni(*words)
        assert ran.code == 0, (words, ran.err)
    checked = omni("doctor", "--json")
    names = {check["name"]: check for check in checked.data["checks"]}
    assert names["postgresql"]["state"] == "ok"
    assert "postgresql://omni@127.0.0.1" in names["store"]["message"]


def test_no_password_is_shown(
    on_postgres: None, omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNI_DATABASE_URL", f"postgresql://ann:{SECRET}@127.0.0.1:9/omni")
    for words in (
        ("models", "list"), ("doctor",), ("doctor", "--json"), ("config", "list"),
        ("config", "path"), ("db", "stats"), ("chat", "hi"), ("serve", "--port", "0"),
    ):  # fmt: skip
        ran = omni(*words)
        assert SECRET not in ran.out + ran.err, words
    assert omni("models", "list").code != 0

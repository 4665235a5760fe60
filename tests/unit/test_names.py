"""What a name on the command line stands for (services/engine/names.py)."""

import pytest

from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.models import Chain, ChainLink, Role
from omni_cli.services.engine.names import Selector
from tests.unit.world import World


@pytest.fixture
def named(world: World) -> World:
    world.model("p/big", aliases=("Big One",))
    world.model("p/llama3:8b")
    world.model("p/twin")
    world.model("q/twin")
    world.assignments.put_role(Role("coder"))
    world.assignments.put_role(Role("big-one"))
    world.assignments.put_chain(Chain("Night Shift", (ChainLink("p/big"),)))
    return world


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        (None, "auto", ""),
        ("auto", "auto", ""),
        ("auto:cheap", "auto", "cheap"),
        ("auto:fast", "auto", "fast"),
        ("p/big", "model", "p/big"),
        ("p:big", "model", "p/big"),
        ("big", "model", "p/big"),
        ("BIG one", "model", "p/big"),
        ("big-one", "role", "big-one"),  # the user named the role; a catalogue brings aliases
        ("role:big-one", "role", "big-one"),
        ("llama3:8b", "model", "p/llama3:8b"),
        ("p/llama3:8b", "model", "p/llama3:8b"),
        ("q/twin", "model", "q/twin"),
        ("coder", "role", "coder"),
        ("Night Shift", "chain", "Night Shift"),
        ("chain:Night Shift", "chain", "Night Shift"),
    ],
)
def test_what_is_meant(named: World, text: str | None, kind: str, name: str) -> None:
    assert named.names.select(text) == Selector(kind, name)  # type: ignore[arg-type]  # by table


def test_a_name_that_several_have_is_a_question(named: World) -> None:
    with pytest.raises(UsageError, match="p/twin, q/twin"):
        named.names.select("twin")


def test_of_several_the_one_in_the_fleet_is_meant(named: World) -> None:
    named.providers.delete("q")
    assert named.names.select("twin") == Selector("model", "p/twin")


@pytest.mark.parametrize(
    ("text", "near"),
    [("p/bug", "p/big"), ("codr", "coder"), ("role:codr", "coder"), ("chain:Night", "Night Shift")],
)
def test_a_slip_is_answered_with_what_is_near(named: World, text: str, near: str) -> None:
    with pytest.raises(NotFound) as raised:
        named.names.select(text)
    assert near in raised.value.hint


def test_nonsense_says_where_to_look(named: World) -> None:
    with pytest.raises(NotFound) as raised:
        named.names.select("zzzzzzzz")
    assert "omni models" in raised.value.hint

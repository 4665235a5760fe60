"""What the rest of the house takes for granted of a value."""

from decimal import Decimal

import pytest
from msgspec import Struct

from omni_cli.domain.analytics import Totals
from omni_cli.domain.prices import Price, Rate, Tier
from omni_cli.domain.record import asdict, replace


class _Leaf(Struct, frozen=True):
    names: frozenset[str] = frozenset()
    amount: Decimal = Decimal("1.50")


class _Tree(Struct, frozen=True):
    leaves: tuple[_Leaf, ...] = ()
    by_name: dict[str, _Leaf] | None = None


def test_a_value_is_frozen_equal_by_fields_and_hashable() -> None:
    one = Rate(Decimal(3), (Tier(200_000, Decimal(6)),))
    assert one == Rate(Decimal(3), (Tier(200_000, Decimal(6)),))
    assert len({one, replace(one), replace(one, base=Decimal(4))}) == 2
    with pytest.raises(AttributeError):
        one.base = Decimal(5)  # type: ignore[misc]  # what is tried


def test_replace_takes_no_field_that_there_is_not() -> None:
    with pytest.raises(TypeError):
        replace(Totals(), cents=1)  # type: ignore[call-arg]  # what is tried


def test_a_replaced_price_is_compiled_anew() -> None:
    price = Price("priced", input=Rate(Decimal(1)), output=Rate(Decimal(2)))
    assert price.plan is price.plan
    dearer = replace(price, input=Rate(Decimal(9)))
    assert dearer.plan.dearest != price.plan.dearest
    assert price == Price("priced", input=Rate(Decimal(1)), output=Rate(Decimal(2)))


def test_asdict_goes_down_and_keeps_the_kinds_of_containers() -> None:
    leaf = _Leaf(frozenset({"a"}))
    tree = _Tree((leaf,), {"x": leaf})
    plain = {"names": frozenset({"a"}), "amount": Decimal("1.50")}
    assert asdict(tree) == {"leaves": (plain,), "by_name": {"x": plain}}

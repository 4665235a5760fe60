"""Chains as the Failover screen lays them out: rows, the list to add from, the forms."""

import re
from collections.abc import Iterable, Mapping, Sequence

from textual.content import Content

from omni_cli.domain.models import HEDGE_MS_RANGE, Chain, ChainLink
from omni_cli.tui.chains import ANY_COST, AS_LISTED, FREE_TO_PAID, NO_HEDGE, Member
from omni_cli.tui.widgets.form import Field
from omni_cli.tui.widgets.links import LinkRow
from omni_cli.tui.widgets.picker import Item

_MUTED = "$foreground-muted"
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


def row(link: ChainLink, members: Mapping[str, Member]) -> LinkRow:
    """A link with what is known of its model."""
    member = members.get(link.model)
    slug, _, wire_name = link.model.partition("/")
    return LinkRow(
        model=link.model,
        name=wire_name if member is None else member.model.name,
        provider=slug if member is None else member.provider,
        max_retries=link.max_retries,
        timeout_ms=link.timeout_ms,
        facts="" if member is None else member.facts,
        note="its provider is not in the fleet" if member is None else member.note,
    )


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
            "ms; the gateway then asks the next model as well",
            check=check_hedge,
        ),
    ]

"""The tabs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from omni_cli.tui.pane import Pane

_SCREENS = "omni_cli.tui.screens."


class Tab(Struct, frozen=True):
    """``key`` jumps to it, a letter where its title begins with it; ``short`` is its title where
    room is scarce; ``target`` is ``module:Class`` below tui/screens/, a ``Pane``; ``about`` says
    what it is for."""

    id: str
    key: str
    title: str
    short: str
    target: str
    about: str

    def load(self) -> "type[Pane[Any]]":
        module, _, name = self.target.partition(":")
        found: type[Pane[Any]] = getattr(import_module(_SCREENS + module), name)
        return found


TABS: tuple[Tab, ...] = (
    Tab("fleet", "1", "Fleet", "Fleet", "fleet:FleetPane", "models at work, ranked"),
    Tab("providers", "2", "Providers", "Prov", "providers:ProvidersPane", "accounts and health"),
    Tab("catalogue", "3", "Catalogue", "Cat", "catalogue:CataloguePane", "find and add models"),
    Tab("failover", "4", "Failover", "Fail", "failover:FailoverPane", "failover chains"),
    Tab("usage", "5", "Usage", "Usage", "usage:UsagePane", "calls and tokens over time"),
    Tab("costs", "6", "Costs", "Costs", "costs:CostsPane", "spending and projection"),
    Tab("budgets", "7", "Budgets", "Budg", "budgets:BudgetsPane", "limits and alerts"),
    Tab("activity", "8", "Activity", "Act", "activity:ActivityPane", "requests as they happen"),
    Tab("chat", "9", "Chat", "Chat", "chat:ChatPane", "try the fleet"),
    Tab("compare", "0", "Compare", "Comp", "compare:ComparePane", "models side by side"),
    Tab(
        "recommendations",
        "-",
        "Recommendations",
        "Recs",
        "recommendations:RecommendationsPane",
        "what would save or mend",
    ),
    Tab("roles", "R", "Roles", "Roles", "roles:RolesPane", "who does which job; rules"),
    Tab("history", "H", "History", "Hist", "history:HistoryPane", "changes, and back to them"),
)

"""What models there are, in every protocol's own form."""

from contextlib import suppress
from typing import Any

from omni_cli.domain.errors import NotFound
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.periods import iso
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.fleet import Fleets
from omni_cli.services.engine.names import AmbiguousName, Selector, shown
from omni_cli.services.fleet.describe import price_document
from omni_cli.services.money.prices import PriceBook

#: When a model was added is not known for those of the catalogue.
_SOME_TIME = 1_577_836_800


class Listing:
    """Args:
    fleets: whose active models are listed, to each caller those that its key may call.
    """

    def __init__(self, fleets: Fleets) -> None:
        self._fleets = fleets

    def visible(self, who: Principal) -> list[ModelInfo]:
        return [model for model in self._fleets.of(who.org).models() if who.may_call(model.id)]

    def models(self, who: Principal) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Models, and names that are no model's, in OpenAI's form with the registry's own fields
        (``provider``, ``cost_input``, ``max_tokens``...) beside it."""
        shown = self.visible(who)
        prices = self._prices(shown, who)
        others = [self._virtual(name, what) for name, what in self._others(who)]
        return [self._model(model, prices) for model in shown], others

    def model(self, name: str, who: Principal) -> dict[str, Any]:
        """One model, by its id or alias. Raises NotFound."""
        for other, what in self._others(who):
            if other == name:
                return self._virtual(name, what)
        selector: Selector | None = None
        with suppress(NotFound, AmbiguousName):
            selector = self._fleets.of(who.org).selector(name)
        # What the list does not show is not here either.
        for model in self.visible(who):
            if selector == Selector("model", model.id):
                return self._model(model, self._prices([model], who))
        raise NotFound(
            f"no model is called {shown(name)}",
            hint=self._fleets.of(who.org).near(name, who.may_call),
        )

    def _others(self, who: Principal) -> list[tuple[str, str]]:
        """Names that are no model's: what a decision is left to. A key that may call some models
        learns of roles and chains that hold one of these."""
        fleet = self._fleets.of(who.org)
        app, usable = fleet.app, fleet.usable
        names: list[tuple[str, str]] = [(name, "automatic choice") for name in _AUTOS]
        others = [Selector("role", role.name) for role in app.assignments.roles()]
        others += [Selector("chain", chain.name) for chain in app.assignments.chains()]
        return names + [
            (f"{other.kind}:{other.name}", other.kind)
            for other in others
            if not who.models or usable(other, who.may_call)
        ]

    def _prices(self, models: list[ModelInfo], who: Principal) -> PriceBook:
        app = self._fleets.of(who.org).app
        book = PriceBook(app.models, now_ms=app.now_ms())
        book.load(model.id for model in models)
        return book

    def _model(self, model: ModelInfo, prices: PriceBook) -> dict[str, Any]:
        rates = price_document(prices.current(model.id))
        return {
            "id": model.id,
            "object": "model",
            "created": (model.added_at or _SOME_TIME * 1000) // 1000,
            "owned_by": model.provider,
            "type": "model",
            "display_name": model.name,
            "created_at": iso(model.added_at or _SOME_TIME * 1000),
            "provider": model.provider,
            "model_name": model.wire_name,
            "cost_input": rates.get("input"),
            "cost_output": rates.get("output"),
            "strengths": list(model.strengths),
            "supports_functions": "function-calling" in model.badges,
            "supports_vision": "vision" in model.badges,
            "max_tokens": model.max_output,
            "context_window": model.context_window,
            "parameters_b": model.parameters_b,
            "output_types": list(model.output_types),
            "badges": sorted(model.badges),
            "aliases": list(model.aliases),
        }

    def _virtual(self, name: str, what: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": _SOME_TIME,
            "owned_by": "omni",
            "type": "model",
            "display_name": f"{name} ({what})",
            "created_at": iso(_SOME_TIME * 1000),
        }


_AUTOS = ("auto", "auto:cheap", "auto:balanced", "auto:best", "auto:fast")

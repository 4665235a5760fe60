"""What models there are, in every protocol's own form."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from omni_cli.domain.errors import NotFound
from omni_cli.domain.models import ModelInfo
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.fleet import Fleet
from omni_cli.services.engine.names import AmbiguousName, Selector, shown
from omni_cli.services.fleet.describe import iso, model_document
from omni_cli.services.money.prices import PriceBook

#: When a model was added is not known for those of the catalogue.
_SOME_TIME = 1_577_836_800


class Listing:
    """Args:
    fleet: whose active models are listed, to each caller those that its key may call.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def visible(self, who: Principal) -> list[ModelInfo]:
        return [model for model in self._fleet.models() if who.may_call(model.id)]

    def models(self, who: Principal) -> dict[str, Any]:
        """``GET /v1/models``: OpenAI's fields and Anthropic's, which do not contradict, and the
        registry's own (``provider``, ``cost_input``, ``max_tokens``...)."""
        shown = self.visible(who)
        prices = self._prices(shown)
        data = [self._model(model, prices) for model in shown]
        data += [self._virtual(name, what) for name, what in self._others(who)]
        return {
            "object": "list",
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }

    def model(self, name: str, who: Principal) -> dict[str, Any]:
        """One model, by its id or alias. Raises NotFound."""
        for other, what in self._others(who):
            if other == name:
                return self._virtual(name, what)
        selector: Selector | None = None
        with suppress(NotFound, AmbiguousName):
            selector = self._fleet.selector(name)
        # What the list does not show is not here either.
        for model in self.visible(who):
            if selector == Selector("model", model.id):
                return self._model(model, self._prices([model]))
        raise NotFound(
            f"no model is called {shown(name)}", hint=self._fleet.near(name, who.may_call)
        )

    def tags(self, who: Principal) -> dict[str, Any]:
        """``GET /api/tags`` of Ollama."""
        models = []
        names = [(m.id, m.parameters_b) for m in self.visible(who)]
        names += [(name, None) for name, _ in self._others(who)]
        for name, size in names:
            details = {
                "format": "gguf",
                "family": name.partition("/")[0],
                "families": None,
                "parameter_size": f"{size:g}B" if size else "",
                "quantization_level": "",
                "parent_model": "",
            }
            stamp = datetime.fromtimestamp(_SOME_TIME, UTC).isoformat().replace("+00:00", "Z")
            models.append(
                {
                    "name": name,
                    "model": name,
                    "modified_at": stamp,
                    "size": 0,
                    "digest": "",
                    "details": details,
                }
            )
        return {"models": models}

    def show(self, name: str, who: Principal) -> dict[str, Any]:
        """``POST /api/show`` of Ollama. Raises NotFound."""
        document = self.model(name, who)
        window = document.get("context_window")
        outputs = document.get("output_types") or ["text"]
        capabilities = ["completion"] if "text" in outputs else list(outputs)
        badges = document.get("badges") or []
        capabilities += ["tools"] if "function-calling" in badges else []
        capabilities += ["vision"] if "vision" in badges else []
        return {
            "details": {"format": "gguf", "family": str(document["owned_by"]), "families": None},
            "model_info": {"general.architecture": "omni", "omni.context_length": window},
            "capabilities": capabilities,
        }

    def gemini(self, who: Principal) -> dict[str, Any]:
        """``GET /v1beta/models`` of Gemini."""
        return {
            "models": [
                {
                    "name": f"models/{model.id}",
                    "displayName": model.name,
                    "inputTokenLimit": model.context_window,
                    "outputTokenLimit": model.max_output,
                    "supportedGenerationMethods": ["generateContent", "countTokens"],
                }
                for model in self.visible(who)
            ]
        }

    def _others(self, who: Principal) -> list[tuple[str, str]]:
        """Names that are no model's: what a decision is left to. A key that may call some models
        learns of roles and chains that hold one of these."""
        app, usable = self._fleet.app, self._fleet.usable
        names: list[tuple[str, str]] = [(name, "automatic choice") for name in _AUTOS]
        others = [Selector("role", role.name) for role in app.assignments.roles()]
        others += [Selector("chain", chain.name) for chain in app.assignments.chains()]
        return names + [
            (f"{other.kind}:{other.name}", other.kind)
            for other in others
            if not who.models or usable(other, who.may_call)
        ]

    def _prices(self, models: list[ModelInfo]) -> PriceBook:
        book = PriceBook(self._fleet.app.models, now_ms=self._fleet.app.now_ms())
        book.load(model.id for model in models)
        return book

    def _model(self, model: ModelInfo, prices: PriceBook) -> dict[str, Any]:
        price = prices.current(model.id)
        document = model_document(model, price)
        rates = document.get("price") or {}
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

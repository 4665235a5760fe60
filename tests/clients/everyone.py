"""One gateway before models of every protocol, which a budget holds, for walks of many clients."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from omni_cli.domain.budgets import Budget
from omni_cli.domain.record import replace
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving

#: A model of each protocol, by what people call it.
MODELS = {
    "Chat Completions": "openai/gpt-4o",
    "Responses": "oai-responses/gpt-4o",
    "Messages": "anthropic/claude-sonnet-4-5",
    "Gemini": "google/gemini-2.0-flash",
    "Ollama": "ollama/llama3.1:70b",
}


@contextmanager
def everybody(home: Path) -> Iterator[Served]:
    """Serve until the block ends."""
    with Simulator(seed=7) as sim, serving(home, sim) as served:
        app = served.app
        with app.fleet.change("test", "responses", None, "responses"):
            provider = replace(app.fleet.provider("openai"), slug="oai-responses")
            app.fleet.put_provider(replace(provider, protocol="openai-responses"))
            name = MODELS["Responses"]
            model = replace(app.fleet.model("openai/gpt-4o"), id=name, provider="oai-responses")
            app.fleet.put_model(replace(model, aliases=()), set_fields=())
            app.fleet.set_price(name, {"input": Decimal(2), "output": Decimal(10)}, sure=True)
            app.fleet.set_status(MODELS["Messages"], "active")
        app.budgets.put(Budget(0, "all", "", "day", 10**12))
        yield served

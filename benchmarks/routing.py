"""A routing decision over 200 models, in process (F1); beside LiteLLM's Router where installed.

    python -m benchmarks.routing [--models 200] [--rounds 300]

``decide`` is the whole of RoutingService.decide: classification, candidates from the loaded
fleet, filters, rules and score, with shipped quality priors. Every round asks another prompt.
"""

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.models import Provider, Rule
from omni_cli.domain.record import replace
from omni_cli.services.engine.routing import RouteOptions

_SLUGS = ("openai", "anthropic", "google", "openrouter", "mistral", "deepseek")
_PROSE = (
    "Write a Python function that sorts a list of tuples by their second item, explain why it "
    "works, and say what it costs in time and memory when the list is long. "
)


def prepare(app: App, models: int) -> int:
    """A fleet of so many active models of the catalogue, with two rules; returns its size."""
    with app.store.transaction():
        for slug in _SLUGS:
            app.providers.put(Provider(slug, slug, "openai", "http://127.0.0.1:9/v1", "none"))
        texts = [m for m in app.models.of_providers(_SLUGS) if "text" in m.output_types]
        for model in texts[:models]:
            app.models.put(replace(model, status="active", retired_on=None), now_ms=0)
        for number, task in enumerate(("math", "translation"), 1):
            app.assignments.put_rule(Rule(0, f"taskType == '{task}'", texts[number].id, number))
    return len(app.routing.active_models())


def prompt(chars: int, number: int) -> ChatRequest:
    text = f"Number {number}. " + _PROSE * (chars // len(_PROSE) + 1)
    return ChatRequest((Message.text_of("user", text[:chars]),))


def timed_ms(work: Callable[[ChatRequest], object], chars: int, rounds: int) -> list[float]:
    found = []
    for number in range(rounds):
        request = prompt(chars, number)
        began = time.perf_counter()
        work(request)
        found.append(1000 * (time.perf_counter() - began))
    return sorted(found)


def row(name: str, times: list[float]) -> float:
    median = statistics.median(times)
    print(f"{name:<44} {median:>9.3f} ms {times[int(len(times) * 0.99)]:>9.3f} ms")
    return median


def litellm_ms(models: int, rounds: int) -> list[float]:
    """Choosing a deployment by LiteLLM's Router, of so many in one group, simple shuffle."""
    from litellm import Router  # type: ignore[import-not-found,unused-ignore]  # only here

    router = Router(
        model_list=[
            {
                "model_name": "group",
                "litellm_params": {"model": f"openai/model-{n}", "api_key": "none"},
            }
            for n in range(models)
        ]
    )

    def choose(request: ChatRequest) -> object:
        text = [{"role": "user", "content": request.last_user_text}]
        return router.get_available_deployment(model="group", messages=text)

    return timed_ms(choose, 600, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, App({"OMNI_HOME": folder}) as app:
        size = prepare(app, given.models)
        routing, options = app.routing, RouteOptions()
        began = time.perf_counter()
        routing.estimate(prompt(600, 0), options)
        load_ms = 1000 * (time.perf_counter() - began)
        began = time.perf_counter()
        routing.decide(prompt(600, 0), options)
        first_ms = 1000 * (time.perf_counter() - began)
        print(f"{size} active models; Python {sys.version.split()[0]}")
        print(f"loading the classifier and its first prompt  {load_ms:>9.1f} ms")
        print(f"loading the fleet and its first decision     {first_ms:>9.1f} ms")
        print(f"{'':<44} {'median':>12} {'p99':>12}")

        def decide(request: ChatRequest) -> object:
            return routing.decide(request, options)

        median = row("decide, prompt of 600 characters", timed_ms(decide, 600, given.rounds))
        few = max(given.rounds // 20, 10)
        row("decide, 2,000 characters", timed_ms(decide, 2_000, given.rounds))
        row("decide, 200,000 characters", timed_ms(decide, 200_000, few))
        row("classify, 2,000", timed_ms(lambda r: routing.estimate(r, options), 2_000, 200))
        row("classify, 200,000", timed_ms(lambda r: routing.estimate(r, options), 200_000, few))
        if importlib.util.find_spec("litellm") is None:
            print("litellm is not installed, so there is nothing to compare with")
        else:
            row("litellm Router.get_available_deployment", litellm_ms(size, given.rounds))
        print(f"median under 1 ms: {'yes' if median < 1 else 'NO'}")


if __name__ == "__main__":
    main()

"""Paid probes: a tiny real call to a model. Only on request, capped, in the ledger (D1)."""

import time
from collections.abc import Callable
from contextlib import closing

from msgspec import Struct

from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.errors import BudgetExceeded, OmniError, UnknownPrice
from omni_cli.domain.pricing import format_usd, worst_case_nusd
from omni_cli.services.engine.chat import ChatService
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Names, Selector
from omni_cli.services.judge.alerts import Alert, Chore

QUESTION = "Reply with the single word: OK"
#: Enough for the word and for a thinking model's least thought.
_MOST_TOKENS = 64
_INPUT_BOUND = 64


class ProbeResult(Struct, frozen=True):
    """``error`` None: it answered. ``cost_nusd`` None: its price is unknown."""

    model: str
    latency_ms: int | None
    cost_nusd: int | None
    error: OmniError | None = None


class Prober(Struct, kw_only=True, eq=False):
    """Args:
    spent: nano-dollars that probes cost today.
    cap_nusd: the most that they may cost in a day.
    """

    chat: ChatService
    names: Names
    spent: Callable[[], int]
    cap_nusd: int

    def probe(self, name: str) -> ProbeResult:
        """Ask a model for one word. A failing model is in the result, not raised.

        Raises:
            NotFound: no such model.
            BudgetExceeded: the day's cap leaves no room; nothing was sent.
            UnknownPrice: a cap cannot be kept at an unknown price; nothing was sent.
        """
        model = self.names.model(name)
        request = ChatRequest(
            (Message.text_of("user", QUESTION),), max_output_tokens=_MOST_TOKENS, stream=False
        )
        job = ChatJob(request, Selector("model", model), source="probe", keep=False)
        plan = self.chat.plan(job)
        price = plan.targets[0].price
        if price is None or price.price.state == "unknown":
            raise UnknownPrice(
                f"the price of {model} is unknown, so a probe cannot be capped",
                hint=f"omni models price {model} --price-in USD --price-out USD sets one",
            )
        worst = worst_case_nusd(_INPUT_BOUND, _MOST_TOKENS, price.price)
        spent = self.spent()
        if spent + worst > self.cap_nusd:
            raise BudgetExceeded(
                f"probes cost {format_usd(spent)} today, and this one may cost "
                f"{format_usd(worst)}: the cap is {format_usd(self.cap_nusd)} a day",
                hint="raise --probe-cap",
            )
        run = self.chat.start(plan)
        error: OmniError | None = None
        try:
            with closing(self.chat.chunks(run)) as chunks:
                for _ in chunks:
                    pass
        except OmniError as exc:
            error = exc
        row = run.row
        return ProbeResult(
            model,
            None if row is None else row.latency_ms,
            None if row is None else row.total_nusd,
            error,
        )


def probe_chore(prober: Prober, models: list[str], every_s: float) -> Chore:
    """Probes on a schedule. When the day's cap is reached, one alert says so."""
    last: list[float] = []

    def due_s() -> float:
        return every_s - (time.monotonic() - last[-1]) if last else 0.0

    def run() -> list[Alert]:
        last[:] = [time.monotonic()]
        alerts = []
        for name in models:
            try:
                result = prober.probe(name)
            except OmniError as exc:
                alerts.append(Alert(f"probe:{name}", "warning", f"no probe of {name}", exc.message))
                continue
            if result.error is None:
                text = f"answered in {result.latency_ms} ms"
                alerts.append(Alert(f"probe:{name}", "ok", f"{name} answers", text))
            else:
                text = result.error.message
                alerts.append(Alert(f"probe:{name}", "error", f"{name} does not answer", text))
        return alerts

    return Chore("probe", due_s, run)

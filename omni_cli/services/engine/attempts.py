"""What a request is carried out with and what it tells: targets, and its progress."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.chat import Completion, CompletionFolder, FinishReason, Usage
from omni_cli.domain.clouds import charged_more
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price
from omni_cli.records import StoredPrice


class Target(Struct, frozen=True):
    """A model to try, and how hard."""

    model: ModelInfo
    provider: Provider
    price: StoredPrice | None
    max_retries: int
    timeout_ms: int
    #: Expected cost of this request there, nano-dollars, for the consent to dearer stand-ins.
    expected_nusd: int | None = None
    #: The price of another model of its provider, by its vendor's name; None where it has none.
    price_of: Callable[[str], Price | None] | None = None

    @property
    def retry_delay_s(self) -> float | None:
        """What its user wants waited before each further try, seconds."""
        delay_ms = self.model.settings.get("retry_delay_ms")
        return None if delay_ms is None else delay_ms / 1000

    @property
    def rpm(self) -> int | None:
        """Calls that may go out to it within a minute."""
        return self.model.settings.get("rate_limit_rpm")

    @property
    def charged_more(self) -> bool:
        """Its place costs more than the list price that it is charged by."""
        price = self.price
        if price is None or price.origin != "catalogue":
            return False
        return charged_more(self.model.wire_name, self.provider.base_url)


class AttemptSummary(Struct):
    """One attempt, for the answer's own report. ``outcome``: ok, failed, cancelled, skipped, or
    rejected: it answered, and the answer failed its check."""

    model: str
    outcome: str
    error: str | None
    latency_ms: int | None
    cost_nusd: int | None
    message: str = ""


_NO_USAGE = Usage()


class Progress(Struct):
    """What a request has done so far; read it at any time, also after an error.

    ``passed``: who was passed over by the decision, before anybody was asked."""

    passed: tuple[AttemptSummary, ...] = ()
    attempts: list[AttemptSummary] = field(default_factory=list)
    target: Target | None = None
    first_token_at: int | None = None
    notes: list[str] = field(default_factory=list)
    tries: int = 0
    usage: Usage = _NO_USAGE
    #: What each model that was asked could not be told of, or was told otherwise.
    unsaid: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: What the request may cost, all its calls together at their worst; None: no maximum.
    most_nusd: int | None = None
    #: The most that each call may be billed, by its number, where there is a maximum.
    worst: dict[int, int] | None = None
    _kept: CompletionFolder | Completion | None = None

    @property
    def room_nusd(self) -> int | None:
        """What is left of the maximum, None without one."""
        if self.most_nusd is None:
            return None
        return self.most_nusd - sum((self.worst or {}).values())

    def sent(self, n: int, worst_nusd: int) -> None:
        """A call goes out, for which there is a maximum."""
        self.worst = {**(self.worst or {}), n: worst_nusd}

    def billed(self, n: int, cost_nusd: int | None) -> None:
        """A call is over, and was seen to end. Any other may be billed as much as it ever could."""
        if self.worst and n in self.worst and cost_nusd is not None:
            self.worst = {**self.worst, n: cost_nusd}

    def keep(self, answer: CompletionFolder | Completion, usage: Usage) -> None:
        """What has been answered. It is put together when it is asked for: most of what the
        gateway passes on never is."""
        self._kept, self.usage = answer, usage

    @property
    def skipped(self) -> list[AttemptSummary]:
        """Who was passed over, by the decision and since."""
        since = [a for a in self.attempts if a.outcome == "skipped"]
        return [*self.passed, *since] if self.passed else since

    @property
    def completion(self) -> Completion | None:
        kept = self._kept
        if isinstance(kept, CompletionFolder):
            kept = self._kept = kept.completion(self.usage)
        return kept

    @property
    def finish_reason(self) -> FinishReason | None:
        return None if self._kept is None else self._kept.finish_reason


def carried_out(progress: Progress) -> dict[str, Any]:
    """What a request's decision is to tell of how it was carried out: who was passed over, and
    what could not be said. As JSON values; {} where there is nothing to tell."""
    found: dict[str, Any] = {}
    if skipped := progress.skipped:
        found["skipped"] = [{"model": a.model, "code": a.error, "why": a.message} for a in skipped]
    if progress.unsaid:
        found["unsaid"] = {model: list(told) for model, told in progress.unsaid.items()}
    return found

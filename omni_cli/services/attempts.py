"""What a dispatch is given and what it tells: targets, consent, and its progress."""

from dataclasses import dataclass, field

from omni_cli.domain.chat import Completion, CompletionFolder, FinishReason, Usage
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.pricing import format_usd
from omni_cli.records import StoredPrice


@dataclass(frozen=True, slots=True)
class Target:
    """A model to try, and how hard."""

    model: ModelInfo
    provider: Provider
    price: StoredPrice | None
    max_retries: int
    timeout_ms: int
    #: Expected cost of this request there, for the consent to dearer fallbacks.
    expected_nusd: int | None = None


@dataclass(frozen=True, slots=True)
class Consent:
    """What a fallback may cost unasked (a chain's settings)."""

    max_cost_multiple: float | None = 5.0
    allow_free_to_paid: bool = False

    def refusal(self, first: Target, later: Target) -> str:
        """Why ``later`` may not stand in for ``first``, or ""."""
        was_free = first.price is not None and first.price.price.state == "free"
        is_free = later.price is not None and later.price.price.state == "free"
        if was_free and not is_free and not self.allow_free_to_paid:
            return "costs money and the first choice is free"
        if self.max_cost_multiple is None or not first.expected_nusd:
            return ""
        if later.expected_nusd is None:
            return "its price is unknown, so it may be far dearer than the first choice"
        if later.expected_nusd > first.expected_nusd * self.max_cost_multiple:
            return (
                f"{format_usd(later.expected_nusd)} expected is more than "
                f"{self.max_cost_multiple:g} times the first choice's "
                f"{format_usd(first.expected_nusd)}"
            )
        return ""


@dataclass(slots=True)
class AttemptSummary:
    """One attempt, for the answer's own report. ``outcome``: ok, failed, cancelled, skipped, or
    rejected: it answered, and the answer failed its check."""

    model: str
    outcome: str
    error: str | None
    latency_ms: int | None
    cost_nusd: int | None
    message: str = ""


_NO_USAGE = Usage()


@dataclass(slots=True)
class Progress:
    """What a dispatch has done so far; read it at any time, also after an error."""

    attempts: list[AttemptSummary] = field(default_factory=list)
    target: Target | None = None
    first_token_at: int | None = None
    notes: list[str] = field(default_factory=list)
    tries: int = 0
    usage: Usage = _NO_USAGE
    _kept: CompletionFolder | Completion | None = None

    def keep(self, answer: CompletionFolder | Completion, usage: Usage) -> None:
        """What has been answered. It is put together when it is asked for: most of what the
        gateway passes on never is."""
        self._kept, self.usage = answer, usage

    @property
    def completion(self) -> Completion | None:
        kept = self._kept
        if isinstance(kept, CompletionFolder):
            kept = self._kept = kept.completion(self.usage)
        return kept

    @property
    def finish_reason(self) -> FinishReason | None:
        return None if self._kept is None else self._kept.finish_reason

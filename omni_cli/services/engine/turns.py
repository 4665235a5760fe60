"""Whose turn it is in one request, and what to say when everybody had theirs.

Every request (call.py) asks one model after the other by these rules.
"""

from collections.abc import Callable, Sequence

from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import (
    AllProvidersFailed,
    AuthError,
    BadRequest,
    BudgetExceeded,
    Busy,
    ConfigError,
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    OmniError,
    Paced,
    ProviderError,
    TimedOut,
    UnknownPrice,
)
from omni_cli.domain.ledger import RequestState
from omni_cli.domain.record import replace
from omni_cli.services.engine.attempts import Progress, Target

#: Errors that end one target's turn, and may leave it to the next.
PASSED_ON = (ProviderError, Busy, BudgetExceeded, UnknownPrice, ConfigError)
#: Errors that a single target's failure is told by, as they are.
_PLAIN = (AuthError, BadRequest, ContentFiltered, ConfigError, Busy, Paced)
#: Failures of one model, or of the request at that model: its provider may well answer.
_NOT_THE_PROVIDERS = (BadRequest, ContentFiltered, ContextTooLong, ModelNotFound, Paced)
#: Providers whose refusals of one request show that it is the request, for models nobody listed.
_ENOUGH = 2
#: Models that an error names at most.
_NAMED = 8


def ended(error: OmniError, progress: Progress) -> RequestState:
    """How a request ends with this error: refused where the user's own limits let nothing out."""
    limits = isinstance(error, BudgetExceeded | UnknownPrice | Paced)
    return "refused" if limits and not progress.tries else "failed"


def final(error: OmniError) -> bool:
    """Whether every model would say the same: the request itself is wrong."""
    return isinstance(error, BadRequest) and error.everywhere


class Turns:
    """Hands out the targets: listed ones in their order; of the others those first whose provider
    has not failed in this request. What did not fit one model goes to those with more room first.

    Args:
        targets: in the order of the decision.
        admit: claims a call; why it must not go now, or "".
        skip: told of whoever is passed over, with a code and the reason.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        consent: Consent,
        admit: Callable[[Target], str],
        skip: Callable[[Target, str, str], None],
    ) -> None:
        #: A model that stands alone is asked whatever its breaker says: nobody else can be.
        self.guarded = len(targets) > 1
        if self.guarded and not consent.first:
            first = targets[0]
            consent = replace(consent, first=first.model.id, first_nusd=first.expected_nusd)
        self._left = list(targets)
        self._consent = consent
        self._admit = admit
        self._skip = skip
        self._failed: set[str] = set()
        self._refusing: set[str] = set()
        #: The widest context, in tokens, that the request did not fit.
        self._over = 0
        #: What lets the first of those stand in that lacked consent; "".
        self.lift = ""

    def next(self) -> Target | None:
        """The next to be asked, None when nobody is left."""
        while self._left:
            target = self._left.pop(self._place())
            refusal = self._consent.refusal(target.model.id, target.expected_nusd)
            if refusal is not None:
                self.lift = self.lift or refusal.lift
                self._skip(target, "consent", refusal.why)
                continue
            closed = self._admit(target) if self.guarded else ""
            if not closed:
                return target
            self._skip(target, "breaker", closed)
        return None

    @property
    def left(self) -> bool:
        """Somebody was not asked yet."""
        return bool(self._left)

    def again(self, error: OmniError) -> bool:
        """Whether the model that failed so may be asked once more.

        One that said nothing for its whole time limit is not, while another may be asked: a second
        silence takes as long, and may cost as much.
        """
        if not isinstance(error, ProviderError) or not error.retryable:
            return False
        return not isinstance(error, TimedOut) or all(
            self._consent.refusal(target.model.id, target.expected_nusd) for target in self._left
        )

    def end(self) -> None:
        """Nobody else is to be asked."""
        self._left.clear()

    def failed(self, target: Target, error: OmniError) -> None:
        """The target's turn ended with that error."""
        if isinstance(error, BudgetExceeded) and error.for_all:
            self.end()
        elif isinstance(error, ProviderError | ConfigError | Busy) and not isinstance(
            error, _NOT_THE_PROVIDERS
        ):
            self._failed.add(target.provider.slug)
        elif isinstance(error, ContextTooLong):
            self._over = max(self._over, target.model.context_window or 0)
        elif isinstance(error, BadRequest | ContentFiltered) and not final(error):
            self._refusing.add(target.provider.slug)
            if len(self._refusing) >= _ENOUGH:
                self._left = [t for t in self._left if t.model.id in self._consent.listed]

    def _place(self) -> int:
        if self._over:
            for place, target in enumerate(self._left):
                if (target.model.context_window or 0) > self._over:
                    return place
        if self._failed:
            for place, target in enumerate(self._left):
                if (
                    target.model.id in self._consent.listed
                    or target.provider.slug not in self._failed
                ):
                    return place
        return 0


def verdict(
    causes: Sequence[tuple[str, OmniError]],
    progress: Progress,
    lift: str = "",
    *,
    as_they_are: bool = False,
) -> OmniError:
    """The error of a request that no target answered.

    Args:
        causes: (model id, its last error) of those that had their turn.
        progress: who was passed over.
        lift: what would let one stand in that lacked consent.
        as_they_are: a single target's failure is told as it is, where nobody was passed over.
    """
    spared = listed(
        [
            f"{a.model}: {a.message}"
            for a in progress.skipped
            if a.error in ("breaker", "consent", "budget")
        ]
    )
    if not causes:
        return AllProvidersFailed(f"no model may be called: {spared}", hint=lift)
    errors = [exc for _, exc in causes]
    more = f"; not tried: {spared}" if spared else ""
    if all(isinstance(exc, BudgetExceeded | UnknownPrice) for exc in errors):
        kept = list(dict.fromkeys(f"{model}: {exc.message}" for model, exc in causes))
        if len(kept) > 1 or spared:
            kind = BudgetExceeded if isinstance(errors[0], BudgetExceeded) else UnknownPrice
            hint = "; ".join(filter(None, (errors[0].hint, lift)))
            return kind(f"no model may be called: {listed(kept)}{more}", hint=hint)
        return errors[0]
    # What no model can be asked is the request's own fault, not a lack of models.
    if all(isinstance(exc, BadRequest) for exc in errors):
        return errors[0]
    if len(errors) == 1 and (isinstance(errors[0], _PLAIN) or (as_they_are and not spared)):
        return errors[0]
    told = "; ".join(f"{model}: {exc.code}: {exc.message}" for model, exc in causes)
    hint = lift or next((exc.hint for exc in reversed(errors) if exc.hint), "")
    word = "no model answered" if len(causes) > 1 else "the model did not answer"
    return AllProvidersFailed(f"{word}: {told}{more}", causes=list(causes), hint=hint)


def listed(reasons: Sequence[str]) -> str:
    """Some of them, and how many more there are."""
    more = len(reasons) - _NAMED
    return "; ".join(reasons[:_NAMED]) + (f"; and {more} more" if more > 0 else "")

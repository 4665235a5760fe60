"""The error tree. Every error says what happened, carries a stable ``code`` and a ``hint``.

OmniError
├── UsageError              the caller's input is wrong (exit 2)
│   └── RuleSyntaxError     a routing rule does not parse; names the column
├── ConfigError             configuration, key or store setting (exit 3)
│   └── MissingKey          a provider needs a key that was not found
├── NotFound                no such provider, model, role, chain, request
├── StoreError              the store cannot be read or written
│   ├── Locked              another process writes just now; try again
│   └── SameId              another request has this id; take another
├── NoRoute                 no model passes the filters
├── BudgetExceeded          a budget or ``max_cost`` forbids the call (exit 4)
├── UnknownPrice            a price is needed and not known (exit 6)
├── AssertionFailed         a check the user asked for is false (exit 7)
├── AllProvidersFailed      every attempt failed (exit 5)
├── Cancelled               the user or the client went away
├── Busy                    all of a provider's slots are taken by other calls
├── StreamInterrupted       an answer broke off after part of it was shown
└── ProviderError           one attempt at one provider failed
    ├── AuthError           401/403: the key is wrong or lacks rights
    ├── ModelNotFound       404: the provider does not serve this model
    │   └── NotOffered      it does not serve the model at this endpoint
    ├── RateLimited         429; ``retry_after_s`` when the provider said so
    │   └── QuotaExceeded   429/402: credit is used up; waiting does not help
    ├── Overloaded          500, 502, 503, 529: try again or elsewhere
    ├── ContextTooLong      the input does not fit the model
    ├── ContentFiltered     the provider refused the content
    ├── BadRequest          other 4xx: the request itself is wrong
    ├── TimedOut            no answer within the attempt's timeout
    ├── ConnectionFailed    DNS, TCP, TLS, reset before an answer
    │   └── Untrusted       a certificate that nobody here vouches for
    └── Malformed           the answer does not follow the protocol, or was cut off
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

#: Characters of a rule that its error shows on each side of the column.
_AROUND = 160


class OmniError(Exception):
    """Base of all errors shown to a user.

    Args:
        message: one line, what happened and why; never holds a secret.
        hint: what to type or do next; may be empty.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(OmniError):
    code = "usage"


class RuleSyntaxError(UsageError):
    """A rule does not parse.

    Args:
        source: the rule's text.
        column: 1-based column of the first character that does not fit.
    """

    code = "rule_syntax"

    def __init__(self, message: str, *, source: str, column: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.column = column

    def pointer(self) -> str:
        """The rule, or what of a long one surrounds the column, and a caret below it."""
        start = max(self.column - _AROUND, 0)
        shown = self.source[start : self.column + _AROUND]
        return f"{shown}\n{' ' * (self.column - 1 - start)}^"


class ConfigError(OmniError):
    code = "config"


class MissingKey(ConfigError):
    code = "missing_key"


class NotFound(OmniError):
    code = "not_found"


class StoreError(OmniError):
    code = "store"


class Locked(StoreError):
    """Another process holds the write lock just now; nothing was written."""


class Unsure(StoreError):
    """The store went away in the moment of writing: all was written, or nothing."""


class SameId(StoreError):
    """Another process has given a request one of these ids; nothing was written."""


class NoRoute(OmniError):
    code = "no_route"


class BudgetExceeded(OmniError):
    """``for_all``: nothing is left for any model that costs something."""

    code = "budget_exceeded"
    for_all: bool = False


class UnknownPrice(OmniError):
    code = "unknown_price"


class AssertionFailed(OmniError):
    code = "assertion_failed"


class Cancelled(OmniError):
    code = "cancelled"


class Busy(OmniError):
    code = "busy"
    retryable = True


class StreamInterrupted(OmniError):
    """An answer broke off after its first token: no other model can go on with it unseen.

    Args:
        received_chars: characters of text, reasoning and tool arguments that arrived.
        cause: what ended it.
    """

    code = "stream_interrupted"

    def __init__(
        self, message: str, *, received_chars: int, cause: OmniError, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.received_chars = received_chars
        self.cause = cause


class ProviderError(OmniError):
    """One attempt failed.

    Args:
        message: the provider's own words where it gave any.
        status: HTTP status, or None when there was no answer.
        retry_after_s: seconds the provider asked to wait, or None.
        provider_code: the provider's own error code or type, or None.

    ``reached`` is False where the request cannot have arrived: it cost nothing.
    """

    code = "provider_error"
    reached: bool = True

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
        provider_code: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after_s = retry_after_s
        self.provider_code = provider_code


class AuthError(ProviderError):
    code = "auth"


class ModelNotFound(ProviderError):
    code = "model_not_found"


class NotOffered(ModelNotFound):
    """The model is not served at an endpoint beside chat: it may chat all the same, so that this is
    no reason to keep it from anybody."""

    code = "not_offered"


class RateLimited(ProviderError):
    code = "rate_limited"
    retryable = True


class Paced(RateLimited):
    """Its user's own limit a minute (``rate_limit_rpm``): nothing was sent."""


class QuotaExceeded(RateLimited):
    code = "quota_exceeded"
    retryable = False


class Overloaded(ProviderError):
    code = "overloaded"
    retryable = True


class ContextTooLong(ProviderError):
    code = "context_too_long"


class ContentFiltered(ProviderError):
    code = "content_filtered"


class BadRequest(ProviderError):
    """``everywhere``: any other model would say the same; else it may be this one's own limit."""

    code = "bad_request"
    everywhere: bool = True


class TimedOut(ProviderError):
    code = "timeout"
    retryable = True


class ConnectionFailed(ProviderError):
    code = "connection"
    retryable = True


class Untrusted(ConnectionFailed):
    """The other end shows a certificate that nobody here vouches for: waiting cannot change it."""

    retryable = False


class Malformed(ProviderError):
    code = "malformed"
    retryable = True


class AllProvidersFailed(OmniError):
    """Every attempt failed.

    Args:
        causes: (model id, error) in the order of the attempts.
    """

    code = "all_providers_failed"

    def __init__(
        self, message: str, *, causes: Sequence[tuple[str, OmniError]] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.causes = tuple(causes)


@contextmanager
def file_errors(verb: str, place: object) -> Iterator[None]:
    """What is wrong with a file that the user named: "cannot read a.txt: Permission denied".

    Raises UsageError.
    """
    try:
        yield
    except UnicodeDecodeError as exc:
        raise UsageError(f"cannot {verb} {place}: it is no UTF-8 text") from exc
    except OSError as exc:
        raise UsageError(f"cannot {verb} {place}: {exc.strerror or exc}") from exc

"""Exit codes, documented in README: scripts rely on them."""

from omni_cli.domain import errors

ERROR = 1
USAGE = 2
CONFIG = 3
BUDGET = 4
PROVIDERS = 5
UNKNOWN_PRICE = 6
ASSERTION = 7
INTERRUPTED = 130

_BY_TYPE: tuple[tuple[type[errors.OmniError], int], ...] = (
    (errors.UsageError, USAGE),
    (errors.ConfigError, CONFIG),
    (errors.AuthError, CONFIG),
    (errors.BudgetExceeded, BUDGET),
    (errors.UnknownPrice, UNKNOWN_PRICE),
    (errors.AssertionFailed, ASSERTION),
    (errors.AllProvidersFailed, PROVIDERS),
    (errors.StreamInterrupted, PROVIDERS),
    (errors.ProviderError, PROVIDERS),
    (errors.Busy, PROVIDERS),
    (errors.Cancelled, INTERRUPTED),
)


def exit_code(error: errors.OmniError) -> int:
    """The code for an error; 1 where no other fits."""
    if isinstance(error, errors.AllProvidersFailed) and error.causes:
        causes = [cause for _, cause in error.causes]
        if all(isinstance(cause, errors.AuthError | errors.ConfigError) for cause in causes):
            return CONFIG
    for kind, code in _BY_TYPE:
        if isinstance(error, kind):
            return code
    return ERROR

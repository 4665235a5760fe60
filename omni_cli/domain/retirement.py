"""Models that their providers stop serving: who counts as leaving, and how that is said."""

from datetime import date, timedelta

from omni_cli.domain.models import ModelInfo

#: A model that leaves within so many days is not advised any more.
LEAVING_DAYS = 90
#: One that leaves within so many days is put to work only when somebody says so again.
ASK_DAYS = 30


def is_leaving(model: ModelInfo, today: str, *, within_days: int = LEAVING_DAYS) -> bool:
    """Whether its provider has stopped serving it or means to soon. ``today``: ISO date."""
    if model.retired_on is None:
        return False
    return model.retired_on <= (date.fromisoformat(today) + timedelta(within_days)).isoformat()


def retirement_words(retired_on: str, today: str) -> str:
    """Such as "stopped serving it on 2026-06-15", "stops serving it on 2027-01-14"; ISO dates."""
    return f"{'stopped' if retired_on <= today else 'stops'} serving it on {retired_on}"

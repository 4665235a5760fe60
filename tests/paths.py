"""Where tests find the repository, its fixtures, and the larger data beside it."""

from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
FIXTURES = REPO / "fixtures"
#: More real data of the kinds in ``fixtures/``. A checkout need not have it.
SHARED = REPO.parent / "shared"


def shared(*parts: str) -> Path:
    """Data that lies beside the repository; where it does not, the test is skipped and says so."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no {'/'.join(parts)} beside this checkout", allow_module_level=True)
    return path

"""Where tests find the repository and the shared data beside it."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
#: Real data for tests; lies beside the repository, never in the package.
SHARED = REPO.parent / "shared"

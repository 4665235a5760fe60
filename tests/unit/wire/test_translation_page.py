"""docs/translation.md says what the code does."""

from omni_cli.wire.features import NAMES
from tools.translation import CASES, PAGE, outcome, page


def test_the_page_is_what_the_code_does() -> None:
    assert PAGE.read_text() == page(), "run: python -m tools.translation"


def test_nothing_is_lost_in_silence() -> None:
    """Of each thing that a request holds: it is carried, told, or refused by name."""
    for name, request in CASES:
        for protocol in NAMES:
            found = outcome(request, protocol)
            assert found == "carried" or found.startswith(("said: ", "refused: ")), name

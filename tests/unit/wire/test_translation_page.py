"""docs/translation.md says what the code does."""

from omni_cli.wire.features import BY_NAME, FEATURES
from omni_cli.wire.registry import FOLDERS, facts
from tools.translation import CASES, NAMES, PAGE, outcome, page


def test_the_page_is_what_the_code_does() -> None:
    assert PAGE.read_text() == page(), "run: python -m tools.translation"


def test_nothing_is_lost_in_silence() -> None:
    """Of each thing that a request holds: it is carried, told, or refused by name."""
    for name, request in CASES:
        for protocol in NAMES:
            found = outcome(request, protocol)
            assert found == "carried" or found.startswith(("said: ", "refused: ")), name


def test_every_wish_of_a_protocol_is_known_and_every_known_one_can_be_said() -> None:
    read = set().union(*(facts(name).reads for name in FOLDERS))
    written = set().union(*(facts(name).writes for name in FOLDERS))
    assert read == set(BY_NAME)
    assert written <= read
    assert len(FEATURES) == len(BY_NAME)

"""What a next turn tells of the answer before it, and what it does not."""

import pytest

from omni_cli.domain.aftermath import asked_before, digest, hint
from omni_cli.domain.chat import Message, TextPart, ToolCall

ASKED = (Message.text_of("system", "You edit files."), Message.text_of("user", "Rename it."))


def _edit(name: str = "Edit") -> Message:
    return Message("assistant", tool_calls=(ToolCall("c1", name, '{"path": "a.py"}'),))


def _result(text: str, *, failed: bool = False) -> Message:
    return Message("tool", (TextPart(text),), tool_call_id="c1", is_error=failed)


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ((_edit(), _result("ok")), ("test", 1.0)),
        ((_edit(), _result("String to replace not found in file.")), ("test", 0.0)),
        ((_edit("apply_patch"), _result("done", failed=True)), ("test", 0.0)),
        ((_edit("str_replace_editor"), _result("<tool_use_error>stale")), ("test", 0.0)),
        # A shell that fails may be what was wanted: it tells nothing.
        ((_edit("bash"), _result("Error: exit 1", failed=True)), None),
        ((_edit("Read"), _result("error handling is in b.py")), None),
    ],
)
def test_edits(after: tuple[Message, ...], told: tuple[str, float] | None) -> None:
    found = hint((*ASKED, *after))
    assert (None if found is None else (found.kind, found.value)) == told


@pytest.mark.parametrize(
    "no",
    [
        "No, I meant the other one", "that's not what I asked for", "It still fails",
        "nein, so nicht", "undo that", "不对，重来", "нет, другое", "wrong file",
        "this doesn't work",
    ],
)  # fmt: skip
def test_a_user_who_says_no(no: str) -> None:
    found = hint((*ASKED, Message.text_of("assistant", "Done."), Message.text_of("user", no)))
    assert found is not None
    assert (found.kind, found.value) == ("thumb", 0.0)


@pytest.mark.parametrize(
    "turn",
    [
        "no problem, thanks", "Now write the tests", "Nothing else, ship it", "notice how it ends",
        "great", "no worries",
        "No, " + "this is a long new task with many words in it. " * 8,
    ],
)  # fmt: skip
def test_other_turns_tell_nothing(turn: str) -> None:
    said = Message.text_of("assistant", "Done.")
    assert hint((*ASKED, said, Message.text_of("user", turn))) is None
    assert hint(ASKED) is None


def test_a_conversation_is_known_again_by_what_stands_before_its_last_answer() -> None:
    later = (*ASKED, _edit(), _result("ok"))
    assert digest(asked_before(later)) == digest(ASKED)
    assert digest(later) != digest(ASKED)
    assert asked_before(ASKED) == ()

"""A turn as JSON values, as conversations and comparisons keep it."""

import json

from omni_cli.domain.chat import (
    MediaPart,
    Message,
    TextPart,
    ToolCall,
    message_document,
    message_from,
)


def test_a_turn_comes_back_whole() -> None:
    turns = (
        Message.text_of("system", "be brief"),
        Message(
            "user", (TextPart("look"), MediaPart("application/pdf", data="QQ==", name="a.pdf"))
        ),
        Message("user", (MediaPart("", url="https://a.example/b", detail="low"),)),
        Message("assistant", (), (ToolCall("1", "read", "{}"),), reasoning=({"block": {"a": 1}},)),
        Message("tool", (TextPart("no"),), tool_call_id="1", name="read", is_error=True),
    )
    for turn in turns:
        assert message_from(json.loads(json.dumps(message_document(turn)))) == turn

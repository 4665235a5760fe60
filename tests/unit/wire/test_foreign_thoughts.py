"""A session that goes from one vendor to another: what the other refuses of the first one's
thoughts is recognised in all vendors' words, and left out."""

import json
from typing import Any

import pytest

from omni_cli.domain.models import ProtocolName
from omni_cli.wire import faults
from omni_cli.wire.registry import adapter

#: After reports to opencode, llxprt-code, goose, CLIProxyAPI, Codex, openai-agents and vercel/ai.
WORDS = (
    "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to another",
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
    "Expected `thinking` or `redacted_thinking`, but found `tool_use`",
    "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
    "messages.1.content.0.thinking.signature: Field required",
    "The `content[].thinking` in the thinking mode must be passed back to the API.",
    "Function call is missing a thought_signature in functionCall parts.",
    "Corrupted thought signature.",
    "The encrypted content gAAA could not be verified.",
    "The encrypted content for item rs_1 could not be verified. Reason: item_id did not match.",
    "Could not decrypt the provided encrypted_content",
    "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
    "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item.",
    "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.",
    "thinking is enabled but reasoning_content is missing in assistant tool call message",
)
OTHERS = (
    "thinking.budget_tokens: Input should be greater than or equal to 1024",
    "reasoning_effort: unsupported value",
    "Unknown parameter: 'thinking'",
    "Item with id 'msg_1' not found.",
)


@pytest.mark.parametrize("words", WORDS)
def test_it_is_recognised(words: str) -> None:
    body = json.dumps({"error": {"type": "invalid_request_error", "message": words}})
    assert faults.is_foreign_thought(faults.explain(400, {}, body))


@pytest.mark.parametrize("words", OTHERS)
def test_other_refusals_are_not(words: str) -> None:
    body = json.dumps({"error": {"type": "invalid_request_error", "message": words}})
    assert not faults.is_foreign_thought(faults.explain(400, {}, body))


class Sent:
    """A body, as adapters change it."""

    base_url = "http://models.example/v1"

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    @property
    def names(self) -> Any:
        return self.fields.keys()

    def value(self, name: str) -> Any:
        return json.loads(json.dumps(self.fields.get(name)))

    def put(self, name: str, value: Any) -> None:
        self.fields[name] = value

    def drop(self, name: str) -> None:
        self.fields.pop(name, None)

    def texts_only(self, name: str) -> bool:
        return isinstance(self.fields.get(name), str)


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
ASSISTANT = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
CASES: tuple[tuple[ProtocolName, dict[str, Any], dict[str, Any]], ...] = (
    (
        "openai-responses",
        {"input": [{"type": "reasoning", "id": "rs_1"}, {**CALL, "id": "fc_1"}]},
        {"input": [CALL]},
    ),
    (
        "anthropic",
        {
            "messages": [{"role": "assistant", "content": [USE]}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
        {
            "messages": [{"role": "assistant", "content": [USE]}],
            "thinking": {"type": "disabled"},
        },
    ),
    (
        "openai",
        {"messages": [{**ASSISTANT, "reasoning_details": [{"signature": "s"}]}]},
        {"messages": [{**ASSISTANT, "reasoning_content": ""}]},
    ),
)


@pytest.mark.parametrize(("protocol", "body", "left"), CASES, ids=lambda c: str(c)[:20])
def test_it_is_left_out(protocol: ProtocolName, body: Any, left: dict[str, Any]) -> None:
    sent = Sent(**body)
    assert adapter(protocol).forget_thoughts(sent, lambda _: True)
    assert sent.fields == left
    # What another vendor's model never thought is sent once, and its error told.
    assert not adapter("gemini").forget_thoughts(Sent(contents=[]), lambda _: True)

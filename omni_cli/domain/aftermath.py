"""What the next turn of a conversation tells of the answer before it: an edit that failed, the same
prompt again, a user who says no.

Where nothing of it is so, nothing is told: silence is no praise.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b

from msgspec import Struct

from omni_cli.domain.chat import Message, ToolCall
from omni_cli.domain.quality import OutcomeKind

#: What such a hint counts for beside an outcome that somebody gave: a quarter of it.
WEIGHT = 0.25
#: Tools that change files, as coding agents call them (Claude Code, Codex, opencode, Gemini CLI,
#: Qwen Code, Cline, aider's shells have none of their own).
_EDITS = re.compile(
    r"edit|multi_?edit|write|write_file|create_file|replace|replace_in_file|str_replace"
    r"|str_replace_editor|str_replace_based_edit_tool|apply_patch|patch|apply_diff|write_to_file"
    r"|notebook_?edit",
    re.IGNORECASE,
)
#: How a tool that does not say so tells that it failed, at the beginning of its result.
_FAILED = re.compile(
    r"\s*(?:<tool_use_error>|error\b|failed\b|string to replace not found|no match(?:es)? found"
    r"|could not (?:find|apply)|invalid (?:patch|edit)|patch failed|old_string\b)",
    re.IGNORECASE,
)
#: How users begin to say no, in a short turn of their own.
_NO = re.compile(
    r"\s*(?:no\b(?! (?:problem|worries|need|rush|idea|more))|nope\b|wrong\b"
    r"|that(?:'|’)?s (?:wrong|not)"
    r"|that is (?:wrong|not)|not what i|(?:it|this|that) (?:still )?(?:does(?:n(?:'|’)?t| not) work"
    r"|fails|is broken)|still (?:fails|broken|wrong|the same)|undo\b|revert\b"
    r"|nein\b|falsch\b|das (?:stimmt|geht) nicht|non\b|faux\b|ça ne marche pas|no funciona|está mal"
    r"|errado\b|não (?:funciona|é isso)|sbagliato\b|нет\b|неверно\b|не работает|不对|错了|不行"
    r"|違う|違います|だめ|아니|틀렸)",
    re.IGNORECASE,
)
_SHORT = 200


class Hint(Struct, frozen=True):
    """Of the answer before: an outcome of ``kind``, 0..1, and why in a few words."""

    kind: OutcomeKind
    value: float
    why: str


def digest(messages: Sequence[Message]) -> bytes:
    """The same for the same conversation, whatever marks of caching stand in it."""
    found = blake2b(digest_size=12)
    for message in messages:
        calls = [f"{call.name}{call.arguments}" for call in message.tool_calls]
        parts = (message.role, message.text, message.tool_call_id or "", *calls)
        found.update("\0".join(parts).encode("utf-8", "replace") + b"\1")
    return found.digest()


def asked_before(messages: Sequence[Message]) -> Sequence[Message]:
    """What the last answer was given to: all before the assistant's last turn; else empty."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "assistant":
            return messages[:at]
    return ()


def hint(messages: Sequence[Message]) -> Hint | None:
    """What the turns after the assistant's last one tell of it; None: nothing."""
    before = asked_before(messages)
    if not before:
        return None
    answer, *after = messages[len(before) :]
    edits = {call.id: call for call in answer.tool_calls if _EDITS.fullmatch(call.name)}
    results = [m for m in after if m.role == "tool" and m.tool_call_id in edits]
    for result in results:
        if result.is_error or _FAILED.match(result.text[:_SHORT]):
            return Hint("test", 0.0, f"its {_named(edits, result)} failed")
    if results:
        return Hint("test", 1.0, f"its {_named(edits, results[0])} applied")
    said = next((m.text for m in reversed(after) if m.role == "user"), "")
    if said and len(said) <= _SHORT and _NO.match(said):
        return Hint("thumb", 0.0, "the user's next turn says no")
    return None


def _named(edits: dict[str, ToolCall], result: Message) -> str:
    return edits[result.tool_call_id or ""].name[:40]

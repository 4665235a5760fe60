"""What the simulator understands of a request, and what it answers, free of any protocol."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field

from omni_cli.domain.chat import Usage

Finish = Literal["stop", "length", "tool_calls"]


class Turn(Struct, frozen=True):
    """One block of the prompt. ``cache``: a cache mark after it, "5m" or "1h" (Anthropic)."""

    role: str
    text: str
    images: int = 0
    cache: str | None = None


class ToolSpec(Struct, frozen=True):
    name: str
    parameters: Mapping[str, Any]


class Ask(Struct, frozen=True):
    """One request. ``tool_choice``: "auto", "none", "required" or a tool's name.

    ``user`` is what the client sent in ``user`` or ``metadata``, so that tests can find their
    request again. ``tells_thoughts``: the vendor tells them to who asks so. ``options``: fields
    that the form of the answer depends on.
    """

    model: str
    turns: tuple[Turn, ...]
    stream: bool = False
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    max_tokens: int | None = None
    json_mode: bool = False
    schema: Mapping[str, Any] | None = None
    thinking: bool | None = None
    effort: str | None = None
    stop: tuple[str, ...] = ()
    user: str | None = None
    tells_thoughts: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last_user(self) -> str:
        """The text of the newest user turn, all its blocks together."""
        parts: list[str] = []
        for turn in reversed(self.turns):
            if turn.role == "user":
                parts.append(turn.text)
            elif parts:
                break
        return "\n".join(reversed(parts))

    @property
    def images(self) -> int:
        return sum(turn.images for turn in self.turns)


class Call(Struct, frozen=True):
    """A tool call; ``arguments`` is JSON text, cut when the answer hit its token limit."""

    name: str
    arguments: str


class Delta(Struct, frozen=True):
    """A piece of the answer that travels in one chunk."""

    text: str
    tokens: int


class Reply(Struct, frozen=True):
    """The answer. ``usage`` None: the provider says nothing about tokens."""

    text: Sequence[Delta]
    reasoning: Sequence[Delta]
    calls: tuple[Call, ...]
    finish: Finish
    usage: Usage | None
    #: Unique id of this answer, hexadecimal; each protocol adds its own prefix.
    ident: str
    created: int

    @property
    def whole_text(self) -> str:
        return "".join(delta.text for delta in self.text)

    @property
    def whole_reasoning(self) -> str:
        return "".join(delta.text for delta in self.reasoning)


class Problem(Struct, frozen=True):
    """An error to be told in a protocol's own words.

    ``kind`` is a fault name ("429", "400-context", ...), ``status`` its usual HTTP status.
    """

    kind: str
    status: int
    model: str
    ident: str
    retry_after_s: float = 1.0
    tokens: int = 0
    limit: int = 0
    #: Replaces the protocol's usual words.
    message: str = ""


#: One server event: its bytes on the wire and how many answer tokens it carries.
Event = tuple[bytes, int]

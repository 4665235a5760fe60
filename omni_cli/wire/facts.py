"""What is true of one protocol, as data: nobody asks a protocol's name.

Each folder of ``wire/`` holds one subclass of ``Facts`` in its ``__init__``, which imports nothing
else; its client and its servers inherit it, and so does whoever asks ``registry.facts(NAME)``.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from omni_cli.domain.chat import FinishReason
    from omni_cli.ports import Method

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def named(same: str = "", inside: str = "", **other: str) -> Mapping[str, str]:
    """Fields by the wishes that they say. ``same``: the words of those that are named alike, in
    the object ``inside``."""
    return {name: inside + name for name in same.split()} | other


class Operation(NamedTuple):
    """Something that callers may ask for, at ``path`` beneath each of the protocol's prefixes.

    ``does``: "chat", "embeddings", "pass" (on as it is, to a provider of its protocol), "stored"
    (about an answer that its provider keeps), "files", "file", "file_content", "batches", "batch",
    "batch_cancel", "batch_results" (what providers keep, and answer later), "count" (tokens of a
    chat), "models" (all), "model" (one), or "document" (always the same, ``given``).
    ``path`` may hold ``{model+}``: it names who is asked.
    ``stream``: whether the answer streams, where the path says so and the body does not.
    ``given``: what the path says beside the body. ``query``, ``body`` and ``summary`` describe it
    in the OpenAPI document.
    """

    does: str
    path: str
    summary: str
    method: "Method" = "POST"
    stream: bool | None = None
    query: tuple[str, ...] = ()
    body: str = ""
    access: str = "key"
    #: What its query must hold.
    needs: str = ""
    #: Its body may ask nothing, and may say how it is to be routed.
    loads: bool = False
    routed: bool = False
    given: Mapping[str, Any] = _NOTHING
    #: Of the protocol's prefixes, where not all have it.
    prefixes: tuple[str, ...] = ()


class Facts:
    """One protocol. Classes are named as ``module:Class`` within its folder."""

    #: As providers are registered with it.
    name: ClassVar[str]
    #: What speaks it to providers, "" where none does, and to callers, the usual one first.
    client: ClassVar[str] = ""
    servers: ClassVar[tuple[str, ...]] = ()
    #: What people call it, where callers of other protocols are translated for it.
    title: ClassVar[str] = ""
    #: By the name of a wish (``features``), the field that says it in a caller's request and in one
    #: to a provider; dots lead into objects.
    reads: ClassVar[Mapping[str, str]] = _NOTHING
    writes: ClassVar[Mapping[str, str]] = _NOTHING

    # --- to a provider ------------------------------------------------------------------------

    #: Headers of a caller's own that mean something to a provider of the same protocol.
    forwards: ClassVar[tuple[str, ...]] = ()
    #: The body names the model; else the path does.
    names_model: ClassVar[bool] = True
    #: Fields that hold a count, which some provider's server cannot read as any number.
    counts: ClassVar[tuple[str, ...]] = ()
    #: A stream tells its usage only to whom asks for it.
    tells_usage_on_wish: ClassVar[bool] = False
    #: A stream tells its usage in a few last bytes: what goes before them need not be read.
    short_tail: ClassVar[bool] = False
    #: What else its providers may have, by the end of the path: bodies and answers go as they are.
    passes: ClassVar[tuple[str, ...]] = ()
    #: What reads and writes its batches, "" where it has none.
    batches: ClassVar[str] = ""
    #: A text with a gap may be filled by it.
    fills: ClassVar[bool] = False
    #: Its list of models says by itself which of them the server runs.
    tells_weights: ClassVar[bool] = False

    @staticmethod
    def image_tokens(
        width: int | None = None, height: int | None = None, *, model: str = ""
    ) -> int:
        """The most tokens that one input image is; pixels, None where they are not known."""
        from omni_cli.domain.tokens import image_token_bound

        return image_token_bound(width, height, model=model)

    # --- to a caller --------------------------------------------------------------------------

    #: What its paths begin with: clients differ in what they take for the base URL.
    prefixes: ClassVar[tuple[str, ...]] = ("/v1",)
    #: Other beginnings of paths whose errors are told in its words.
    owns: ClassVar[tuple[str, ...]] = ()
    #: Media type of a stream.
    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    #: Its readers of streams pass over comments.
    comments: ClassVar[bool] = False
    #: A request that says nothing of it is streamed.
    streams_unasked: ClassVar[bool] = False
    #: The header that a request's id comes back in, and what an answer's own id begins with.
    request_id: ClassVar[str] = "x-request-id"
    id_prefix: ClassVar[str] = ""
    #: Fields of a request that the form of its answer depends on.
    answers_by: ClassVar[tuple[str, ...]] = ()
    #: Its word for why an answer ended, by ours; and what its own words, and those of others who
    #: speak it, mean.
    finishes: ClassVar[Mapping[str, str]] = _NOTHING
    means: ClassVar[Mapping[str, "FinishReason"]] = MappingProxyType({})
    #: Its word for an error by HTTP status, and for every other.
    error_words: ClassVar[Mapping[int, str]] = MappingProxyType({})
    error_word: ClassVar[str] = ""

    @classmethod
    def finish_word(cls, finish: "FinishReason | None") -> str:
        """How it says why an answer ended; what it has no word for has ended as usual."""
        return cls.finishes.get(finish or "stop", cls.finishes["stop"])

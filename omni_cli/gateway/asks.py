"""A caller's request as it came: its fields unread, parsed only when something hangs on it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.embeddings import Texts
from omni_cli.domain.errors import OmniError
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.routing import input_estimate
from omni_cli.services.engine.sending import FormSending, Sending, fields_of, one_name, read_field
from omni_cli.wire.client import Client
from omni_cli.wire.multipart import Form
from omni_cli.wire.server import Caller, Parsed, object_of, wrong

_encode = msgspec.json.Encoder().encode
_TRUTHS = (b"true", b"false", b"null")
#: Bytes of JSON that a token stands for in an estimate.
_BYTES_PER_TOKEN = 4


class Thoughts:
    """Signatures of thoughts that providers did not take: another vendor's model had them. They are
    left out of the next turns beforehand; what a provider's own model thinks later stays in."""

    #: Of one provider.
    MOST = 4_096

    def __init__(self) -> None:
        self.refused: dict[str, dict[int, None]] = {}

    def refuse(self, slug: str, mark: str) -> bool:
        known = self.refused.setdefault(slug, {})
        while len(known) >= self.MOST:
            del known[next(iter(known))]
        known[hash(mark)] = None
        return True


class Ask:
    """One request of a caller.

    Args:
        body: its bytes, a JSON object.
        model: who is asked, where the protocol's path says it; else the body does.
        stream: likewise.
        forwarded: headers that go on to a provider of the same protocol.
        operation: "chat", "embeddings", or one of ``Facts.passes``.
        form: what the body is where it is a form with files.

    Raises:
        BadRequest: the body is no JSON object, or names no model.
    """

    __slots__ = (
        "_parsed",
        "_texts",
        "body",
        "caller",
        "embeds",
        "fields",
        "foreign",
        "form",
        "forwarded",
        "model",
        "operation",
        "stream",
    )

    def __init__(
        self,
        caller: Caller,
        body: bytes,
        *,
        model: str | None = None,
        stream: bool | None = None,
        forwarded: Mapping[str, str] | None = None,
        operation: str = "chat",
        form: Form | None = None,
    ) -> None:
        self.caller = caller
        self.operation = operation
        self.embeds = operation == "embeddings"
        self.body = body
        self.form = form
        self.fields = fields_of(body) if form is None else {}
        self.forwarded = forwarded or {}
        #: Providers that refused what others' models thought.
        self.foreign: set[str] = set()
        self._parsed: Parsed | None = None
        self._texts: Texts | None = None
        if model is None and form is None:
            one_name("model", self.fields)
            raw = self.fields.get("model")
            model = None if raw is None else read_field("model", raw)
            if not isinstance(model, str) or not model:
                raise wrong("'model' must name a model")
        if form is not None:
            model = form.one("model") if model is None else model
            stream = form.value("stream") in ("true", "True", "1")
        if stream is None:
            stated = bytes(self.fields.get("stream", b"null"))
            if stated not in _TRUTHS:
                raise wrong("'stream' must be true or false")
            stream = caller.streams_unasked if stated == b"null" else stated == b"true"
        assert model is not None
        self.model, self.stream = model, stream

    def parsed(self) -> Parsed:
        """In omni's words. Raises BadRequest."""
        if self._parsed is None:
            self._parsed = self.caller.parse(object_of(self.body))
        return self._parsed

    def texts(self) -> Texts:
        """What is to be embedded. Raises BadRequest."""
        if self._texts is None:
            self._texts = self.caller.texts(object_of(self.body))
        return self._texts

    @property
    def request(self) -> ChatRequest:
        return self.parsed().request

    def value(self, name: str) -> Any:
        """A field's value, None where it is missing. Raises BadRequest: it cannot be read."""
        raw = self.fields.get(name)
        return None if raw is None else read_field(name, raw)

    def estimate(self) -> int:
        """Tokens of the input, for what a lost call is charged."""
        if self._parsed is not None:
            return input_estimate(self._parsed.request)
        if self.form is not None:
            return sum(p.end - p.start for p in self.form.parts if not p.is_file)
        return len(self.body) // _BYTES_PER_TOKEN

    def sent_tokens(self) -> int:
        """Tokens of the input by the estimator, for an answer without counts."""
        try:
            return input_estimate(self.request)
        except OmniError:
            return self.estimate()  # of a body that only its own protocol's provider can read

    def passed(
        self, target: Target, adapter: Client, headers: Mapping[str, str], thoughts: Thoughts
    ) -> tuple[Sending, bool]:
        """The body for a provider of the same protocol, and whether usage was asked for unasked.

        Only the model's name changes, and the wish for usage in a stream; every other field is sent
        on byte for byte, unless the answer is limited afterwards.

        Args:
            headers: that go with it.
            thoughts: what providers refused of them.

        Raises:
            BadRequest: a count is no number that any server could read.
        """
        if self.form is not None:
            form, name = self.form, target.model.wire_name
            body = form.replaced("model", name)
            return FormSending(form, body, target, adapter, self.operation, headers), False
        fields, caller = dict(self.fields), self.caller
        for name in caller.counts:
            if name in fields and not bytes(raw := fields[name]).isdigit():
                read_field(name, raw)
        if caller.names_model:
            fields["model"] = _raw_text(target.model.wire_name)
        sending = Sending(self.body, target, adapter, self.operation, headers, fields)
        adapter.mend(sending, self.body)
        slug = target.provider.slug
        if self.foreign and slug in self.foreign:
            adapter.forget_thoughts(sending, lambda mark: thoughts.refuse(slug, mark))
        elif (known := thoughts.refused.get(slug)) is not None:
            adapter.forget_thoughts(sending, lambda mark: hash(mark) in known)
        wished = self.stream and caller.tells_usage_on_wish and adapter.wish_usage(sending)
        return sending, wished


@lru_cache(maxsize=1024)
def _raw_text(text: str) -> msgspec.Raw:
    return msgspec.Raw(_encode(text))

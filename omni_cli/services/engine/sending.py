"""A call's body as it goes out, and how much it can cost at most."""

from collections.abc import KeysView, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from omni_cli.domain.bounds import CallBound, Most, most_of, worst_nusd
from omni_cli.domain.clouds import SURCHARGE_PERCENT
from omni_cli.domain.errors import BadRequest
from omni_cli.domain.record import replace
from omni_cli.ports import ProviderAdapter
from omni_cli.services.engine.attempts import Target

if TYPE_CHECKING:
    from omni_cli.wire.multipart import Form

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


class _Text(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    content: str


_TEXTS = msgspec.json.Decoder(list[_Text])


class Sending:
    """A body on its way to a model: ports.SentBody whose values are read when asked for, what it
    can cost at most, and the limit of its answer.

    Args:
        body: as it came, or as it is to go out.
        operation: "chat" or "embeddings".
        headers: that go with it.
        fields: of ``body``, and different from it.
    """

    __slots__ = (
        "_adapter",
        "_body",
        "_bound",
        "_fields",
        "_target",
        "_texts",
        "base_url",
        "headers",
        "names",
        "operation",
        "size",
    )

    def __init__(
        self,
        body: bytes,
        target: Target,
        adapter: ProviderAdapter,
        operation: str,
        headers: Mapping[str, str],
        fields: dict[str, msgspec.Raw] | None = None,
    ) -> None:
        #: While it is what goes out.
        self._body: bytes | None = body if fields is None else None
        self._fields = fields = fields_of(body) if fields is None else fields
        self.names: KeysView[str] = fields.keys()
        self.size = len(body)
        self.base_url = target.provider.base_url
        self.operation = operation
        self.headers = headers
        self._target = target
        self._adapter = adapter
        self._bound: CallBound | None = None
        #: What is known of fields: whether they are texts only.
        self._texts: dict[str, bool] = {}

    def most(self) -> Most:
        """Asked where money is limited, for a model of a known price.

        Raises BudgetExceeded, BadRequest: nothing bounds it, or it cannot be read.
        """
        bound, target = self._bound, self._target
        if bound is None:
            bound = self._bound = self._adapter.bound(self)
        assert target.price is not None
        price = target.price.price
        most = most_of(bound, target.model, price)
        if not target.charged_more:
            return most
        more = -(-worst_nusd(most, price, most.each) * SURCHARGE_PERCENT // 100)
        return replace(most, fees_nusd=most.fees_nusd + more)

    def limit(self, each: int) -> None:
        """Bind each answer to so many tokens; the bytes stay as they are where they say so."""
        bound = self._bound
        if bound is not None and not (bound.plain and bound.output_tokens == each):
            self._adapter.limit(self, each, bound)

    def texts_only(self, name: str) -> bool:
        known = self._texts.get(name)
        if known is None:  # a long conversation takes as long to read as to send
            known = self._texts[name] = self._are_texts(name)
        return known

    def _are_texts(self, name: str) -> bool:
        raw = self._fields.get(name)
        if raw is None:
            return False
        try:
            _TEXTS.decode(raw)
        except msgspec.MsgspecError:
            return bytes(memoryview(raw)[:1]) == b'"'
        return True

    def value(self, name: str) -> Any:
        raw = self._fields.get(name)
        return None if raw is None else read_field(name, raw)

    def put(self, name: str, value: object) -> None:
        self._body = None
        self._texts.pop(name, None)
        self._fields[name] = msgspec.Raw(_encode(value))

    def drop(self, name: str) -> None:
        self._body = None
        self._texts.pop(name, None)
        self._fields.pop(name, None)

    def written(self) -> bytes:
        return _encode(self._fields) if self._body is None else self._body


class FormSending(Sending):
    """A form with files, whose fields are as they came."""

    __slots__ = ("_form",)

    def __init__(
        self,
        form: "Form",
        body: bytes,
        target: Target,
        adapter: ProviderAdapter,
        operation: str,
        headers: Mapping[str, str],
    ) -> None:
        fields = {part.name: _NOTHING for part in form.parts}
        super().__init__(body, target, adapter, operation, headers, fields)
        self._body, self._form = body, form
        # What a file's bytes are is its own matter: of the rest each may be a token.
        self.size = sum(p.end - p.start + len(p.name) for p in form.parts if not p.is_file)

    def value(self, name: str) -> Any:
        return self._form.value(name)

    def texts_only(self, name: str) -> bool:
        return isinstance(self._form.value(name), str)


_NOTHING = msgspec.Raw(b"null")


def read_field(name: str, raw: msgspec.Raw) -> Any:
    """A field's value. Raises BadRequest: no server could read it, such as a number of 1e999."""
    try:
        return _ANY.decode(raw)
    except (msgspec.DecodeError, RecursionError) as exc:
        message = f"{name!r} cannot be read: {exc}"
    raise BadRequest(message, status=400)


def fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, their values unread. Raises BadRequest."""
    try:
        if not body.isascii():
            body.decode()  # values that are left unread are not looked at by the parser
        return _FIELDS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        message = f"the body must be a JSON object: {exc}"
    raise BadRequest(message, status=400)


def one_name(name: str, fields: Mapping[str, object]) -> None:
    """Raises BadRequest: a field has that name in another case, which servers written in Go take
    for the same."""
    for other in fields:
        if len(other) == len(name) and other != name and other.lower() == name:
            raise BadRequest(
                f"{other!r} is read as {name!r} by some servers: leave it out", status=400
            )

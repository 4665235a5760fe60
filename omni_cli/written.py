"""What people write by hand: fleet files, settings, suites and bodies of the management API.

A pydantic model of each is its one definition: the checked value, errors that name the place, and
the JSON Schema that editors read. pydantic takes longer to import than omni to start, so only what
reads such a thing imports this.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar, get_type_hints

from msgspec import NODEFAULT, Meta, Struct, convert, structs
from msgspec import ValidationError as MsgspecError
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic_core import core_schema

from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.secrets import scrub

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: In a schema within this package: what a value is, where its type does not say it.
_SAID = "x-said"


class Written(BaseModel):
    """A table that somebody wrote: no field but these, and a text is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=Written)


def said(what: str) -> Any:
    """Of a field: what an error says that it is."""
    return Field(json_schema_extra={_SAID: what})


class one_of:  # noqa: N801  # read as a word in an annotation
    """Of a text: one of those that a function lists, as plug-ins may add some."""

    def __init__(self, known: Callable[[], Sequence[str]]) -> None:
        self._known = known

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        def check(text: str) -> str:
            if text not in self._known():
                raise ValueError("none of them")
            return text

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> Any:
        return {**handler(schema), "enum": list(self._known())}


def _amount(text: str) -> str:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError("not a number") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError("not an amount")
    return text


_AMOUNT = 'an amount in quotes, such as "2.5"'
#: US dollars as exact decimal text.
Amount = Annotated[
    str,
    AfterValidator(_amount),
    WithJsonSchema(
        {"type": "string", "pattern": r"^(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$", _SAID: _AMOUNT}
    ),
]


def read(kind: type[M], data: object, *, within: str = "", field: str = "field") -> M:
    """``data`` as a ``kind``.

    Args:
        within: what stands before each path in an error ("case 3"), "" for nothing.
        field: what a name at the top is called in an error.

    Raises:
        UsageError: with the path of the first value that does not fit, what it should be, and,
            for an unknown name, the nearest that there is.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as exc:
        raise problem(kind, exc, within=within, field=field) from exc


def problem(
    kind: type[BaseModel],
    exc: ValidationError,
    *,
    within: str = "",
    field: str = "field",
    error: type[OmniError] = UsageError,
) -> OmniError:
    """The error to raise for what pydantic refused."""
    found = exc.errors(include_url=False)
    first = found[0]
    schema = kind.model_json_schema()
    place = [step for step in first["loc"] if not (isinstance(step, str) and step[:1] == "#")]
    path = path_of(place, within)
    hint = ""
    if first["type"] == "missing":
        what = "is missing"
    elif first["type"] == "extra_forbidden":
        table = _at(schema, schema, place[:-1])
        choices = (table, *table.get("anyOf", ()), *table.get("oneOf", ()))
        tables = [_resolved(choice, schema) for choice in choices]
        known = [name for inner in tables for name in inner.get("properties", ())]
        name = str(place[-1])
        near = difflib.get_close_matches(name, known, 1, 0.6)
        near = near or [other for other in known if other.startswith(name)]
        called = field if len(place) == 1 else "field"
        what = f"is no {called}" + (f": did you mean {near[0]}?" if near else "")
        hint = f"there are {', '.join(known)}"
    else:
        node = _at(schema, schema, place)
        if first["type"] == "value_error" and "properties" in node:  # a check of the whole table
            return error(f"{path}.{first['ctx']['error']}")
        what = f"is {_phrase(node, schema)}, not {_shown(first['input'])}"
    more = len(found) - 1
    if more and not hint:
        hint = f"{more} more {'value does' if more == 1 else 'values do'} not fit"
    return error(f"{path} {what}" if path else what, hint=hint)


def model_of(kind: type[Struct]) -> type[Written]:
    """A pydantic model of a struct: its fields and their ranges, its structs within, its check.

    For what is read so often that msgspec must do it: the struct stays the one definition. What
    ``__post_init__`` refuses begins with the field's name.
    """
    hints = get_type_hints(kind, include_extras=True)
    fields: dict[str, Any] = {}
    for item in structs.fields(kind):
        given = {"default": item.default, "default_factory": item.default_factory}
        known = {key: value for key, value in given.items() if value is not NODEFAULT}
        fields[item.name] = (_annotation(hints[item.name]), Field(**known))

    def check(self: Written) -> Written:
        own = dict(self)
        if hasattr(kind, "__post_init__"):
            kind(**own)
        return self

    checked: Any = model_validator(mode="after")(check)
    return create_model(
        kind.__name__,
        __base__=Written,
        __doc__=kind.__doc__,
        __validators__={"check": checked},
        **fields,
    )


def _annotation(hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, Struct):
        return model_of(hint)
    found = []
    for item in getattr(hint, "__metadata__", ()):
        if isinstance(item, Meta):
            ranges = {name: getattr(item, name) for name in ("ge", "gt", "le", "lt")}
            found.append(Field(**{k: v for k, v in ranges.items() if v is not None}))
    for item in found:
        hint = Annotated[hint.__origin__, item]
    return hint


def explain(
    kind: type[Struct],
    data: object,
    *,
    within: str = "",
    field: str = "field",
    error: type[OmniError] = UsageError,
) -> OmniError:
    """The error to raise for what msgspec refused as a ``kind``: as ``read``'s."""
    model = model_of(kind)
    try:
        model.model_validate(data)
    except ValidationError as exc:
        return problem(model, exc, within=within, field=field, error=error)
    try:
        convert(data, kind)
    except MsgspecError as exc:
        return error(f"{within}: {exc}")
    raise AssertionError("both take it")


def path_of(place: Sequence[str | int], within: str = "") -> str:
    """``models."openai/gpt-5.1".price.output``, ``rules[2].model``: lists count from 1."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step + 1}]"
        else:
            text += ("." if text else "") + _key(step)
    return f"{within}: {text}" if within and text else within or text


def schema_of(kind: type[BaseModel], title: str) -> dict[str, Any]:
    """The JSON Schema, for editors that check and complete what is written."""
    found = clean(kind.model_json_schema())
    assert isinstance(found, dict)
    return {"$schema": DIALECT, **found, "title": title}


def clean(node: object) -> object:
    """A schema without what only this package reads."""
    if isinstance(node, dict):
        return {
            key: clean(item)
            for key, item in node.items()
            # The titles that pydantic makes of the names say nothing.
            if key != _SAID and not (key == "title" and isinstance(item, str))
        }
    return [clean(item) for item in node] if isinstance(node, list) else node


def _at(node: Mapping[str, Any], whole: Mapping[str, Any], place: Sequence[str | int]) -> Any:
    """The schema of what is at a place; an empty one where none says anything."""
    node = _resolved(node, whole)
    if not place:
        return node
    step, rest = place[0], place[1:]
    for choice in node.get("anyOf") or node.get("oneOf") or (node,):
        inner = _resolved(choice, whole)
        if isinstance(step, int):
            prefix = inner.get("prefixItems", ())
            below = prefix[step] if step < len(prefix) else inner.get("items")
        else:
            below = inner.get("properties", {}).get(step) or inner.get("additionalProperties")
        if isinstance(below, dict):
            return _at(below, whole, rest)
    return {}


def _resolved(node: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in node:
        found = whole["$defs"][node["$ref"].rpartition("/")[2]]
        return {**found, **{key: item for key, item in node.items() if key != "$ref"}}
    return node


def _phrase(node: Mapping[str, Any], whole: Mapping[str, Any], *, many: bool = False) -> str:
    """What a value is, in words: ``many`` of them in a list or table."""
    node = _resolved(node, whole)
    if _SAID in node:
        return str(node[_SAID])
    choices = [c for c in node.get("anyOf", node.get("oneOf", ())) if c.get("type") != "null"]
    if choices:
        return ", or ".join(_phrase(choice, whole) for choice in choices)
    if "enum" in node or "const" in node:
        return f"one of {', '.join(map(str, node.get('enum') or [node['const']]))}"
    kind = node.get("type")
    if kind in ("array", "object") and not many:
        inner = node.get("items" if kind == "array" else "additionalProperties")
        words = _phrase(inner, whole, many=True) if isinstance(inner, dict) else ""
        return ("a list" if kind == "array" else "a table") + (f" of {words}" if words else "")
    one, several = _WORDS.get(str(kind), ("something else", ""))
    return several if many else one + _range(node)


_WORDS = {
    "string": ("a text in quotes", "texts"),
    "integer": ("a whole number", "numbers"),
    "number": ("a number", "numbers"),
    "boolean": ("true or false", ""),
    "object": ("a table", "tables"),
    "array": ("a list", "lists"),
}


def _range(node: Mapping[str, Any]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if "exclusiveMinimum" in node:
        return f" above {node['exclusiveMinimum']}"
    return "" if low is None else f" of {low} or more"


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(scrub(value if len(value) <= 40 else value[:39] + "…"))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "a table"
    return "a list" if isinstance(value, list | tuple) else str(value)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else f'"{name}"'


__all__ = [
    "DIALECT",
    "AfterValidator",
    "Amount",
    "Discriminator",
    "Field",
    "Tag",
    "WithJsonSchema",
    "Written",
    "clean",
    "explain",
    "model_of",
    "one_of",
    "path_of",
    "problem",
    "read",
    "said",
    "schema_of",
]

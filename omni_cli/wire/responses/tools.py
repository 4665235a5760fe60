"""Tools of the Responses API: functions, alone or grouped in a namespace.

Other protocols know no namespaces. There a function of one is called ``NAMESPACE__FUNCTION``, and
its calls are told to the caller in the parts that it knows them by.

Source: OpenAI API reference, "Create a model response", tools; "Function calling".
"""

from collections.abc import Mapping

from msgspec import Struct

from omni_cli.domain.chat import Tool
from omni_cli.wire.server import (
    JsonObject,
    Unsaid,
    marker,
    object_field,
    objects,
    one_text_tool,
    optional_flag,
    optional_text,
    strange_tools,
    text_field,
)

_BETWEEN = "__"


class Names(Struct, frozen=True):
    """What functions elsewhere are here: ``spaces``: in a namespace, and the name there;
    ``custom``: tools that are called with a text and not with JSON."""

    spaces: Mapping[str, tuple[str, str]]
    custom: frozenset[str]


def tools_of(value: object, unsaid: Unsaid) -> tuple[Tool, ...]:
    """The functions, and what can be called like one."""
    found: list[Tool] = []
    strange: list[str] = []
    for tool in objects(value, "tools"):
        kind = tool.get("type", "function")
        if kind == "namespace":
            space, about = text_field(tool, "name"), optional_text(tool, "description")
            for item in objects(tool.get("tools"), "tools"):
                _add(found, strange, item, space, about)
        else:
            _add(found, strange, tool)
    strange_tools(strange, bool(found), unsaid)
    return tuple(found)


def _add(
    found: list[Tool], strange: list[str], tool: JsonObject, space: str = "", about: str = ""
) -> None:
    kind = tool.get("type", "function")
    if kind not in ("function", "custom"):
        strange.append(str(kind))
        return
    description = optional_text(tool, "description")
    description = f"{about}\n\n{description}" if about else description
    name = flat_name(text_field(tool, "name"), space)
    if kind == "custom":
        found.append(one_text_tool(name, description, tool.get("format"), cache=marker(tool)))
        return
    found.append(
        Tool(
            name,
            description,
            object_field(tool.get("parameters") or {}, "tools[].parameters"),
            optional_flag(tool, "strict"),
            marker(tool),
        )
    )


def flat_name(name: str, space: object = "") -> str:
    """A function's name where there are no namespaces."""
    return f"{space}{_BETWEEN}{name}" if isinstance(space, str) and space else name


#: Items of the input that offer tools: the agent's later ones, and what its search found.
LATE_TOOLS = frozenset({"additional_tools", "tool_search_output"})


def offered_in(body: Mapping[str, object]) -> list[object]:
    """A request's tools, at its top and among its ``input``."""
    found: list[object] = []
    items = body.get("input")
    for holder in (body, *(items if isinstance(items, list) else ())):
        if not isinstance(holder, Mapping):
            continue
        tools = holder.get("tools")
        kind = holder.get("type")
        late = isinstance(kind, str) and kind in LATE_TOOLS
        if isinstance(tools, list) and (late or holder is body):
            found += tools
    return found


def names_of(value: object) -> Names:
    """Of a request's tools."""
    spaces: dict[str, tuple[str, str]] = {}
    custom: set[str] = set()

    def note(tools: object, space: str = "") -> None:
        for tool in tools if isinstance(tools, list) else ():
            if not isinstance(tool, dict):
                continue
            name = str(tool.get("name"))
            if tool.get("type") == "namespace":
                note(tool.get("tools"), name)
            elif space:
                spaces[flat_name(name, space)] = (space, name)
            if tool.get("type") == "custom":
                custom.add(flat_name(name, space))

    note(value)
    return Names(spaces, frozenset(custom))


def choice_of(
    value: object, tools: tuple[Tool, ...], unsaid: Unsaid
) -> tuple[str | None, tuple[Tool, ...]]:
    """The choice of a tool, and the tools that it leaves. Raises BadRequest."""
    if value is None or isinstance(value, str):
        return value, tools
    choice = object_field(value, "tool_choice")
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return flat_name(text_field(choice, "name"), choice.get("namespace")), tools
    if kind == "allowed_tools":
        allowed = objects(choice.get("tools"), "tool_choice.tools")
        names = {flat_name(str(item.get("name")), item.get("namespace")) for item in allowed}
        kept = tuple(tool for tool in tools if tool.name in names)
        return optional_text(choice, "mode") or "auto", kept
    unsaid.refuse(f"tool_choice of type {kind!r}")
    return None, tools

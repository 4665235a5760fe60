"""Tools of the Responses API: functions, alone or grouped in a namespace.

Other protocols know no namespaces. There a function of one is called ``NAMESPACE__FUNCTION``, and
its calls are told to the caller in the parts that it knows them by.

Source: OpenAI API reference, "Create a model response", tools; "Function calling".
"""

from typing import Any

from omni_cli.domain.chat import Tool
from omni_cli.wire.server import (
    JsonObject,
    object_field,
    objects,
    optional_flag,
    optional_text,
    text_field,
    untranslatable,
)

_BETWEEN = "__"

#: A function's name elsewhere, and its namespace and name here.
Names = dict[str, tuple[str, str]]


def tools_of(value: object) -> tuple[Tool, ...]:
    """Raises BadRequest: one is no function."""
    found: list[Tool] = []
    for tool in objects(value, "tools"):
        if tool.get("type") == "namespace":
            space, about = text_field(tool, "name"), optional_text(tool, "description")
            found += [_function(item, space, about) for item in objects(tool.get("tools"), "tools")]
        else:
            found.append(_function(tool))
    return tuple(found)


def _function(tool: JsonObject, space: str = "", about: str = "") -> Tool:
    kind = tool.get("type")
    if kind != "function":
        raise untranslatable(f"the tool {kind!r}", "chosen")
    description = optional_text(tool, "description")
    return Tool(
        flat_name(text_field(tool, "name"), space),
        f"{about}\n\n{description}" if about else description,
        object_field(tool.get("parameters") or {}, "tools[].parameters"),
        optional_flag(tool, "strict"),
    )


def flat_name(name: str, space: object = "") -> str:
    """A function's name where there are no namespaces."""
    return f"{space}{_BETWEEN}{name}" if isinstance(space, str) and space else name


def names_of(value: object) -> Names:
    """The functions of namespaces among a request's ``tools``."""
    found: Names = {}
    for tool in value if isinstance(value, list) else ():
        if isinstance(tool, dict) and tool.get("type") == "namespace":
            space = str(tool.get("name"))
            for item in tool.get("tools") or ():
                found[flat_name(str(item.get("name")), space)] = (space, str(item.get("name")))
    return found


def choice_of(value: object) -> str | None:
    """The choice of a tool. Raises BadRequest."""
    if value is None or isinstance(value, str):
        return value
    choice: dict[str, Any] = object_field(value, "tool_choice")
    if choice.get("type") != "function":
        raise untranslatable(f"tool_choice of type {choice.get('type')!r}", "chosen")
    return flat_name(text_field(choice, "name"), choice.get("namespace"))

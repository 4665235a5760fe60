"""Every protocol, one line each. Nothing of one is imported until it is asked for."""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from omni_cli.domain.errors import ConfigError
from omni_cli.domain.models import ProtocolName
from omni_cli.domain.record import replace
from omni_cli.plugins import plugins
from omni_cli.wire.facts import Facts

if TYPE_CHECKING:
    from omni_cli.wire.batching import Batching
    from omni_cli.wire.client import Client
    from omni_cli.wire.server import Caller

#: By its name, the package that speaks a protocol: its ``__init__`` holds its facts. The first is
#: what an error is told in where a path says nothing of a protocol.
FOLDERS: dict[ProtocolName, str] = {
    "openai": "omni_cli.wire.openai",
    "openai-responses": "omni_cli.wire.responses",
    "anthropic": "omni_cli.wire.anthropic",
    "gemini": "omni_cli.wire.gemini",
    "bedrock": "omni_cli.wire.bedrock",
    "ollama": "omni_cli.wire.ollama",
    "clarifai": "omni_cli.wire.clarifai",
    "google-vision": "omni_cli.wire.google_vision",
    "omni": "omni_cli.wire.omni",
}


@cache
def facts(protocol: ProtocolName) -> type[Facts]:
    """Raises ConfigError for a protocol that is not known, or whose package cannot be loaded."""
    added = None if protocol in FOLDERS else plugins("omni.protocols").get(protocol)
    if protocol not in FOLDERS and added is None:
        known = ", ".join(protocols())
        raise ConfigError(f"Unknown protocol {protocol!r}", hint=f"One of: {known}")
    package = import_module(FOLDERS[protocol]) if added is None else added.load()
    for item in vars(package).values():
        ours = isinstance(item, type) and issubclass(item, Facts)
        if ours and vars(item).get("name") == protocol:
            return cast("type[Facts]", item)
    why = f"{package.__name__} has no Facts with that name"
    raise ConfigError(why) if added is None else added.refused(why)


def protocols() -> tuple[ProtocolName, ...]:
    """Those that providers speak, omni's own first."""
    added = [name for name in plugins("omni.protocols") if name not in FOLDERS]
    return (*(name for name in FOLDERS if facts(name).client), *added)


@cache
def adapter(protocol: ProtocolName) -> "Client":
    """What speaks ``protocol`` to providers. Raises ConfigError: nothing does."""
    named = facts(protocol).client
    if not named:
        raise ConfigError(f"no provider speaks {protocol!r}", hint=f"One of: {protocols()}")
    return cast("Client", _made(protocol, named))


@cache
def callers(protocol: ProtocolName) -> "tuple[Caller, ...]":
    """What speaks ``protocol`` to callers, the usual one first; none where nothing does."""
    return tuple(cast("Caller", _made(protocol, named)) for named in facts(protocol).servers)


@cache
def batching(protocol: ProtocolName) -> "Batching | None":
    """What speaks of a protocol's batches; None where it has none."""
    named = facts(protocol).batches
    return cast("Batching", _made(protocol, named)) if named else None


def _made(protocol: ProtocolName, named: str) -> object:
    module, _, name = named.partition(":")
    where = f"{facts(protocol).__module__}.{module}"
    if protocol in FOLDERS:
        return getattr(import_module(where), name)()
    added = plugins("omni.protocols")[protocol]
    return replace(added, target=f"{where}:{name}").load()()

"""What is sent to a provider, and the body of its refusal."""

import re

from omni_cli.domain.errors import ProviderError
from omni_cli.domain.models import ModelInfo, ProtocolName
from omni_cli.domain.record import replace
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.fleet import Fleet
from omni_cli.gateway.plans import Line, line_of
from omni_cli.gateway.sending import Sending
from omni_cli.http.answer import Answer
from omni_cli.http.client import Origin
from omni_cli.ports import Endpoint, HttpCall
from omni_cli.services.engine.attempts import Target
from omni_cli.wire.fitting import fit_model, untranslatable
from omni_cli.wire.registry import adapter as adapter_of
from omni_cli.wire.server import Parsed

#: Most bytes of an error's body that are read.
_MAX_ERROR = 1024 * 1024


def forwarding(line: Line, ask: Ask) -> Line:
    """The line with the caller's own headers that its protocol gives a meaning."""
    if not ask.forwarded:
        return line
    call = line.call
    return line_of(replace(call, headers={**call.headers, **ask.forwarded}))


def translated(fleet: Fleet, ask: Ask, target: Target) -> tuple[Line, Sending]:
    """The call in the target's own protocol.

    Raises:
        BadRequest: the protocol cannot say it.
        MissingKey, ConfigError: the provider cannot be called.
    """
    protocol, adapter = target.provider.protocol, fleet.adapter(target.provider)
    if ask.embeds:
        texts, endpoint = ask.texts(), fleet.endpoint(target.provider)
        call = adapter.embed(texts, target.model.wire_name, endpoint)
        if texts.left:
            raise untranslatable(", ".join(texts.left), protocol)
        body = call.body or b"{}"
        return line_of(call), Sending(body, target, adapter, ask.operation, call.headers)
    endpoint = fleet.endpoint(target.provider)
    call = written(
        ask.parsed(), target.model, target.provider.protocol, endpoint, stream=ask.stream
    )
    return line_of(call), Sending(call.body or b"{}", target, adapter, ask.operation, call.headers)


def written(
    parsed: Parsed, model: ModelInfo, protocol: ProtocolName, endpoint: Endpoint, *, stream: bool
) -> HttpCall:
    """A caller's request for a model of another protocol. Raises BadRequest."""
    if parsed.refused:
        raise untranslatable(", ".join(parsed.refused), protocol)
    request = replace(parsed.request, stream=stream, told=parsed.left)
    fitted = fit_model(request, model)
    return adapter_of(protocol).build(fitted, model.wire_name, endpoint)


def veil(fault: ProviderError, target: Target, origin: Origin) -> None:
    """Before a caller is told: a client key's holder need not know where a provider is. The ledger
    has the words as they were."""
    host, slug = origin.host, target.provider.slug
    if host in fault.message:
        place = rf"(?<![\w.-]){re.escape(host)}(:\d+)?(?![\w-])"
        fault.message = re.sub(place, slug, fault.message)
        fault.args = (fault.message,)
    if host in fault.hint:
        fault.hint = ""


async def error_body(answer: Answer) -> str:
    """As much of an error's body as comes."""
    try:
        body = await answer.whole(_MAX_ERROR)
    except ProviderError:
        body = b""
    return body.decode("utf-8", "replace")

"""What the gateway decides for one request, and the way to a target."""

from collections.abc import Callable

from msgspec import Struct

from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.consent import Consent
from omni_cli.domain.models import ModelInfo, ProtocolName, Provider
from omni_cli.domain.record import replace
from omni_cli.domain.tasks import TaskEstimate
from omni_cli.gateway.asks import Ask
from omni_cli.http.access import addressed
from omni_cli.http.client import Origin
from omni_cli.ports import Endpoint, HttpCall
from omni_cli.services.engine.attempts import AttemptSummary, Target
from omni_cli.services.engine.chat_plan import ChatPlan
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.services.engine.sending import Sending
from omni_cli.services.judge.abtest import Arm
from omni_cli.wire.access import secrets_of
from omni_cli.wire.fitting import fit_model, untranslatable
from omni_cli.wire.registry import adapter, facts
from omni_cli.wire.server import Parsed


class Plan(Struct, frozen=True):
    """Who is to answer, in this order. ``decision`` is packed for the ledger, which keeps that of
    a ``named`` model only while the call is not sent (services/engine/decisions.py).

    ``task`` None: nothing was classified, because nothing hung on it. ``asked``: what an answer may
    be remembered by, where the role remembers answers. ``arm``: of an A/B test of the role, and
    ``conversation`` its unit there. ``passed``: who was passed over by the decision.
    """

    targets: tuple[Target, ...]
    consent: Consent
    decision: bytes
    named: bool = False
    chain: str | None = None
    role: str = ""
    task: TaskEstimate | None = None
    asked: ChatPlan | None = None
    arm: Arm | None = None
    conversation: int | None = None
    hedge_ms: int | None = None
    passed: tuple[AttemptSummary, ...] = ()


class PlanQuery(Struct, frozen=True):
    """What a plan is made for. ``fallback``: may others stand in for a model that is named."""

    request: ChatRequest
    selector: Selector
    options: RouteOptions
    org: str = ""
    key: str = ""
    fallback: bool = False
    restricted: bool = False


class Line(Struct):
    """The way to one target: address and head of a call. ``call`` is what the adapter built:
    it tells how the answer is framed. ``secrets``: of its headers; nothing may say them back."""

    origin: Origin
    head: bytes
    call: HttpCall
    secrets: tuple[str, ...]


def line_of(call: HttpCall) -> Line:
    """Raises ConfigError when the provider's address or headers cannot be sent."""
    return Line(*addressed(call), call, secrets_of(call))


class Way(Struct):
    """A call that is ready to be committed. ``same``: caller and provider speak one protocol;
    ``wished``: usage was asked for though the caller had not."""

    line: Line
    sent: Sending
    same: bool
    wished: bool = False


def translated(ask: Ask, target: Target, endpoint: Callable[[Provider], Endpoint]) -> Way:
    """The call in the target's own protocol.

    Raises:
        BadRequest: the protocol cannot say it.
        MissingKey, ConfigError: the provider cannot be called.
    """
    model, protocol = target.model, target.provider.protocol
    client = adapter(protocol)
    if ask.operation in ask.caller.passes:
        raise untranslatable(f"/{ask.operation}", facts(protocol))
    if ask.embeds:
        texts = ask.texts()
        call = client.embed(texts, model.wire_name, endpoint(target.provider))
        if texts.left:
            raise untranslatable(", ".join(texts.left), facts(protocol))
    else:
        reached = endpoint(target.provider)
        call = written(ask.parsed(), model, protocol, reached, stream=ask.stream)
    sent = Sending(call.body or b"{}", target, client, ask.operation, call.headers)
    return Way(line_of(call), sent, same=False)


def written(
    parsed: Parsed, model: ModelInfo, protocol: ProtocolName, endpoint: Endpoint, *, stream: bool
) -> HttpCall:
    """A caller's request for a model of another protocol. Raises BadRequest."""
    refused = parsed.refused
    if parsed.request.suffix and not facts(protocol).fills:
        refused = (*refused, "suffix")
    if refused:
        raise untranslatable(", ".join(refused), facts(protocol))
    request = replace(parsed.request, stream=stream, told=parsed.left)
    fitted = fit_model(request, model)
    return adapter(protocol).build(fitted, model.wire_name, endpoint)

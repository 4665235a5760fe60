"""What the gateway decides for one request, and the way to a target."""

from msgspec import Struct

from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import ConfigError
from omni_cli.domain.tasks import TaskEstimate
from omni_cli.http.client import Origin, encode_head, locate
from omni_cli.ports import HttpCall
from omni_cli.services.engine.attempts import AttemptSummary, Target
from omni_cli.services.engine.chat_plan import ChatPlan
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.services.judge.abtest import Arm
from omni_cli.wire.access import secrets_of


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
    try:
        origin, path, host = locate(call.url)
        head = encode_head("POST", path, host, {"user-agent": "omni", **call.headers})
    except ValueError as exc:
        message = f"the provider's address or headers cannot be used: {exc}"
    else:
        return Line(origin, head, call, secrets_of(call))
    raise ConfigError(message, hint="omni providers edit SLUG --base-url URL")

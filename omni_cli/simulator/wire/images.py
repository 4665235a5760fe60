"""Clarifai and Google Vision: they label images and do not chat, so only their errors are here."""

from collections.abc import Iterator, Mapping
from typing import NoReturn

from omni_cli.simulator.ask import Ask, Event, Problem, Reply
from omni_cli.simulator.wire import gemini
from omni_cli.simulator.wire.common import BadAsk, Json, Wire, sse_raw

#: Clarifai's own status codes by fault.
_CODES: Mapping[str, tuple[int, str]] = {
    "401": (11009, "Invalid API key or Invalid API key/application pair"),
    "402": (11005, "Insufficient credits"),
    "404": (21200, "Model does not exist"),
    "429": (11008, "Request throttled"),
}


def _no_chat(_body: Json, _target: str) -> Ask:
    raise BadAsk("this service labels images; it has no chat")


def _no_plain(_ask: Ask, _reply: Reply) -> NoReturn:
    raise BadAsk("this service labels images; it has no chat")


def _no_events(_ask: Ask, _reply: Reply) -> Iterator[Event]:
    raise BadAsk("this service labels images; it has no chat")


def _clarifai_problem(problem: Problem) -> tuple[int, Json]:
    kind = "401" if problem.kind == "400-key" else problem.kind
    code, text = _CODES.get(kind, (98004, "Internal error"))
    status = 401 if problem.kind == "400-key" else problem.status
    return status, {"status": {"code": code, "description": problem.message or text}}


def _clarifai_event(problem: Problem) -> bytes:
    return sse_raw(str(_clarifai_problem(problem)[1]))


CLARIFAI = Wire(
    "clarifai", _no_chat, _no_plain, _no_events, _clarifai_problem, _clarifai_event, sse_raw
)
GOOGLE_VISION = Wire(
    "google-vision",
    _no_chat,
    _no_plain,
    _no_events,
    gemini.describe,
    gemini.error_event,
    sse_raw,
)

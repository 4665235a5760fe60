"""The answer to the very same request, from memory: for roles that opted in (B8).

The same request: messages, tools and every parameter alike, of the same role and organisation,
routed to the same model. Whether it is streamed makes no other request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from omni_cli.domain.chat import ChatChunk, Completion, MediaPart, ToolCall, ToolCallDelta, Usage
from omni_cli.domain.record import asdict, replace
from omni_cli.ports import Clock
from omni_cli.records import CachedAnswer

if TYPE_CHECKING:
    from omni_cli.repositories import Answers

#: What all answers together may take.
LIMIT_BYTES = 64 * 1024 * 1024
_FORMAT = 1
#: Real work only: a probe or a comparison wants to know what the model says now.
_SOURCES = ("chat", "gateway")
_WHOLE = ("stop", "tool_calls")
_PIECE_CHARS = 200


class Asked(Protocol):
    """What is asked, as services/engine/chat.py has it in its ``ChatPlan``."""

    @property
    def job(self) -> Any: ...
    @property
    def targets(self) -> Any: ...
    @property
    def arm(self) -> Any: ...


class Remembered(Struct, frozen=True):
    """An answer from the cache. ``usage``: what the real call used, for the premium's cost."""

    key: str
    found: CachedAnswer
    completion: Completion
    usage: Usage

    def chunks(self) -> Iterator[ChatChunk]:
        """The answer as a stream."""
        whole = self.completion
        if whole.reasoning:
            yield ChatChunk(reasoning=whole.reasoning)
        for start in range(0, len(whole.text), _PIECE_CHARS):
            yield ChatChunk(text=whole.text[start : start + _PIECE_CHARS])
        calls = tuple(
            ToolCallDelta(index, call.id, call.name, call.arguments)
            for index, call in enumerate(whole.tool_calls)
        )
        yield ChatChunk(
            tool_calls=calls,
            images=whole.images,
            reasoning_blocks=whole.reasoning_blocks,
            usage=whole.usage,
            finish_reason=whole.finish_reason,
            raw_finish_reason=whole.raw_finish_reason,
            model=whole.model,
        )


class AnswerCache:
    def __init__(self, answers: Answers, *, clock: Clock, limit_bytes: int = LIMIT_BYTES) -> None:
        self._answers = answers
        self._clock = clock
        self._limit = limit_bytes

    def look(self, plan: Asked) -> Remembered | None:
        """The remembered answer to what is asked, if any. Writes nothing."""
        if not self._applies(plan):
            return None
        key = key_of(plan)
        found = self._answers.find(key, now_ms=self._now())
        if found is None:
            return None
        whole = completion_from(json.loads(found.answer))
        usage = whole.usage or Usage()
        return Remembered(key, found, replace(whole, usage=Usage()), usage)

    def hit(self, request: int, remembered: Remembered) -> None:
        """Within the transaction that opens the request."""
        self._answers.hit(request, remembered.key, remembered.found, now_ms=self._now())

    def keep(
        self, plan: Asked, request: int, answered_by: str, answer: Completion, cost: int | None
    ) -> None:
        """Remember a whole answer of the model that was meant. One that broke off, was refused
        or came from a stand-in is nobody's answer to the same request."""
        if not self._applies(plan) or answer.finish_reason not in _WHOLE:
            return
        if answered_by != plan.targets[0].model.id:
            return
        self._answers.put(
            key_of(plan),
            role=plan.job.options.role,
            origin=request,
            answer=json.dumps(asdict(answer), ensure_ascii=False),
            cost_nusd=cost,
            now_ms=self._now(),
            limit_bytes=self._limit,
        )

    def _applies(self, plan: Asked) -> bool:
        job = plan.job
        return bool(
            job.options.role
            and job.source in _SOURCES
            and job.checks is None
            and plan.arm is None
            and self._answers.ttl_s(job.options.role) is not None
        )

    def _now(self) -> int:
        return int(self._clock() * 1000)


#: Wishes that say nothing to the model: whose the request is, and where it runs.
_UNREAD = frozenset(
    {"user", "metadata", "safety_identifier", "store", "service_tier"}
    | {"prompt_cache_key", "prompt_cache_retention", "cache_control"}
)


def key_of(plan: Asked) -> str:
    """SHA-256 of what is asked, as hexadecimal digits."""
    import hashlib  # OpenSSL with it: for roles that remember only

    job = plan.job
    request = asdict(job.request)
    del request["stream"]
    request["wishes"] = {n: v for n, v in job.request.wishes.items() if n not in _UNREAD}
    asked = {
        "format": _FORMAT,
        "model": plan.targets[0].model.id,
        "role": job.options.role,
        "org": job.org,
        "request": request,
    }
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def completion_from(kept: Mapping[str, Any]) -> Completion:
    """The answer that ``asdict`` took apart."""
    usage = kept["usage"]
    return Completion(
        **{
            **kept,
            "tool_calls": tuple(ToolCall(**call) for call in kept["tool_calls"]),
            "images": tuple(MediaPart(**image) for image in kept["images"]),
            "reasoning_blocks": tuple(kept["reasoning_blocks"]),
            "usage": None if usage is None else Usage(**usage),
        }
    )

"""What a comparison will ask: its settings, its cases by hash, and how both are stored."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.chat import ChatRequest, MediaPart, Message, Part, TextPart
from omni_cli.domain.record import asdict
from omni_cli.domain.scoring import Scorer
from omni_cli.services.judge.suite import Case

#: Digits of a prompt's hash: enough for millions of prompts without two alike.
_HASH = 16


class Settings(Struct, frozen=True):
    """``retries`` after the first try of each call; ``concurrency`` of each provider.

    ``judge`` is a model's id, "" for none. ``max_tokens`` bounds every answer, and so its cost.
    """

    iterations: int = 1
    max_tokens: int = 1024
    temperature: float | None = None
    timeout_s: float = 60.0
    retries: int = 1
    concurrency: int = 4
    judge: str = ""


class Plan(Struct, frozen=True):
    """``contenders`` as names.select takes them; ``cases`` by hash of what is asked."""

    contenders: tuple[str, ...]
    cases: Mapping[str, Case]
    settings: Settings
    name: str = ""
    #: Task types by hash, as routing sees them; filled when the calls are planned.
    tasks: dict[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        return bool(self.settings.judge)

    def request(self, prompt: str) -> ChatRequest:
        settings = self.settings
        return ChatRequest(
            self.cases[prompt].messages,
            max_output_tokens=settings.max_tokens,
            temperature=settings.temperature,
        )


def keyed(cases: Sequence[Case]) -> dict[str, Case]:
    """By hash of the messages; the same question with other expectations is asked again."""
    found: dict[str, Case] = {}
    for case in cases:
        text = json.dumps([_message(message) for message in case.messages], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:_HASH]
        same = sum(other.partition(".")[0] == key for other in found)
        found[f"{key}.{same}" if same else key] = case
    return found


def plan_document(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "contenders": list(plan.contenders),
        "settings": asdict(plan.settings),
        "cases": [
            {
                "hash": key,
                "name": case.name,
                "messages": [_message(message) for message in case.messages],
                "scorers": [asdict(scorer) for scorer in case.scorers],
            }
            for key, case in plan.cases.items()
        ],
    }


def plan_from(document: Mapping[str, Any]) -> Plan:
    return Plan(
        tuple(document["contenders"]),
        {
            case["hash"]: Case(
                tuple(_message_from(values) for values in case["messages"]),
                tuple(
                    Scorer(s["kind"], tuple(s["expect"]), s["settings"], s["negate"])
                    for s in case["scorers"]
                ),
                case["name"],
            )
            for case in document["cases"]
        },
        Settings(**document["settings"]),
        document["name"],
    )


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "parts": [_part(part) for part in message.parts]}


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"text": part.text}
    return {
        "media_type": part.media_type,
        "data": part.data,
        "url": part.url,
        "name": part.name,
    }


def _message_from(values: Mapping[str, Any]) -> Message:
    parts: list[Part] = [
        TextPart(part["text"]) if "text" in part else MediaPart(**part) for part in values["parts"]
    ]
    return Message(values["role"], tuple(parts))

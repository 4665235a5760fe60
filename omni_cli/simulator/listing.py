"""The calls around a chat: model lists, token counts, embeddings, labels, versions."""

import base64
import hashlib
import math
import re
import struct

from omni_cli.simulator import fleet, vision
from omni_cli.simulator.fleet import SimModel
from omni_cli.simulator.routes import Route
from omni_cli.simulator.tokens import count
from omni_cli.simulator.wire.common import Json

#: Every listed model claims to have been made then: 2025-01-01T00:00:00Z.
CREATED, CREATED_AT = 1_735_689_600, "2025-01-01T00:00:00Z"
DIMENSIONS = 1536


def answer(route: Route, body: Json, input_tokens: int, seed: int) -> Json:
    """The JSON of any call that is not a chat."""
    match route.operation:
        case "count":
            if route.protocol == "gemini":
                details = [{"modality": "TEXT", "tokenCount": input_tokens}]
                return {"totalTokens": input_tokens, "promptTokensDetails": details}
            return {"input_tokens": input_tokens}
        case "embeddings":
            return _embeddings(body, ollama=route.protocol == "ollama")
        case "labels":
            return vision.answer(route, body, seed)
        case "version":
            return {"version": "0.0.0-simulated"}
        case "show":
            return _show(str(body.get("model") or body.get("name") or ""))
        case "model":
            return _one(route, fleet.find(route.target), route.target)
        case _:
            return _models(route)


def _one(route: Route, model: SimModel | None, name: str) -> Json:
    """A model in its protocol's listing; fields that are not known stay out."""
    if route.protocol == "anthropic":
        shown = model.name if model else name
        return {"type": "model", "id": name, "display_name": shown, "created_at": CREATED_AT}
    if route.protocol == "gemini":
        entry: Json = {
            "name": f"models/{name}",
            "version": "001",
            "displayName": model.name if model else name,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }
        if model and model.max_output:
            entry |= {"inputTokenLimit": model.context, "outputTokenLimit": model.max_output}
        return entry
    if route.protocol == "ollama":
        family, _, size = name.partition(":")
        return {
            "name": name,
            "model": name,
            "modified_at": CREATED_AT,
            "size": 4_000_000_000,
            "digest": hashlib.sha256(name.encode()).hexdigest(),
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": family,
                "families": [family],
                "parameter_size": size.upper(),
                "quantization_level": "Q4_0",
            },
        }
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "simulator"}


def _models(route: Route) -> Json:
    served = fleet.served(route.provider, route.protocol)
    entries = [_one(route, model, model.wire_name) for model in served]
    if route.protocol == "gemini":
        return {"models": entries}
    if route.protocol == "ollama":
        return {"models": entries}
    if route.protocol == "clarifai":
        return vision.models()
    if route.protocol == "anthropic":
        first, last = entries[0]["id"], entries[-1]["id"]
        return {"data": entries, "has_more": False, "first_id": first, "last_id": last}
    return {"object": "list", "data": entries}


def _show(name: str) -> Json:
    model = fleet.find(name)
    route = Route("show", "ollama", "ollama", "")
    details = _one(route, model, name)["details"]
    info: Json = {"general.architecture": details["family"]}
    if model:
        info[f"{details['family']}.context_length"] = model.context
    return {"details": details, "model_info": info, "capabilities": ["completion", "tools"]}


def _vector(text: str, dimensions: int) -> list[float]:
    """A unit vector; texts that share words point in similar directions."""
    values = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "big")
        values[number % dimensions] += 1.0 if number >> 63 else -1.0
    norm = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / norm for value in values]


def unknown_fields(protocol: str, body: Json) -> list[str]:
    """What OpenAI refuses in a wish for embeddings; Ollama passes over what it does not know."""
    known = {"model", "input", "dimensions", "encoding_format", "user"}
    return sorted(body.keys() - known) if protocol == "openai" else []


def _embeddings(body: Json, *, ollama: bool) -> Json:
    sent = body.get("input", "")
    texts = [str(text) for text in sent] if isinstance(sent, list) else [str(sent)]
    dimensions = int(body.get("dimensions") or DIMENSIONS)
    tokens = sum(map(count, texts))
    if ollama:
        vectors = [_vector(text, dimensions) for text in texts]
        return {"model": body.get("model"), "embeddings": vectors, "prompt_eval_count": tokens}
    data: list[Json] = []
    for index, text in enumerate(texts):
        vector: list[float] | str = _vector(text, dimensions)
        if body.get("encoding_format") == "base64":
            packed = struct.pack(f"<{dimensions}f", *vector)
            vector = base64.b64encode(packed).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body.get("model"), "usage": usage}

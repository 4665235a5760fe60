"""Provider and model names as other tools write them, in omni's words. Never a guess."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from omni_cli.domain.clouds import cloud_of
from omni_cli.domain.imports import ImportedCall
from omni_cli.domain.models import Provider

#: Other tools' words for providers that omni knows.
_PROVIDERS: Mapping[str, str] = {
    "anthropic": "anthropic",
    "claude": "anthropic",
    "openai": "openai",
    "google": "google",
    "google ai studio": "google",
    "gemini": "google",
    "openrouter": "openrouter",
    "groq": "groq",
    "deepseek": "deepseek",
    "moonshot": "moonshot",
    "moonshotai": "moonshot",
    "mistral": "mistral",
    "mistralai": "mistral",
    "perplexity": "perplexity",
    "xai": "xai",
    "x-ai": "xai",
    "ollama": "ollama",
    "cerebras": "cerebras",
    "zai": "zai",
    "z-ai": "zai",
    "zhipuai": "zai",
}
#: Clouds that serve another vendor's model under a prefixed name.
_CLOUDS = frozenset(
    {
        "amazon-bedrock",
        "bedrock",
        "bedrock_converse",
        "google-vertex",
        "google-vertex-anthropic",
        "vertex",
        "vertex_ai",
    }
)

#: What ``resolve_model`` calls each cloud.
_CLOUD_WORDS: Mapping[str, str] = {"aws": "bedrock", "google": "vertex", "azure": "openai"}

_DATE = re.compile(r"(?:-20\d{2}-?[01]\d-?[0-3]\d|@(?:20\d{6}|default|latest))$")
_LATEST = re.compile(r"-latest$")
_BEDROCK_VERSION = re.compile(r"-v\d+(?::\d+)?$")
_BEDROCK_REGION = re.compile(r"^(?:[a-z]{2}|apac|global|us-gov)\.(?=[a-z0-9-]+\.)")
_BEDROCK_VENDOR = re.compile(r"^(anthropic|openai|deepseek|mistral|moonshot)\.")
#: Claude Code's own mark for a long context, which the API is never told.
_CONTEXT = re.compile(r"\[\d+[km]\]$", re.IGNORECASE)
#: Amazon's names of what it defines itself; a profile of one's own says nothing of its model.
_ARN = re.compile(
    r"arn:aws[\w-]*:bedrock:[\w-]*:\d*:(?:inference-profile|foundation-model)/(?P<name>[^/]+)"
)
#: Google's resource names, with or without the project and the place.
_PUBLISHER = re.compile(
    r"(?:projects/[^/]+/locations/[^/]+/)?publishers/(?P<who>[^/]+)/models/(?P<name>[^/]+)"
)
_PUBLISHERS: Mapping[str, str] = {
    "anthropic": "anthropic",
    "google": "google",
    "mistralai": "mistral",
    "openai": "openai",
    "deepseek-ai": "deepseek",
    "xai": "xai",
    "moonshotai": "moonshot",
}


def provider_slug(name: str | None) -> str | None:
    """omni's slug for another tool's word; an unknown word stays, in lower case."""
    if name is None:
        return None
    word = name.strip().lower()
    return _PROVIDERS.get(word, word) or None


def split_prefix(name: str | None) -> tuple[str | None, str | None]:
    """``provider/model`` in its parts; the provider None where the prefix names none."""
    if name is None or "/" not in name:
        return None, name
    prefix, rest = name.split("/", 1)
    slug = prefix.lower()
    if slug in _CLOUDS:
        return slug, rest
    return (_PROVIDERS[slug], rest) if slug in _PROVIDERS else (None, name)


def _spellings(name: str) -> Iterator[str]:
    """The name, then without its version, its date and its "latest", most exact first."""
    yield name
    plain = _BEDROCK_VERSION.sub("", name)
    if plain != name:
        yield plain
    for suffix in (_DATE, _LATEST):
        shorter = suffix.sub("", plain)
        if shorter != plain:
            yield shorter


def resolve_model(provider: str | None, wire_name: str, known: Mapping[str, str]) -> str | None:
    """The catalogue's id of a recorded model name, or None where it is not certain.

    Args:
        provider: slug, another tool's word, or None when the source names none.
        wire_name: as recorded; may carry ``provider/`` or a cloud's prefix.
        known: names that the catalogue answers to (``provider/model`` ids, and bare names that
            are unambiguous) -> model id.

    A mark of a long context (``[1m]``) is no part of a name. Tried in order, first exactly, then
    without ``-v1:0``, a date (``-20250929``, ``-2025-09-29``, ``@20250929``) or ``-latest``:

    1. ``provider/name`` with the provider as given;
    2. the name as written, when it begins with its provider;
    3. a Bedrock or Vertex name as its vendor's (``us.anthropic.claude-…-v1:0``), also as an ARN
       of Amazon's own or as ``publishers/VENDOR/models/NAME``;
    4. the bare name, only when no provider is known.
    """
    slug, name = provider_slug(provider), _CONTEXT.sub("", wire_name.strip())
    if arn := _ARN.fullmatch(name):
        slug, name = "bedrock", arn["name"]
    elif resource := _PUBLISHER.fullmatch(name):
        if slug not in (None, *_CLOUDS, "google"):
            return None
        slug, name = _PUBLISHERS.get(resource["who"], resource["who"]), resource["name"]
    prefix, bare = split_prefix(name)
    # A router's own naming keeps its prefix: openrouter serves ``anthropic/claude-…`` itself.
    readings: list[tuple[str | None, str]] = [(slug, name)] if slug or not prefix else []
    if prefix and bare and slug in (None, prefix):
        readings.append((prefix, bare))
    readings.extend(_vendor_readings(readings))
    if slug == "anthropic":  # its own names have no dots; others' spellings of them have
        dashed = (bare or name).replace(".", "-")
        readings.insert(0, (slug, dashed))
    for owner, reading in readings:
        for spelling in _spellings(reading.removeprefix("models/")):
            candidate = f"{owner}/{spelling}" if owner else spelling
            if candidate in known:
                return known[candidate]
    return None


def _vendor_readings(readings: list[tuple[str | None, str]]) -> Iterator[tuple[str, str]]:
    """Vendor and model of clouds' names: ``eu.anthropic.claude-x`` or ``claude-x@20250929``."""
    for owner, name in readings:
        if owner is not None and owner not in _CLOUDS:
            continue
        inner = _BEDROCK_REGION.sub("", name.split("/", 1)[1] if "/" in name else name)
        match = _BEDROCK_VENDOR.match(inner)
        if match:
            yield match.group(1), inner[match.end() :]
        elif owner and inner.startswith("claude"):
            yield "anthropic", inner
        elif owner and inner.startswith("gemini"):
            yield "google", inner


def known_names(models: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    """What ``resolve_model`` looks names up in.

    Args:
        models: (``provider/wire_name`` id, aliases) of every catalogue model.

    Returns:
        Each id -> itself, and each bare wire name and alias -> its id where only one model of
        the catalogue has it (``gpt-oss-120b``, which several providers serve, is left out).
    """
    ids: dict[str, str] = {}
    bare: dict[str, set[str]] = {}
    for model_id, aliases in models:
        ids[model_id] = model_id
        for alias in (model_id.partition("/")[2], *aliases):
            bare.setdefault(alias, set()).add(model_id)
    return {name: min(owners) for name, owners in bare.items() if len(owners) == 1} | ids


class Recorded:
    """Models by names as others wrote them; None where it is not certain which is meant.

    Args:
        names: id and aliases of each of the catalogue's; they are read once.
    """

    def __init__(self, names: Callable[[], Iterable[tuple[str, Iterable[str]]]]) -> None:
        self._names = names

    @cached_property
    def _known(self) -> Mapping[str, str]:
        return known_names(self._names())

    def model(self, provider: str | None, name: str) -> str | None:
        """See ``resolve_model``."""
        return resolve_model(provider, name, self._known)

    def of_call(self, call: ImportedCall) -> str | None:
        """By its recorded name, else by the name that the answer itself gave (the recorded one
        may be a user's alias)."""
        for name in (call.model, call.served_model):
            found = self.model(call.provider, name) if name else None
            if found is not None:
                return found
        return None

    def of_cloud(self, provider: Provider | None, wire_name: str) -> str | None:
        """The model that a cloud's provider serves under a name of its own."""
        cloud = None if provider is None else cloud_of(provider)
        return None if cloud is None else self.model(_CLOUD_WORDS[cloud], wire_name)

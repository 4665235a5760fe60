"""Ollama's /api/generate, as its callers see it: one prompt, one answer.

Source: ollama/ollama docs/api.md, "Generate a completion".
"""

from typing import ClassVar

from omni_cli.domain.chat import Completion, Message, TextPart, ToolCall
from omni_cli.wire.facts import Operation
from omni_cli.wire.ollama.server import LineWriter, OllamaChat, Took, base, images_of, parsed
from omni_cli.wire.server import Answered, JsonObject, Parsed, encode, optional_text, wrong

_KNOWN = frozenset(
    {"model", "prompt", "system", "images", "format", "options", "stream", "think", "keep_alive"}
)
#: A prompt without its model's template (``raw``, ``template``), one with a gap (``suffix``), and
#: tokens of an earlier one (``context``): no chat says these.
_OTHER: dict[str, object] = {"raw": False, "template": "", "suffix": "", "context": []}


class OllamaGenerate(OllamaChat):
    """No provider is asked in this way: it is a chat of one message everywhere."""

    name = "ollama-generate"
    operations = (Operation("chat", "/generate", "One answer", loads=True),)
    _asks = ("prompt", "images")
    _silence: ClassVar[JsonObject] = {"response": ""}

    def parse(self, body: JsonObject) -> Parsed:
        prompt, images = optional_text(body, "prompt"), images_of(body)
        if not prompt and not images:
            raise wrong("'prompt' must be a text")
        parts = ((TextPart(prompt),) if prompt else ()) + images
        system = optional_text(body, "system")
        head = (Message.text_of("system", system),) if system else ()
        other = tuple(name for name, plain in _OTHER.items() if body.get(name) not in (None, plain))
        known = _KNOWN | _OTHER.keys()
        return parsed(body, (*head, Message("user", parts)), (), known, other)

    def whole(self, completion: Completion, about: Answered) -> bytes:
        said = _said(completion.text, completion.reasoning)
        return encode({**base(about), **said, **Took(about).ending(completion)})

    def writer(self, about: Answered) -> LineWriter:
        return LineWriter(about, _said)


def _said(text: str, thinking: str = "", _: tuple[ToolCall, ...] = ()) -> JsonObject:
    return {"response": text, "thinking": thinking} if thinking else {"response": text}

"""The protocols: one module each reads requests and writes answers in its own words."""

from collections.abc import Mapping

from omni_cli.simulator.wire import anthropic, gemini, images, ollama, openai, responses
from omni_cli.simulator.wire.common import Wire

WIRES: Mapping[str, Wire] = {
    wire.name: wire
    for wire in (
        openai.WIRE,
        responses.WIRE,
        anthropic.WIRE,
        gemini.WIRE,
        ollama.WIRE,
        images.CLARIFAI,
        images.GOOGLE_VISION,
    )
}

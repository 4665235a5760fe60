"""Texts to vectors, in the words that protocols share."""

from msgspec import Struct

from omni_cli.domain.chat import Usage


class Texts(Struct, frozen=True):
    """What is to be embedded. ``packed``: the vectors are wanted as base64 of their floats.
    ``left``: fields of the request that another protocol cannot be told. ``purpose``: what the
    vectors are for, in Google's words, "" where it is not said. ``single``: one vector is wanted,
    not a list."""

    inputs: list[str]
    dimensions: int | None = None
    packed: bool = False
    left: tuple[str, ...] = ()
    purpose: str = ""
    single: bool = False

    def body(self, wire_name: str) -> dict[str, object]:
        """For a provider, in the form that OpenAI's protocol and Ollama's have in common."""
        body: dict[str, object] = {"model": wire_name, "input": self.inputs}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        return body


class Vectors(Struct, frozen=True):
    """In the order of the texts. ``usage`` None: the provider counts nothing."""

    vectors: list[list[float]]
    usage: Usage | None = None

"""Clarifai's image models."""

from omni_cli.wire.facts import Facts


class ClarifaiFacts(Facts):
    name = "clarifai"
    client = "client:Clarifai"

    @staticmethod
    def image_tokens(
        width: int | None = None, height: int | None = None, *, model: str = ""
    ) -> int:
        """It charges by the call."""
        del width, height, model
        return 0

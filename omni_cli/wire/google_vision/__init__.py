"""Google's Cloud Vision."""

from omni_cli.wire.facts import Facts


class GoogleVisionFacts(Facts):
    name = "google-vision"
    client = "client:GoogleVision"

    @staticmethod
    def image_tokens(
        width: int | None = None, height: int | None = None, *, model: str = ""
    ) -> int:
        """It charges by the call."""
        del width, height, model
        return 0

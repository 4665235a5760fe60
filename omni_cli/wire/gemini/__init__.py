"""Google's generateContent."""

from omni_cli.wire.facts import Facts


class GeminiFacts(Facts):
    name = "gemini"
    client = "client:Gemini"
    servers = ("server:GeminiContent",)
    names_model = False
    # Google's own packages differ in the version that they ask for.
    prefixes = ("/v1beta", "/v1")
    owns = ("/v1beta/",)
    stream_type = "text/event-stream"
    comments = False  # Google's own package takes a comment for JSON

    @staticmethod
    def image_tokens(
        width: int | None = None, height: int | None = None, *, model: str = ""
    ) -> int:  # as every protocol
        """Sources: Google, "Understand and count tokens" (258 a tile), which is as wide as two
        thirds of the shorter side, 256 to 768 pixels; "Media resolution" (2,240 at ultra high)."""
        from omni_cli.domain.tokens import image_patches, image_sides

        del model
        w, h = image_sides(width, height)
        tile = min(max(min(w, h) * 2 // 3, 256), 768)
        return max(2_240, 258 * image_patches(w, h, tile))

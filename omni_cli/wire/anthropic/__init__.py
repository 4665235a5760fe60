"""Anthropic's Messages."""

from omni_cli.wire.facts import Facts


class AnthropicFacts(Facts):
    name = "anthropic"
    client = "client:Anthropic"
    servers = ("server:AnthropicMessages",)
    forwards = ("anthropic-beta", "anthropic-version")
    counts = ("max_tokens",)
    short_tail = True
    owns = ("/v1/messages",)
    comments = True
    request_id = "request-id"
    id_prefix = "msg_"

    @staticmethod
    def image_tokens(
        width: int | None = None, height: int | None = None, *, model: str = ""
    ) -> int:  # as every protocol
        """Sources: Anthropic, "Vision" and "What's new in Claude Opus 4.7" (width x height / 750,
        at most 4,784); measured as patches of 28 px and up to 4 more by the OmniGlyph project."""
        from omni_cli.domain.tokens import image_patches, image_sides

        del model
        w, h = image_sides(width, height)
        return min(max(image_patches(w, h, 28), -(-w * h // 750)), 4_784) + 4

"""omni's own chat, of the specs."""

from omni_cli.wire.facts import Facts


class OmniFacts(Facts):
    name = "omni"
    servers = ("server:OmniChat",)
    prefixes = ("",)
    owns = ("/api/", "/v1/usage", "/v1/router/")
    stream_type = "text/event-stream"
    id_prefix = "chat_"

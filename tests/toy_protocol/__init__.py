"""A protocol that nobody speaks: what one must write to add one, and nothing more."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from omni_cli.wire.facts import Facts

if TYPE_CHECKING:
    from omni_cli.domain.chat import FinishReason


class ToyFacts(Facts):
    name = "toy"
    client = "client:Toy"
    servers = ("server:ToyServer",)
    counts = ("most",)
    prefixes = ("/toy",)
    owns = ("/toy/",)
    request_id = "toy-id"
    id_prefix = "toy_"
    finishes: ClassVar[Mapping[str, str]] = {"stop": "end", "length": "most"}
    means: ClassVar[Mapping[str, "FinishReason"]] = {"end": "stop", "most": "length"}

"""The toy protocol's facts: what is true of it, as data."""

from omni_cli.wire.facts import Facts


class ToyFacts(Facts):
    name = "toy"
    client = "client:Toy"

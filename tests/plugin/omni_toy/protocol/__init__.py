"""The toy protocol's facts: what is true of it, as data."""

from omni_cli.wire.facts import Facts, named


class ToyFacts(Facts):
    name = "toy"
    client = "client:Toy"
    writes = named(top_k="likely.most")

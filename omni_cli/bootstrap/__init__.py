"""Wires services to adapters. Each piece is imported where it is first needed, so that a
command pays for what it uses and for nothing else."""

from omni_cli.bootstrap.knowing import Knowing


class App(Knowing):
    """One process's omni: everything that is wired, made on first use (see ``base.Base``)."""

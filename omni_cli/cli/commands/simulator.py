"""``omni simulator``: providers with no model behind them, on this machine."""

from typing import Annotated

import typer

from omni_cli.domain.errors import OmniError, UsageError

app = typer.Typer(rich_markup_mode=None)


@app.command()
def simulator(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    seed: Annotated[int, typer.Option(help="Decides the answers.")] = 0,
    tokens_per_second: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="Speed of answers; at once without.")
    ] = None,
    latency: Annotated[
        float, typer.Option(min=0.0, help="Share of each model's own time to wait, 0 to 1.")
    ] = 0.0,
    key: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The only key accepted; any without.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PATTERN=]FAULT[:VALUE][*FIRST][@PROBABILITY]",
            help="What goes wrong; repeatable. PATTERN matches provider/model.",
        ),
    ] = None,
) -> None:
    """A server on loopback that speaks the providers' protocols; until Ctrl-C. No model answers."""
    from omni_cli.simulator.__main__ import run
    from omni_cli.simulator.server import Simulator

    try:
        made = Simulator(
            seed, tokens_per_second, port, latency=latency, faults=fault or (), key=key
        )
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    try:
        run(made)
    except OSError as exc:
        raise OmniError(f"cannot listen on port {port}: {exc.strerror or exc}") from exc

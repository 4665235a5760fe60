"""``omni serve``: the gateway."""

from typing import Annotated

import typer

from omni_cli.cli.common import omni
from omni_cli.cli.render import note
from omni_cli.domain.errors import ConfigError

app = typer.Typer(rich_markup_mode=None)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 4000,
) -> None:
    """Answer OpenAI, Anthropic, Ollama and Gemini clients with the fleet."""
    from omni_cli.gateway.app import Options
    from omni_cli.gateway.serve import bind, run

    try:
        sock = bind(host, port)
    except OSError as exc:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {exc.strerror or exc}", hint="choose another --port"
        ) from exc
    shown = f"[{host}]" if ":" in host else host
    note(f"omni serves http://{shown}:{sock.getsockname()[1]}")
    with omni() as omni_app:
        run(omni_app, Options(), sock)

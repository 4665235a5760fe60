"""``omni serve``: the gateway."""

import re
from typing import Annotated

import typer

from omni_cli.cli.common import omni
from omni_cli.cli.render import note
from omni_cli.domain.errors import ConfigError, UsageError
from omni_cli.keys.addresses import SERVE_PORT

app = typer.Typer(rich_markup_mode=None)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = SERVE_PORT,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 1,
    require_key: Annotated[
        bool, typer.Option("--require-key", help="Demand a client key on this machine too.")
    ] = False,
    origin: Annotated[
        list[str] | None, typer.Option(help="A web page's origin that may call; repeatable.")
    ] = None,
    org_rpm: Annotated[
        int | None, typer.Option(min=1, help="Requests a minute of each organisation.")
    ] = None,
    org_tpm: Annotated[
        int | None, typer.Option(min=1, help="Tokens a minute of each organisation.")
    ] = None,
    org_concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests at once of each organisation.")
    ] = None,
    request_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a request may take in all.")
    ] = 900.0,
    notice: Annotated[
        float, typer.Option(min=0, help="Seconds to serve on after SIGTERM, with /ready at 503.")
    ] = 0.0,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest request, MB.")] = 32,
) -> None:
    """Answer OpenAI, Anthropic, Ollama and Gemini clients with the fleet."""
    from omni_cli.domain.hosts import is_loopback
    from omni_cli.gateway.app import Options
    from omni_cli.gateway.meter import Quota
    from omni_cli.gateway.serve import bind_each, run
    from omni_cli.gateway.shared_counts import shared_counts
    from omni_cli.http.environment import Proxies
    from omni_cli.http.request import Limits

    for page in origin or ():
        if page != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s,]*/?", page):
            raise UsageError(
                f"--origin is written https://HOST, not {page!r}",
                hint="app://NAME and the like are desktop programs; '*' is any page, with keys",
            )
    with omni() as omni_app:
        local = is_loopback(host)
        now = omni_app.now_ms()
        keys = [k for k in omni_app.client_keys.all() if k.state(now) == "active"]
        if "*" in (origin or ()) and not (keys or require_key):
            raise ConfigError(
                "--origin '*' would let any web page use this gateway",
                hint="omni keys create makes a client key; or name the pages",
            )
        if not local and not keys:
            raise ConfigError(
                f"{host} can be reached from elsewhere, and there is no client key",
                hint="omni keys create makes one; or listen on 127.0.0.1",
            )
        # What is wrong is told here, not by a worker that ends.
        shared_counts(omni_app.env)
        Proxies(omni_app.env)
        try:
            sockets = bind_each(host, port, workers)
        except OSError as exc:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {exc.strerror or exc}",
                hint="choose another --port",
            ) from exc
        omni_app.addresses.note_served(sockets[0].getsockname()[1])
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{sockets[0].getsockname()[1]}"
        note(f"omni serves {url}")
        note(f"  OpenAI clients: base URL {url}/v1; Anthropic, Ollama: {url}; model: auto")
        if not (keys or require_key):
            note("  open to this machine; omni keys create makes client keys")
        options = Options(
            limits=Limits(max_body=max_body_mb * 1024 * 1024, request_s=request_timeout),
            require_key=require_key or not local,
            origins=tuple(page.rstrip("/") for page in origin or ()),
            org=Quota(org_rpm, org_tpm, org_concurrency),
            workers=workers,
            notice_s=notice,
        )
        run(omni_app, options, sockets)

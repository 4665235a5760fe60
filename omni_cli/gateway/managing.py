"""How a path of the management API becomes a route: its job, what its caller must be allowed, and
what the OpenAPI document says of it. Jobs run at the desk, over a store of their own."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from omni_cli.bootstrap import App
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.live_status import as_org
from omni_cli.gateway.own_api import query_of
from omni_cli.gateway.routes import Handler, Route
from omni_cli.http.request import Request
from omni_cli.wire.server import object_of

if TYPE_CHECKING:
    from omni_cli.written import Written

M = TypeVar("M", bound="Written")


class Asked(Struct, frozen=True):
    """What a caller asked of the management API.

    ``at``: what stands in the path's places. ``numbers``: in the management spec's words
    (``/api/ai``), which are numbers where the fleet spec's are texts.
    """

    who: Principal
    at: Mapping[str, str]
    query: Mapping[str, str]
    raw: bytes
    path: str

    @property
    def numbers(self) -> bool:
        return self.path.startswith("/api/ai/")

    @property
    def verb(self) -> str:
        """The path's last part."""
        return self.path.rpartition("/")[2]

    def body(self, kind: "type[M]") -> "M":
        """The body as one of ``gateway/bodies.py``. Raises UsageError."""
        from omni_cli.written import read

        return read(kind, object_of(self.raw))


Job = Callable[[App, Asked], Any]


class Managing:
    """Gathers routes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: list[Route] = []

    def job(
        self,
        method: str,
        path: str,
        job: Job,
        summary: str,
        *query: str,
        scope: str = "",
        body: str = "",
        status: int = 200,
        twice: bool = False,
        desk: Desk | None = None,
        whole: bool = False,
    ) -> None:
        """A path whose job gives the answer's document. ``scope``: read for GET, else admin.
        ``twice``: under ``/api/ai``, too. ``desk``: where it runs, else at the one of all.
        ``whole``: it tells of everybody's requests at once, so no organisation may ask."""
        at_desk = desk or self._desk

        async def handle(request: Request, who: Principal, at: dict[str, str]) -> None:
            raw = b"" if method in ("GET", "DELETE") else await request.body()
            query = query_of(request)
            if method == "GET" and "org" in query and not whole:
                who = as_org(who, query["org"])
            asked = Asked(who, at, query, raw, request.path)
            told = await at_desk.do(lambda app: job(app, asked), who)
            await request.json(told, status)

        self.handler(
            method,
            path,
            handle,
            summary,
            *query,
            scope=scope,
            body=body,
            status=status,
            twice=twice,
            whole=whole,
        )

    def handler(
        self,
        method: str,
        path: str,
        handler: Handler,
        summary: str,
        *query: str,
        scope: str = "",
        body: str = "",
        status: int = 200,
        twice: bool = False,
        whole: bool = False,
    ) -> None:
        """A path that answers by itself."""
        access = scope or ("read" if method == "GET" else "admin")
        for prefix in ("/api", "/api/ai") if twice else ("/api",):
            self.routes.append(
                Route(
                    method,
                    prefix + path,
                    handler,
                    summary,
                    access,
                    "management",
                    query,
                    body,
                    status,
                    whole,
                )
            )

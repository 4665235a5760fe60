"""Answers one request: find its route and faults, then speak its protocol."""

import asyncio
import json
import secrets
import sys
import time
import traceback
from random import Random
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.errors import BadRequest, OmniError
from omni_cli.http.request import Gone, Request
from omni_cli.simulator import clouds, engine, fleet, kept, listing, routes, speech
from omni_cli.simulator.ask import Ask, Problem
from omni_cli.simulator.faults import KINDS, Fault, FaultBook, Rule, marks, parse_faults
from omni_cli.simulator.record import Entry, Recorder
from omni_cli.simulator.routes import Route
from omni_cli.simulator.sending import Out, Pace, send_plain, send_stream
from omni_cli.simulator.tokens import PromptCache, prompt_hash
from omni_cli.simulator.vendors import VENDORS, Json, Vendor
from omni_cli.wire.registry import batching, facts
from omni_cli.wire.server import encode, status_of

MARK = {"server": "omni-simulator", "x-omni-simulator": "1"}
JSON = MARK | {"content-type": "application/json"}
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>\n"
#: The context window that a "400-context" fault names for models that are not in the fleet.
UNKNOWN_CONTEXT = 8_192


class Options(Struct, frozen=True):
    """``tokens_per_second`` None: at once. ``latency``: how much of each model's own demo
    latency to wait (0 none, 1 all). ``key``: the only key accepted; None accepts any or none.
    """

    seed: int = 0
    tokens_per_second: float | None = None
    latency: float = 0.0
    key: str | None = None


class Refused(Exception):
    """The request is answered by an error; ``message`` replaces the protocol's own words."""

    def __init__(self, kind: str, message: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Call(Struct):
    """One request on its way. ``shape``: its faults by kind, with their values."""

    request: Request
    content: bytes
    route: Route
    vendor: Vendor
    out: Out
    ident: str
    received_at: float
    headers: dict[str, str]
    body: Json = field(default_factory=dict)
    ask: Ask | None = None
    prompt_hash: str = ""
    input_tokens: int = 0
    shape: dict[str, float | None] = field(default_factory=dict)

    @property
    def model(self) -> str:
        if self.ask is not None:
            return self.ask.model
        named = self.body.get("model")
        return named if isinstance(named, str) else self.route.target


def _key_of(request: Request) -> str | None:
    """The key that a client sent, wherever its protocol puts it; it is never kept."""
    headers = request.headers
    bearer = headers.get("authorization", "").partition(" ")[2]
    pairs = request.query.decode("latin-1").split("&")
    query = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    sent = (
        bearer,
        headers.get("api-key"),
        headers.get("x-api-key"),
        headers.get("x-goog-api-key"),
        query.get("key"),
    )
    return next((key for key in sent if key), None)


class App:
    def __init__(self, options: Options, faults: FaultBook) -> None:
        self.options = options
        self.faults = faults
        self.recorder = Recorder()
        self.cache = PromptCache()
        self._answers = 0
        # Ids differ between servers, or two runs would look like the same requests.
        self._run = secrets.token_hex(4)
        self.shelf = kept.Shelf(self._new_id)
        self.tokens = clouds.TokenDesk()

    def _new_id(self) -> str:
        self._answers += 1
        return f"{self._run}{self._answers:08x}"

    def reset(self) -> None:
        """Forget rules, counters and cached prompts."""
        self.faults.clear()
        self.recorder.reset()
        self.cache.clear()
        self.shelf.clear()

    async def handle(self, request: Request) -> None:
        """Answer one request; a bad one must not end the server."""
        request.stops_when_gone = True
        try:
            await self._handle(request, Out(request))
        except Gone:
            pass
        except OmniError as exc:  # its body is too large, or does not come
            await request.json({"error": {"message": exc.message}}, status_of(exc))
        except Exception:  # noqa: BLE001  # whatever it was, the others are still to be answered
            traceback.print_exc(file=sys.stderr)
            if not request.begun:
                await request.json({"error": {"message": "simulator error"}}, 500)
            request.break_off()

    async def _handle(self, request: Request, out: Out) -> None:
        content = await request.body()
        route = routes.find(request.path, request.query.decode("latin-1"), request.headers)
        if route is None:
            error = {"message": f"no such path: {request.path}"}
            await out.send(404, JSON, encode({"error": error}))
        elif route.operation == "token":
            status, value = self.tokens.give(request.method, content, time.time())
            await out.send(status, JSON, encode(value))
        elif route.operation == "admin":
            status, value = administer(self, request, content)
            await out.send(status, JSON, encode(value))
        else:
            self.recorder.arrived(route.path)
            try:
                await self._serve(request, content, route, out)
            finally:
                self.recorder.left()

    async def _serve(self, request: Request, content: bytes, route: Route, out: Out) -> None:
        ident = self._new_id()
        headers = JSON | {facts(route.protocol).request_id: f"req_{ident}"}
        call = Call(
            request, content, route, VENDORS[route.protocol], out, ident, time.time(), headers
        )
        keeps = route.operation in kept.OPERATIONS
        try:
            if not keeps:
                self._read(call)
            self._take_faults(call)
            if await self._held(call):
                return
            self._check(call)
            if keeps:
                await self._keep(call)
                return
            other = None if route.operation == "chat" else self._other(call)
        except Refused as refusal:
            await self._refuse(call, refusal)
            return
        if call.ask is not None and other is None:
            await self._chat(call, call.ask)
        elif other is not None:
            self.recorder.status(200)
            problem = self._problem(call, "500")
            await send_plain(out, headers, other, call.shape, problem, call.vendor)

    def _read(self, call: Call) -> None:
        """Raises Refused when the body is not what the protocol asks for."""
        if call.request.method == "POST":
            try:
                body = json.loads(call.content or b"{}")
            except ValueError as exc:
                raise Refused("400", "We could not parse the JSON body of your request.") from exc
            if not isinstance(body, dict):
                raise Refused("400", "The body must be a JSON object.")
            call.body = body
        if call.route.operation in ("chat", "count"):
            model = call.route.target or call.body.get("model")
            if not isinstance(model, str):
                raise Refused("400", "you must provide a model parameter")
            counts = call.route.operation == "count"
            try:
                call.ask = speech.read(
                    call.vendor, call.body, model, stream=call.route.stream, counts=counts
                )
            except BadRequest as exc:
                raise Refused("400", exc.message) from exc
            except (AttributeError, TypeError, KeyError, ValueError) as exc:
                raise Refused("400", f"Invalid type in the request: {exc}") from exc
            call.prompt_hash = prompt_hash(call.ask)
            call.input_tokens = engine.input_tokens(call.ask, call.vendor)

    async def _keep(self, call: Call) -> None:
        """Files and batches. Raises Refused."""
        route, request = call.route, call.request
        try:
            status, kind, body = self.shelf.answer(
                route.protocol,
                route.operation,
                request.method,
                route.path,
                request.headers,
                call.content,
                lambda endpoint, asked: self._one_of_a_batch(call, endpoint, asked),
            )
        except BadRequest as exc:
            raise Refused("400", exc.message) from exc
        except KeyError as exc:
            raise Refused("404", f"No such object: {exc.args[0]}") from exc
        self.recorder.status(status)
        await call.out.send(status, call.headers | {"content-type": kind}, body)

    def _one_of_a_batch(self, call: Call, endpoint: str, body: Json) -> tuple[int, Json]:
        """The answer of one request, whole."""
        speaks = batching(call.route.protocol)
        assert speaks is not None
        protocol, operation = speaks.endpoints[endpoint]
        vendor, ident = VENDORS[protocol], self._new_id()
        route = Route(operation, protocol, call.route.provider, endpoint)
        model = str(body.get("model"))
        one = Call(
            call.request, b"", route, vendor, call.out, ident, call.received_at, {}, body=body
        )
        try:
            self._take_faults(one)
            self._check(one)
            if operation == "embeddings":
                return 200, json.loads(listing.answer(route, vendor, body, 0, self.options.seed))
            if "prompt" in body:  # a text that is gone on with
                body = {**body, "messages": [{"role": "user", "content": body["prompt"]}]}
            ask = speech.read(vendor, body, model, stream=False, counts=False)
        except Refused as refusal:
            return vendor.problem(self._problem(one, refusal.kind, refusal.message))
        except BadRequest as exc:
            return vendor.problem(self._problem(one, "400", exc.message))
        reply = engine.reply(
            ask,
            vendor=vendor,
            provider=route.provider,
            seed=self.options.seed,
            ident=ident,
            cache=self.cache,
            shape={},
            input_tokens=engine.input_tokens(ask, vendor),
            prompt_hash=prompt_hash(ask),
        )
        usage = reply.usage
        entry = Entry(
            id=f"req_{ident}",
            provider=route.provider,
            model=ask.model,
            path=endpoint,
            prompt_hash=prompt_hash(ask),
            stream=False,
            request_id=None,
            attempt="batch",
            user=ask.user,
            received_at=call.received_at,
            input_tokens=usage.input_tokens if usage else 0,
            output_tokens=usage.output_tokens if usage else 0,
        )
        self.recorder.started(entry)
        self.recorder.completed(entry)
        return 200, json.loads(speech.plain(vendor, ask, reply))

    def _other(self, call: Call) -> bytes:
        """The answer of what is no chat. Raises Refused."""
        try:
            return listing.answer(
                call.route, call.vendor, call.body, call.input_tokens, self.options.seed
            )
        except BadRequest as exc:
            raise Refused("400", exc.message) from exc

    def _take_faults(self, call: Call) -> None:
        """Raises Refused when a fault is asked for that there is not."""
        try:
            found: list[Fault] = parse_faults(call.request.headers.get("x-sim-fault", ""))
            found += marks(call.ask.last_user) if call.ask is not None else []
        except ValueError as exc:
            raise Refused("400", str(exc)) from exc
        found += self.faults.by_rule(call.route.provider, call.model)
        if call.ask is not None:
            self.recorder.asked(f"{call.route.provider}/{call.model}", call.prompt_hash)
        for fault in found:
            if self.faults.still(fault, call.model, call.prompt_hash):
                call.shape[fault.kind] = fault.value
                self.recorder.faulted(fault.kind)

    async def _held(self, call: Call) -> bool:
        """Waits or breaks off before the head; True when there is nothing left to answer."""
        if "slow-first" in call.shape:
            await asyncio.sleep(call.shape["slow-first"] or 0)
        if "hang" in call.shape:
            await asyncio.Event().wait()  # ends when the client leaves or the server stops
        if "reset-before" in call.shape:
            call.out.reset()
            return True
        return False

    def _check(self, call: Call) -> None:
        """Raises Refused for error faults, a wrong key, and a prompt that is too long."""
        for kind in call.shape:
            if KINDS[kind].status:
                raise Refused(kind)
        self._check_cloud(call)
        if self.options.key is not None and _key_of(call.request) != self.options.key:
            raise Refused("400-key")
        if call.route.operation == "chat":
            known = fleet.find(call.model)
            if known and call.input_tokens > known.context:
                raise Refused("400-context")

    def _check_cloud(self, call: Call) -> None:
        """Raises Refused: the call is not signed, or its token was not given here."""
        request = call.request
        if call.route.protocol == "bedrock":
            why = clouds.unsigned(
                request.method,
                request.path,
                request.query.decode("latin-1"),
                request.headers,
                call.content,
                time.time(),
            )
            if why:
                raise Refused("403", why)
        elif "/publishers/" in call.route.path:
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            if token not in self.tokens.given:
                raise Refused("401")

    def _problem(self, call: Call, kind: str, message: str = "") -> Problem:
        known = fleet.find(call.model)
        limit = known.context if known else UNKNOWN_CONTEXT
        tokens = call.input_tokens
        if kind == "400-context" and tokens <= limit:
            tokens += limit  # asked for by a fault: the numbers must still say why
        return Problem(
            kind=kind,
            status=KINDS[kind].status or 500,
            model=call.model,
            ident=call.ident,
            retry_after_s=call.shape.get(kind) or KINDS[kind].default or 1.0,
            tokens=tokens,
            limit=limit,
            message=message,
        )

    async def _refuse(self, call: Call, refusal: Refused) -> None:
        problem = self._problem(call, refusal.kind, refusal.message)
        status, value = call.vendor.problem(problem)
        headers = dict(call.headers)
        if refusal.kind == "429" or call.shape.get(refusal.kind):
            headers["retry-after"] = f"{problem.retry_after_s:g}"
        if call.vendor.type_header is not None:
            name, kind_of = call.vendor.type_header
            headers[name] = kind_of(problem)
        body = encode(value)
        if refusal.kind == "502":
            headers["content-type"] = "text/html"
            body = HTML
        if status == 200 and call.ask is not None and call.ask.stream:
            headers["content-type"] = call.vendor.stream_type
            body = call.vendor.frame(body.decode())
        self.recorder.status(status)
        await call.out.send(status, headers, body)

    async def _chat(self, call: Call, ask: Ask) -> None:
        reply = engine.reply(
            ask,
            vendor=call.vendor,
            provider=call.route.provider,
            seed=self.options.seed,
            ident=call.ident,
            cache=self.cache,
            shape=call.shape,
            input_tokens=call.input_tokens,
            prompt_hash=call.prompt_hash,
        )
        entry = Entry(
            id=f"req_{call.ident}",
            provider=call.route.provider,
            model=ask.model,
            path=call.route.path,
            prompt_hash=call.prompt_hash,
            stream=ask.stream,
            request_id=call.request.headers.get("x-request-id"),
            attempt=call.request.headers.get("x-omni-attempt"),
            user=ask.user,
            received_at=call.received_at,
            fault=",".join(call.shape) or None,
            input_tokens=reply.usage.input_tokens if reply.usage else 0,
            output_tokens=reply.usage.output_tokens if reply.usage else 0,
        )
        call.out.on_first_byte = lambda: self.recorder.started(entry)
        pace = self._pace(call, ask)
        await pace.first()
        self.recorder.status(200)
        problem = self._problem(call, "529")
        if ask.stream:
            headers = call.headers | {
                "content-type": call.vendor.stream_type,
                "cache-control": "no-cache",
            }
            await call.out.start(headers)
            events = speech.events(call.vendor, ask, reply)
            done = await send_stream(
                call.out, call.vendor, events, call.shape, pace, problem, entry
            )
        else:
            await pace.all(reply)
            body = speech.plain(call.vendor, ask, reply)
            done = await send_plain(call.out, call.headers, body, call.shape, problem, call.vendor)
        if done:
            self.recorder.completed(entry)

    def _pace(self, call: Call, ask: Ask) -> Pace:
        options = self.options
        ttft, tps = 0.0, options.tokens_per_second
        profile = fleet.find(ask.model)
        if options.latency > 0 and profile is not None:
            # The same prompt always waits equally long, other prompts up to 20 % more or less.
            spread = Random(f"{options.seed}/{call.prompt_hash}").uniform(0.8, 1.2)
            ttft = profile.ttft_s * options.latency * spread
            tps = tps or profile.tokens_per_s / options.latency
        return Pace(ttft, call.shape.get("slow-tokens") or tps)


def administer(app: "App", request: Request, content: bytes) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an administrative request."""
    name = request.path.rstrip("/").removeprefix("/__sim/")
    match request.method, name:
        case "GET", "stats":
            return 200, app.recorder.stats()
        case "GET", "answered":
            return 200, {"answered": app.recorder.answered()}
        case "GET", "faults":
            kinds = {kind: about.text for kind, about in KINDS.items()}
            return 200, {"rules": app.faults.listing(), "kinds": kinds}
        case "POST", "faults":
            try:
                sent = json.loads(content)
                rules = [Rule.of(value) for value in (sent if isinstance(sent, list) else [sent])]
            except ValueError as exc:
                return 400, {"error": {"message": str(exc)}}
            app.faults.add(*rules)
            return 200, {"rules": app.faults.listing()}
        case "DELETE", "faults":
            app.faults.clear()
            return 200, {"rules": []}
        case "POST", "batches":
            app.shelf.hold = str(json.loads(content).get("hold", ""))
            return 200, {"hold": app.shelf.hold}
        case "POST", "reset":
            app.reset()
            return 200, {"reset": True}
        case _:
            return 404, {"error": {"message": f"no such path: {request.method} {request.path}"}}

"""Budgets judged by the provider's own bill: a gateway and commands with default settings.

The upstream bills every call it began by all that it was asked for, whether or not anybody read the
answer: it answers whole, breaks off in the middle, falls silent, or refuses. Callers leave early,
commands and gateways are killed, budgets are set, replaced, switched off and on, and the store is
backed up and restored, all at once. In the end the bill of each budget is held against its limit.
"""

import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks import call_history
from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget
from omni_cli.domain.errors import StoreError
from omni_cli.domain.ids import id_text, parse_id
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from tests.postgres import Proxy, Server

MODELS = ("bill/a", "bill/b")
#: Nano-dollars a token of input, and of output.
_IN, _OUT = 1_000, 10_000
#: Scope, value, nano-dollars a day.
BUDGETS = (("all", "", 900_000_000), ("model", "bill/a", 300_000_000))
#: So many times as much where gateways have slices: there are none where little is left.
_TEAM_TIMES = 2
#: How long before it came a call that the ledger does not know may have been let through, seconds.
_LATE_S = 3.0
_REPO = Path(__file__).resolve().parents[1]


@dataclass
class Bill:
    """What the upstream charges: when a call came, omni's name of it, its model, nano-dollars."""

    lines: list[tuple[float, str, str, int]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def of(self, model: str, gaps: list["Gap"], granted: dict[str, float]) -> int:
        """Of a model ("" for all), without calls that were let through while no budget was kept.

        Args:
            granted: when, by the ledger, each call was; of others it was some time before it came.
        """
        return sum(
            cost
            for came, name, of, cost in self.lines
            if model in ("", of)
            and not any(gap.let_through(name, granted.get(name), came) for gap in gaps)
        )


@dataclass
class Gap:
    """A time without budgets, seconds: which calls had been let through ``before`` it,
    and which when it ended; None: it cannot be told."""

    start: float
    end: float
    before: set[str]
    after: set[str] | None
    #: How long a gateway may go on by budgets that were changed.
    news_s: float = 0.0

    def let_through(self, name: str, at: float | None, came: float) -> bool:
        if at is None:
            return self.start <= came and came - _LATE_S <= self.end
        if name in self.before:
            return False
        if self.after is not None:
            if self.news_s and self.start <= came <= self.end + self.news_s:
                return True  # by a gateway that had not heard yet
            return name in self.after
        # A call has its time before it is written.
        return self.start - _LATE_S <= at <= self.end


def _known(db: sqlite3.Connection) -> set[str]:
    """Calls that were let through, by the names that the upstream is told."""
    rows = db.execute("SELECT request, n FROM attempts UNION SELECT id, 1 FROM open_calls")
    return {f"{id_text(request)}-{n}" for request, n in rows}


@dataclass
class Verdict:
    """``passed``: limits that the bill or the ledger passed, as lines to read."""

    calls: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    figures: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    #: What each process told of calls that have no row.
    history: list[str] = field(default_factory=list)
    #: What gateways logged that is not of every day.
    logged: Counter[str] = field(default_factory=Counter)


class _Upstream(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Its callers hang up."""


def _handler(bill: Bill, rng: random.Random) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Upstream(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            came = time.time()
            raw = self.rfile.read(int(self.headers["content-length"]))
            body = json.loads(raw)
            most = body.get("max_completion_tokens") or body.get("max_tokens") or 4_096
            with lock:
                kind = rng.choices(
                    ["whole", "cut", "silent", "slow", "refused", "error", "uncounted"],
                    [8, 3, 1, 2, 2, 1, 1],
                )[0]
                bill.kinds[kind] += 1
                if kind != "refused":
                    tokens_in = min(len(raw), 400)
                    tokens_out = most if kind != "uncounted" else 40
                    cost = tokens_in * _IN + tokens_out * _OUT
                    name = self.headers["x-omni-attempt"]
                    bill.lines.append((came, name, f"bill/{body['model']}", cost))
            with suppress(OSError):
                self._answer(kind, stream=bool(body.get("stream")), tokens=most, sent=len(raw))

        def _answer(self, kind: str, *, stream: bool, tokens: int, sent: int) -> None:
            if kind == "refused":
                self._plain(429, {"error": {"message": "slow down", "type": "rate_limit"}})
                self.close_connection = True
                return
            if kind in ("silent", "slow"):
                time.sleep(1.5 if kind == "silent" else 0.4)
            if kind == "silent":
                self.close_connection = True
                return
            usage = {"prompt_tokens": min(sent, 400), "completion_tokens": tokens}
            usage["total_tokens"] = sum(usage.values())
            told = {} if kind == "uncounted" else {"usage": usage}
            text = "word " * 40
            if not stream:
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self._plain(200, {"id": "x", "choices": [choice], **told}, cut=kind == "cut")
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self.close_connection = True
            for _ in range(8):
                self._event({"choices": [{"index": 0, "delta": {"content": "word " * 5}}]})
                time.sleep(0.01)
            if kind == "cut":
                return
            if kind == "error":
                self._event({"error": {"message": "overloaded", "code": 503}})
                return
            self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **told})
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, event: dict[str, Any]) -> None:
            self.wfile.write(f"data: {json.dumps({'id': 'x', **event})}\n\n".encode())
            self.wfile.flush()

        def _plain(self, status: int, value: dict[str, Any], *, cut: bool = False) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            if cut:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its base's name
            """Nothing."""

    return Upstream


def _prepare(env: Mapping[str, str], url: str, times: int) -> None:
    with App(env) as app:
        app.providers.put(Provider("bill", "bill", "openai", url, "none"))
        for model in MODELS:
            wire = model.partition("/")[2]
            info = ModelInfo(model, "bill", wire, wire, max_output=4_096, context_window=100_000)
            app.models.put(info, now_ms=0)
            price = Price("priced", input=Rate(_usd(_IN)), output=Rate(_usd(_OUT)))
            app.models.set_price(model, price, origin="user", now_ms=0)
            app.fleet.set_status(model, "active")
        _set_budgets(app, times)


def _set_budgets(app: App, times: int) -> None:
    for scope, value, limit in BUDGETS:
        app.budgets.put(Budget(0, scope, value, "day", limit * times))  # type: ignore[arg-type]  # of SCOPES


def _usd(nusd: int) -> Any:
    from decimal import Decimal

    return Decimal(nusd) / 1_000  # a token, in dollars a million


class _Run:
    #: About how long lies between two changes, seconds.
    pause_s = 1.0
    #: Its limits, by BUDGETS.
    times = 1
    news_s = 0.0

    def __init__(self, home: Path, seed: int, until: float) -> None:
        self.home, self.until = home, until
        self.rng = random.Random(seed)
        self.env = {**os.environ, "OMNI_HOME": str(home), "USER": "bench", "NO_PROXY": "*"}
        self.env.pop("OMNI_CONFIG", None)
        self.port = _free_port()
        self.verdict = Verdict()
        self.gaps: list[Gap] = []
        self.gateway: subprocess.Popen[bytes] | None = None

    def omni(
        self, *args: str, log: str = os.devnull, env: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "omni_cli", *args]
        with (self.home.parent / log).open("ab") as told:
            return subprocess.Popen(
                command,
                cwd=_REPO,
                env={**self.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=told,
            )

    def serve(self) -> None:
        self.gateway = self.omni("serve", "--port", str(self.port), log="gateway.log")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)

    def a_port(self, rng: random.Random) -> int:  # noqa: ARG002  # of several gateways, one by it
        return self.port

    def over(self) -> bool:
        return time.monotonic() > self.until

    def caller(self, seed: int) -> None:
        """Ask the gateway, and now and then leave before the answer."""
        rng = random.Random(seed)
        while not self.over():
            body = json.dumps(
                {
                    "model": rng.choice(MODELS),
                    "messages": [{"role": "user", "content": "hello " * rng.randrange(1, 20)}],
                    "max_tokens": rng.choice([50, 500, 2_000]),
                    "stream": rng.random() < 0.5,
                }
            ).encode()
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            ).encode()
            status = "left"
            try:
                with socket.create_connection(("127.0.0.1", self.a_port(rng)), 2) as sock:
                    sock.sendall(head + body)
                    if rng.random() < 0.35:
                        sock.settimeout(rng.random() * 0.1 + 0.001)
                    else:
                        sock.settimeout(30)
                    data = b""
                    while piece := sock.recv(65536):
                        data += piece
                    status = data[9:12].decode() or "none"
            except ConnectionRefusedError:
                status = "down"
                time.sleep(0.1)
            except OSError:
                status = "left"
            self.verdict.statuses[status] += 1
            time.sleep(rng.random() * 0.02)

    def commands(self, seed: int) -> None:
        """Chats from the command line, half of them killed."""
        rng = random.Random(seed)
        while not self.over():
            stream = [] if rng.random() < 0.5 else ["--no-stream"]
            words = ("chat", "hi", "-m", rng.choice(MODELS), "--max-tokens", "500", *stream)
            chat = self.omni(*words, env=self.machine(seed))
            if rng.random() < 0.5:
                time.sleep(0.3 + rng.random() * 0.7)
                chat.kill()
            self.verdict.statuses[f"exit {chat.wait()}"] += 1

    def machine(self, number: int) -> Mapping[str, str]:  # noqa: ARG002  # there is one
        """The environment of a machine's processes."""
        return {}

    def steps(self) -> "list[Callable[[App], None]]":
        """Budgets change, the store is restored, the gateway is killed."""
        return [
            self._replace,
            self._off_and_on,
            self._remove_and_set,
            self._restore,
            self._kill,
        ]

    def changes(self) -> None:
        with App(self.env) as app:
            while not self.over():
                time.sleep(self.pause_s * (0.4 + self.rng.random()))
                step = self.rng.choice(self.steps())
                _until_done(partial(step, app))
                self.verdict.changes[step.__name__.strip("_")] += 1

    def _replace(self, app: App) -> None:
        """The same limit and day by another name, which has its periods worked out anew."""
        for budget in app.budgets.all():
            zone = "UTC" if budget.zone == "Etc/UTC" else "Etc/UTC"
            app.budgets.put(Budget(**{**_fields(budget), "zone": zone}))

    def _off_and_on(self, app: App) -> None:
        def switch(on: bool) -> None:
            for budget in app.budgets.all():
                app.budgets.put(Budget(**{**_fields(budget), "enabled": on}))

        self._without(app, lambda: switch(False), lambda: switch(True))

    def _remove_and_set(self, app: App) -> None:
        def remove() -> None:
            for budget in app.budgets.all():
                app.budgets.delete(budget.id)

        def put() -> None:
            _set_budgets(app, self.times)

        self._without(app, remove, put)

    def _without(self, app: App, away: Callable[[], None], back: Callable[[], None]) -> None:
        """Each in one transaction, which tells for each call whether it had budgets."""
        start = time.time()

        def change(how: Callable[[], None]) -> set[str]:
            with app.store.transaction():
                how()
                return _known(app.store.db)

        before = _until_done(lambda: change(away))
        time.sleep(0.1)
        after = _until_done(lambda: change(back))
        self.gaps.append(Gap(start, time.time(), before, after, self.news_s))

    def _restore(self, app: App) -> None:
        """What is begun and ended between the backup and its restore is forgotten, as asked."""

        copy, start = self.home.parent / "copy.db", time.time()
        app.maintenance.backup(copy, overwrite=True)
        with closing(sqlite3.connect(copy)) as db:
            before = _known(db)
        app.maintenance.restore(copy, force=True)
        self.gaps.append(Gap(start, time.time(), before, None))

    def end(self) -> None:
        assert self.gateway is not None
        self.gateway.terminate()
        self.gateway.wait()

    def close(self) -> None:
        """What it ran on."""

    def watch(self) -> None:
        """What has to hold all the time."""

    def history(self, request: int) -> list[str]:  # noqa: ARG002  # nobody tells here
        """What its processes told of a call."""
        return []

    def _kill(self, _: App) -> None:
        assert self.gateway is not None
        self.gateway.send_signal(self.rng.choice([signal.SIGKILL, signal.SIGTERM]))
        self.gateway.wait()
        self.serve()


class _Team(_Run):
    """Four machines with a gateway of two workers each, and commands on each, before one PostgreSQL
    server. Each has a network of its own to it, and a clock of its own."""

    times = _TEAM_TIMES
    news_s = 1.0
    pause_s = 6.0  # eight workers take their time to start

    def __init__(self, home: Path, seed: int, until: float) -> None:
        super().__init__(home, seed, until)
        self.server = Server(safe=True)
        self.server.command("CREATE DATABASE omni")
        self.env["OMNI_DATABASE_URL"] = self.server.url("omni")
        self.proxies = [Proxy(self.server.port) for _ in range(_MACHINES)]
        self.told = home / "history"
        self.told.mkdir()
        (home / "sitecustomize.py").write_text(_CLOCK.format(repo=str(_REPO), told=str(self.told)))
        self.ports = [_free_port() for _ in range(_MACHINES)]
        self.gateways: list[subprocess.Popen[bytes]] = []

    def machine(self, number: int) -> Mapping[str, str]:
        number %= _MACHINES
        folder = self.home / f"machine{number}"
        folder.mkdir(exist_ok=True)
        url = self.server.url("omni").replace(
            f":{self.server.port}/", f":{self.proxies[number].port}/"
        )
        return {
            "OMNI_HOME": str(folder),
            "OMNI_DATABASE_URL": url,
            "PYTHONPATH": os.pathsep.join([str(self.home), str(_REPO)]),
            "CLOCK_S": str(_APART_S[number]),
        }

    def serve(self) -> None:
        self.gateways = [self._gateway(number) for number in range(_MACHINES)]
        for port in self.ports:
            _until(lambda port=port: _listens(port), 30)  # type: ignore[misc]  # bound now

    def _gateway(self, number: int) -> "subprocess.Popen[bytes]":
        words = ("serve", "--port", str(self.ports[number]), "--workers", "2")
        return self.omni(*words, log=f"gateway{number}.log", env=self.machine(number))

    def a_port(self, rng: random.Random) -> int:
        return rng.choice(self.ports)

    def steps(self) -> "list[Callable[[App], None]]":
        return [
            self._replace,
            self._off_and_on,
            self._remove_and_set,
            self._kill_a_gateway,
            self._kill_a_gateway,
            self._kill_the_server,
            self._cut_a_network,
        ]

    def _kill_a_gateway(self, _: App) -> None:
        number = self.rng.randrange(_MACHINES)
        self.gateways[number].send_signal(self.rng.choice([signal.SIGKILL, signal.SIGTERM]))
        self.gateways[number].wait()
        self.gateways[number] = self._gateway(number)

    def _kill_the_server(self, _: App) -> None:
        self.server.kill()
        time.sleep(self.rng.random())
        self.server.start()

    def _cut_a_network(self, _: App) -> None:
        proxy = self.rng.choice(self.proxies)
        if self.rng.random() < 0.5:
            proxy.refuse()
        else:
            proxy.state = "dropping"
        # Longer than a lease, now and then: the others close its calls meanwhile.
        time.sleep(self.rng.choice([0.2, 2.0, 8.0, 24.0]))
        proxy.heal()

    def watch(self) -> None:
        """Whether each period has reserved, all the time, what rows and slices hold."""
        while not self.over():
            started = time.monotonic()
            with suppress(StoreError), App(self.env) as app, app.store.snapshot():
                for drift in app.budgets.drifts():
                    self.verdict.passed.append(f"ledger: while it ran: {drift}")
                    self.verdict.history += call_history.between(
                        self.told, started - 3, time.monotonic()
                    )
                    return
            time.sleep(0.3)

    def end(self) -> None:
        for proxy in self.proxies:
            proxy.heal()
        for number, gateway in enumerate(self.gateways):
            if gateway.poll() is not None:  # it was started while the database was away
                self.gateways[number] = self._gateway(number)
        time.sleep(12)  # for what lies on the machines' disks
        for gateway in self.gateways:
            gateway.terminate()
        for gateway in self.gateways:
            gateway.wait()
        for number in range(_MACHINES):  # a command writes what its machine still has
            with App({**self.env, **self.machine(number)}) as app:
                assert app.ledger.catch_up()
        for number in range(_MACHINES):
            left = list((self.home / f"machine{number}").glob("postgres-*/spool/*"))
            assert not left, left

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()
        self.server.stop()
        for log in self.home.parent.glob("gateway*.log"):
            self.verdict.logged.update(map(_kind_of, filter(_OF_NOTE.search, log.open())))

    def history(self, request: int) -> list[str]:
        return list(call_history.of(self.told, request))


_MACHINES = 4
#: How far the machines' clocks are apart, seconds.
_APART_S = (0.0, 17.0, -23.0, 140.0)
_CLOCK = """
import os, pathlib, sys, time
_time, _apart = time.time, float(os.environ.get("CLOCK_S", "0"))
time.time = lambda: _time() + _apart
sys.path.append({repo!r})
from benchmarks import call_history
call_history.install(pathlib.Path({told!r}))
"""
#: Lines of a log that tell of more than a database that went away.
_OF_NOTE = re.compile(r"refused|left out|Error|unexpected|never retrieved|cannot be read")


def _kind_of(line: str) -> str:
    """Without what is another's each time."""
    return re.sub(r"\d+", "N", line.strip())[:160]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)


def _until_done(work: Callable[[], Any]) -> Any:
    """The database may be away meanwhile."""
    while True:
        try:
            return work()
        except StoreError:
            time.sleep(0.2)


def _fields(budget: Budget) -> dict[str, Any]:
    return {name: getattr(budget, name) for name in Budget.__struct_fields__}


def play(
    folder: Path, *, seconds: float, callers: int, seed: int, postgres: bool = False
) -> Verdict:
    """Run the mix for so long and judge it by both lists. ``postgres``: on four machines."""
    bill, rng = Bill(), random.Random(seed)
    upstream = _Upstream(("127.0.0.1", 0), _handler(bill, rng))
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    home = folder / "omni"
    home.mkdir()
    run = (_Team if postgres else _Run)(home, seed, 0.0)
    _prepare(run.env, f"http://127.0.0.1:{upstream.server_port}/v1", run.times)
    run.serve()
    run.until = time.monotonic() + seconds
    loops = _MACHINES if postgres else 1
    threads = [
        *(threading.Thread(target=run.caller, args=(seed * 100 + n,)) for n in range(callers)),
        *(threading.Thread(target=run.commands, args=(seed * 100 + n,)) for n in range(loops)),
        threading.Thread(target=run.changes),
        threading.Thread(target=run.watch),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.end()
    upstream.shutdown()
    upstream.server_close()
    verdict = run.verdict
    verdict.calls, verdict.kinds = len(bill.lines), bill.kinds
    _judge(run, bill, verdict, all_known=postgres)
    run.close()
    return verdict


def _judge(run: _Run, bill: Bill, verdict: Verdict, *, all_known: bool) -> None:
    """``all_known``: no store was put in another's place, so each call of the bill has a row."""
    gaps = run.gaps
    with App(run.env) as app:
        # Of processes that were killed the last leases run out.
        _until(lambda: not app.recovery.run() and not app.reports.anything_open(), 40)
        if app.reports.anything_open():
            verdict.passed.append("ledger: calls are open although every process has ended")
        for line in app.maintenance.check().budgets:
            verdict.passed.append(f"ledger: {line}")
        granted = {
            f"{id_text(request)}-{n}": at / 1000
            for request, n, at in app.store.db.execute(
                "SELECT request, n, started_at FROM attempts"
            )
        }
        if all_known and (missing := {name for _, name, _, _ in bill.lines} - granted.keys()):
            verdict.passed.append(f"ledger: {len(missing)} billed calls have no row")
            for name in sorted(missing):
                came = [round(came, 3) for came, line, _, _ in bill.lines if line == name]
                whole = parse_id(name.partition("-")[0])
                verdict.history += [f"{name}, which came at {came}"]
                verdict.history += [] if whole is None else run.history(whole[0])
        for budget in app.budgets.all():
            status = app.budgets.status(budget, app.now_ms())
            theirs = bill.of(budget.value if budget.scope == "model" else "", gaps, granted)
            limit = budget.limit_nusd
            if theirs > limit:
                verdict.passed.append(f"bill: {budget.label}: {theirs:,} of {limit:,}")
            unseen = app.budgets.held_nusd(budget, status.start_at, status.end_at)
            if status.reserved_nusd != unseen:
                verdict.passed.append(
                    f"ledger: {budget.label}: {status.reserved_nusd - unseen:,} reserved for nobody"
                )
            verdict.figures.append(
                f"{budget.label}: limit {limit:,}, spent {status.spent_nusd:,}, held for calls "
                f"whose end nobody saw {unseen:,}, reserved beside that "
                f"{status.reserved_nusd - unseen:,}, the provider's bill {theirs:,} nano-dollars"
            )
        if left := app.store.plain("SELECT * FROM budget_slices"):
            verdict.passed.append(f"ledger: slices of nobody: {left}")

"""The files of ``deploy/``, started as they stand: a team's two gateways on PostgreSQL and Redis
behind nginx, all on this machine. What differs from theirs are addresses, ports and folders."""

import configparser
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from string import Template

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.sync.client import connect

from omni_cli.bootstrap import App
from omni_cli.gateway.app import Options
from omni_cli.records import ClientKey
from omni_cli.simulator import Simulator
from tests import postgres
from tests.gateway_server import build_fleet, serving
from tests.paths import REPO

DEPLOY = REPO / "deploy"
TOKEN, BOSS = "omni-of-the-deploy-test", "omni-of-its-boss"
ASK = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Is all well?"}]}


def test_a_gateway_that_was_told_to_end_serves_on_and_says_so(
    tmp_path: Path, sim: Simulator
) -> None:
    seen: list[tuple[int, int, str]] = []
    with serving(tmp_path, sim, Options(notice_s=0.8)) as served:
        url = served.url
        assert httpx.get(f"{url}/ready", trust_env=False).status_code == 200

        def look() -> None:
            with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:
                while not seen or seen[-1][0] != 503:
                    ready = client.get("/ready")
                    answer = client.post("/v1/chat/completions", json=ASK)
                    closes = answer.headers.get("connection", "")
                    seen.append((ready.status_code, answer.status_code, closes))
                    time.sleep(0.15)

        looker = threading.Thread(target=look)
        looker.start()
        while not seen:
            time.sleep(0.02)
    looker.join(10)
    assert seen[0][:2] == (200, 200)
    assert seen[-1] == (503, 200, "close")  # who keeps its connection is sent elsewhere, too


class _Unit(configparser.RawConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


@dataclass
class Machine:
    """A machine of the team's, as far as ``omni.service`` describes it."""

    home: Path
    port: int
    env: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        unit = _Unit(strict=False)
        unit.read(DEPLOY / "omni.service")
        service = unit["Service"]
        words = service["ExecStart"].replace("$OMNI_SERVE", self.env["OMNI_SERVE"])
        program, *rest = shlex.split(words)
        assert program == "/opt/omni/bin/omni"
        assert service["KillMode"] == "mixed"
        mine = shlex.split(f"--host 127.0.0.1 --port {self.port} --workers 1 --notice 1.5")
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "omni_cli", *rest, *mine],
                env={**os.environ, **self.env, "OMNI_HOME": str(self.home)},
                stderr=log,
            )
        end = time.monotonic() + 30
        while not self.ready():
            assert self.process.poll() is None, (self.home / "log").read_text()
            assert time.monotonic() < end, (self.home / "log").read_text()
            time.sleep(0.1)

    def ready(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.port}/ready"
            return httpx.get(url, timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(45)
        assert "Traceback" not in (self.home / "log").read_text()


@dataclass
class Team:
    url: str
    certificate: Path
    machines: list[Machine]
    app: App
    sim: Simulator
    codes: list[int] = field(default_factory=list)

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=self.url, verify=_trusting(self.certificate), timeout=20,
                            headers=headers, trust_env=False)  # fmt: skip


def _trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def _certificate(folder: Path) -> Path:
    """Of everybody here; its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "omni.example.org")])
    now = datetime.now(UTC)
    names = [x509.DNSName("db.internal"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def _free() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found


@contextmanager
def _running(words: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("ab") as told:
        process = subprocess.Popen(words, stdout=told, stderr=told)
    try:
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _settings(name: str) -> dict[str, str]:
    lines = (DEPLOY / name).read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key: value for key, _, value in pairs}


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    nginx, redis = _program("nginx"), _program("redis-server")
    if postgres.programs() is None:
        pytest.skip(postgres.MISSING)
    certificate = _certificate(tmp_path)
    ports = [_free() for _ in range(4)]
    with ExitStack() as stack:
        log = tmp_path / "log"
        server = stack.enter_context(
            postgres.running(safe=True, settings=(DEPLOY / "postgresql.conf").read_text())
        )
        server.use_tls(certificate, tmp_path / "key.pem")
        server.command("CREATE DATABASE omni")
        words = [redis, str(DEPLOY / "redis.conf"), "--port", str(ports[2])]
        stack.enter_context(_running([*words, "--dir", str(tmp_path)], ports[2], log))
        env = _settings("team.env")
        env["OMNI_REDIS_URL"] = env["OMNI_REDIS_URL"].replace(
            "redis.internal:6379", f"127.0.0.1:{ports[2]}"
        )
        # Where db.internal is.
        env |= {"PGHOSTADDR": "127.0.0.1", "PGPORT": str(server.port)}
        env |= {"PGSSLROOTCERT": str(certificate), "USER": "test"}
        sim = stack.enter_context(Simulator(seed=7))
        app = stack.enter_context(_app({**env, "OMNI_HOME": str(tmp_path / "here")}))
        build_fleet(app, sim.url)
        app.client_keys.add(ClientKey("team", shown="omni-...", created_at=1, rpm=100_000), TOKEN)
        boss = ClientKey("boss", shown="omni-...", created_at=1, scope="admin")
        app.client_keys.add(boss, BOSS)
        machines = []
        for name, port in zip(("one", "two"), ports, strict=False):
            (tmp_path / name).mkdir()
            machine = Machine(tmp_path / name, port, env)
            stack.callback(machine.stop)
            machine.start()
            machines.append(machine)
        front = _front(tmp_path, certificate, ports[3], ports[:2])
        words = [nginx, "-p", str(tmp_path), "-e", str(tmp_path / "nginx.log"), "-c", str(front)]
        stack.enter_context(_running(words, ports[3], log))
        yield Team(f"https://127.0.0.1:{ports[3]}", certificate, machines, app, sim)


@contextmanager
def _app(env: dict[str, str]) -> Iterator[App]:
    # libpq reads the process's own environment.
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            if name.startswith("PG"):
                patch.setenv(name, value)
        with App(env) as app:
            yield app


def _front(folder: Path, certificate: Path, port: int, gateways: list[int]) -> Path:
    """nginx's own settings around the template."""
    given = {
        "OMNI_NAME": "omni.example.org",
        "OMNI_LISTEN": f"127.0.0.1:{port}",
        "OMNI_CERT": str(certificate),
        "OMNI_CERT_KEY": str(folder / "key.pem"),
        "OMNI_UPSTREAM": " ".join(
            f"server 127.0.0.1:{gateway} max_fails=1 fail_timeout=1s;" for gateway in gateways
        ),
    }
    site = Template((DEPLOY / "nginx.conf.template").read_text()).safe_substitute(given)
    (folder / "site.conf").write_text(site)
    user = "user root;" if os.geteuid() == 0 else ""
    places = "".join(
        f"{kind}_temp_path {folder / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; pid {folder}/nginx.pid; {user} events {{}}"
        f"http {{ access_log off; {places} include {folder}/site.conf; }}"
    )
    return path


def test_a_team_s_gateways_are_restarted_one_after_the_other_and_no_request_fails(
    team: Team,
) -> None:
    codes: list[int] = []
    over = threading.Event()

    def ask(*, stream: bool, stays: bool) -> None:
        client = team.client()
        while not over.is_set():
            if not stays:
                client.close()
                client = team.client()
            try:
                answer = client.post("/v1/chat/completions", json={**ASK, "stream": stream})
                whole = not stream or "data: [DONE]" in answer.text
                codes.append(answer.status_code if whole else -1)
            except httpx.HTTPError:
                codes.append(0)
            time.sleep(0.15)
        client.close()

    with team.client() as client:
        assert client.get("/metrics").status_code == 404
        assert client.get("/ready").json()["models"] == 7
    kinds = ((False, False), (False, True), (True, False), (True, True))
    askers = [threading.Thread(target=ask, kwargs={"stream": s, "stays": k}) for s, k in kinds]
    for asker in askers:
        asker.start()
    for machine in team.machines:
        before = len(codes)
        machine.stop()
        assert len(codes) > before + 10  # while it was told to end, and gone
        machine.start()
        time.sleep(1.2)  # nginx's fail_timeout
    over.set()
    for asker in askers:
        asker.join(30)
    assert set(codes) == {200}
    rows = list(team.app.ledger.recent(limit=10_000))
    assert len(rows) == len(codes)
    assert {row.state for row in rows} == {"ok"}
    assert len(team.sim.answered()) == len(codes)
    _shows_its_screens(team)


def _shows_its_screens(team: Team) -> None:
    """Through nginx, of the fleet in PostgreSQL."""
    address = team.url.replace("https:", "wss:") + "/api/terminal?tab=fleet"
    headers = {"authorization": f"Bearer {BOSS}"}
    trusting = _trusting(team.certificate)
    drawn, end = b"", time.monotonic() + 30
    with connect(address, additional_headers=headers, ssl=trusting, proxy=None) as socket_:
        while b"GPT-4o" not in drawn:
            assert time.monotonic() < end, drawn[-800:]
            message = socket_.recv(timeout=30)
            assert isinstance(message, bytes)
            drawn += message
        socket_.send(b"q")
        while isinstance(message := socket_.recv(timeout=30), bytes):
            pass
        assert json.loads(message) == {"code": 0}


def test_the_unit_is_one(tmp_path: Path) -> None:
    program = _program("systemd-analyze")
    unit = tmp_path / "omni.service"
    text = (DEPLOY / "omni.service").read_text()
    unit.write_text(text.replace("/opt/omni/bin/omni", sys.executable))
    done = subprocess.run(
        [program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert not [line for line in done.stderr.splitlines() if "omni.service" in line], done.stderr

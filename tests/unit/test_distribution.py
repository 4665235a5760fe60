"""Nothing that omni prints or documents installs somebody else's package."""

import logging
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import omni_cli
from omni_cli import plugins
from omni_cli.gateway.redis_counts import RedisCounts
from omni_cli.gateway.traces import Traces
from omni_cli.plugins import EXTRAS, install_line

ROOT = Path(__file__).parents[2]
#: "omni-cli" on the public index is a stranger's package with the same import name.
STRANGER = re.compile(r"omni[-_]cli\[|(install|add|inject|run)\s+[^\n`]*\bomni[-_]cli\b|uvx omni")


def test_no_page_and_no_hint_names_the_strangers_package() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.toml", "*.yml", "Makefile", "*.txt", ".ci/*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.split()
    if not listed:
        pytest.skip("no git checkout: the list of files is unknown")
    found = [
        f"{name}: {line.strip()}"
        for name in listed
        if name not in ("tests/unit/test_distribution.py", "CHANGELOG.md")
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if STRANGER.search(line)
    ]
    assert not found


def test_our_name_is_ours_and_the_version_needs_no_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "omni-fleet"
    assert project["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", omni_cli.__version__)
    for extra, wanted in EXTRAS.items():
        assert list(wanted) == project["optional-dependencies"][extra]


def test_the_line_fits_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "pipx" / "venvs" / "my omni"
    home.mkdir(parents=True)
    monkeypatch.setattr(plugins, "find_spec", lambda name: object())
    assert install_line("redis") == f"{shlex.quote(sys.executable)} -m pip install 'redis>=6,<9'"
    monkeypatch.setattr(plugins, "find_spec", lambda name: None)  # uv's environments have no pip
    assert install_line("redis").startswith("uv pip install --python ")
    monkeypatch.setattr(sys, "prefix", str(home))
    (home / "pipx_metadata.json").write_text("{}")
    assert install_line("redis") == "pipx inject 'my omni' 'redis>=6,<9'"


def test_a_clusters_trace_endpoint_does_not_stop_the_gateway(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with caplog.at_level(logging.WARNING):
        assert Traces.of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}) is None
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set" in caplog.text
    assert install_line("otel") in caplog.text


def test_the_browsers_tui_without_its_library_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from omni_cli.cli.commands import dash
    from omni_cli.domain.errors import ConfigError

    monkeypatch.delitem(sys.modules, "omni_cli.tui.web", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ConfigError) as caught:
        dash.serve(8421, None, None)
    assert caught.value.hint == install_line("web")


def test_redis_without_its_client_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from omni_cli.domain.errors import ConfigError

    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigError) as caught:
        RedisCounts("redis://127.0.0.1:6379")
    assert caught.value.hint == install_line("redis")

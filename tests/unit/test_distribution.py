"""Nothing that omni prints or documents installs somebody else's package."""

import importlib
import logging
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import omni_cli
from omni_cli import plugins
from omni_cli.gateway.shared_counts import RedisCounts
from omni_cli.gateway.traces import Traces
from omni_cli.plugins import EXTRAS, install_line
from tools import release
from tools.dist import CONSTRAINTS, LOCK, NAME, bill, needed, pins, twice

ROOT = Path(__file__).parents[2]
#: "omni-cli" on the public index is a stranger's package with the same import name, and nobody
#: holds "omni-fleet" there: omni is installed by a path, and only environments are called so.
STRANGER = re.compile(
    r"omni[-_]cli\[|(install|add|inject|run)\s+[^\n`]*\bomni[-_]cli\b|uvx omni"
    r"|(?<!un)(install|add|run)\s+[^\n`]*\bomni-fleet\b|\bomni-fleet\["
)


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


def test_the_wheel_is_the_same_twice_and_holds_what_it_should(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout: nothing to build from")
    (wheel,) = twice(tmp_path / "dist", ("wheel",))
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "site")
    tops = {name.partition("/")[0] for name in names}
    about = f"omni_fleet-{omni_cli.__version__}"
    assert tops == {"omni_cli", f"{about}.dist-info", f"{about}.data"}
    shared = f"{about}.data/data/share"
    assert f"{shared}/man/man1/omni.1" in names
    assert f"{shared}/bash-completion/completions/omni" in names
    assert "omni_cli/themes/dark.toml" in names
    assert "omni_cli/py.typed" in names
    # Beside it nothing of this checkout is looked at.
    run = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import omni_cli;"
        "print(omni_cli.__file__);"
        "from omni_cli.__main__ import main; main()"
    )
    env = {"OMNI_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    said = subprocess.run(
        [sys.executable, "-I", "-c", run, str(tmp_path / "site"), "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(str(tmp_path / "site"))
    assert omni_cli.__version__ in said.stdout


def test_what_the_package_needs_is_pinned_by_digest() -> None:
    """The lock, the constraints, and what is installed agree on every need, the extras' as well."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = tuple(project["optional-dependencies"])
    locked, constrained = pins(LOCK), pins(CONSTRAINTS)
    asked = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    # What Python 3.14 has itself, and what Windows has not.
    assert asked <= needed().keys() | {"backports-zstd", "uvloop"}
    for name in needed(every).keys() - {NAME, "pip", "setuptools"}:
        assert name in locked, f"{name}: run python -m tools.dist lock"
        assert name in constrained, f"constraints.txt does not name {name}"
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    assert all("--hash=sha256:" in line for line in lines)
    assert "://" not in LOCK.read_text() + CONSTRAINTS.read_text()


def test_the_bill_of_materials_names_every_need_once() -> None:
    found = bill("1.2.3")
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    names = [component["name"] for component in found["components"]]
    assert len(names) == len(set(names))
    assert {"typer", "textual", "httpx", "click", "idna"} <= set(names)
    assert not {"pytest", "aiohttp"} & set(names)
    refs = {component["bom-ref"] for component in found["components"]}
    root = found["metadata"]["component"]["bom-ref"]
    assert root == "pkg:pypi/omni-fleet@1.2.3"
    edges = {item["ref"]: set(item["dependsOn"]) for item in found["dependencies"]}
    assert edges.keys() == refs | {root}
    assert all(below <= refs for below in edges.values())
    assert all("licenses" in component for component in found["components"])
    assert bill("1.2.3") == found


def test_a_release_moves_what_was_unreleased_under_its_heading() -> None:
    text = "# Changelog\n\n## Unreleased\n\n- new\n\n## 0.1.0 (2026-01-01)\n\n- old\n"
    done = release.changelog(text, "0.2.0", "2026-12-01")
    assert done.startswith("# Changelog\n\n## Unreleased\n\n## 0.2.0 (2026-12-01)\n\n- new\n")
    assert done.endswith("## 0.1.0 (2026-01-01)\n\n- old\n")
    for wrong, why in ((done, "nothing is under"), (text, "section of 0.1.0 already")):
        with pytest.raises(SystemExit, match=why):
            release.changelog(wrong, "0.1.0" if wrong is text else "0.3.0", "2026-12-02")
    now = f'"""omni."""\n\n__version__ = "{omni_cli.__version__}"\n'
    assert '__version__ = "99.0.0rc1"' in release.bumped(now, "99.0.0rc1")
    for version in ("0.0.9", "1.2", "v1.2.3"):
        with pytest.raises(SystemExit):
            release.bumped(now, version)


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


def test_a_store_in_postgresql_without_its_driver_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from omni_cli.domain.errors import ConfigError

    monkeypatch.delitem(sys.modules, "omni_cli.store.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError) as caught:
        importlib.import_module("omni_cli.store.postgres")
    assert caught.value.hint == install_line("postgres")

"""What is handed out: ``python -m tools.dist build | try | sbom | lock | check``.

- ``build``: wheel and sdist of the commit that is checked out, in ``dist/``, twice, which has to
  give the same bytes; their digests and a bill of materials beside them.
- ``try``: both installed as a user would, in a clean environment of every Python that is here, with
  what the constraints name, and run.
- ``sbom``: the bill of materials alone, CycloneDX 1.6 as JSON, on stdout.
- ``lock``: ``requirements.lock`` anew: what a plain install and every extra bring, each file by its
  digest. Needs uv.
- ``check``: whether anything is installed that ``constraints.txt`` does not name, or the package
  needs what ``requirements.lock`` lacks.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import uuid
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from omni_cli import __version__

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS, LOCK = ROOT / "constraints.txt", ROOT / "requirements.lock"
NAME = "omni-fleet"
KINDS = ("wheel", "sdist")
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
_LOCK_HEAD = """\
# Made by python -m tools.dist lock. What omni-fleet and all its extras bring, each file by its
# digest, for every platform: pip install --require-hashes -r requirements.lock, then the wheel with
# --no-deps.
"""
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+?)(?:\s|;|$)", re.MULTILINE)


def pins(path: Path) -> dict[str, set[str]]:
    """Versions by name. A file may have several for several platforms."""
    found: dict[str, set[str]] = {}
    for name, version in _PIN.findall(path.read_text("utf-8")):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def installed() -> dict[str, str]:
    """Versions of all that is in this environment, by name."""
    return {
        canonicalize_name(found.metadata["Name"]): found.version
        for found in metadata.distributions()
    }


def needed(extras: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """What the package needs, itself and through others, in this environment: each one's own needs.

    Args:
        extras: of the package.
    """
    found: dict[str, tuple[str, ...]] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [(NAME, tuple(extras))]
    while waiting:
        name, wanted = waiting.pop()
        if name in found and not wanted:
            continue
        try:
            requires = _asks_itself(wanted) if name == NAME else metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        below = []
        for text in requires:
            requirement = Requirement(text)
            marker = requirement.marker
            asks = [{"extra": extra} for extra in ("", *wanted)]
            if marker is not None and not any(marker.evaluate(ask) for ask in asks):
                continue
            other = canonicalize_name(requirement.name)
            below.append(other)
            waiting.append((other, tuple(requirement.extras)))
        found[name] = tuple(sorted(set(below) | set(found.get(name, ()))))
    return found


def _asks_itself(extras: Sequence[str]) -> list[str]:
    """As pyproject.toml says now: an editable install remembers what it said once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(text for extra in extras for text in optional[extra])]


def strangers() -> list[str]:
    """What is wrong with what is installed, one line each."""
    known, here = pins(CONSTRAINTS), installed()
    ours = {NAME, "pip", "setuptools", "wheel"}
    wrong = [
        f"{name} {version} is installed, and constraints.txt "
        + (f"says {' or '.join(known[name])}" if name in known else "does not name it")
        for name, version in sorted(here.items())
        if name not in ours and version not in known.get(name, ())
    ]
    locked = pins(LOCK)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for name in sorted(needed(tuple(project["optional-dependencies"]))):
        if name not in ours and here.get(name, "") not in locked.get(name, {""}):
            wrong.append(f"{name} {here[name]}: requirements.lock says {locked[name]}")
        elif name not in ours and name not in locked:
            wrong.append(f"the package needs {name}, which requirements.lock lacks")
    return wrong


# --- the bill of materials ------------------------------------------------------------------------


def bill(version: str, extras: Sequence[str] = ()) -> dict[str, Any]:
    """CycloneDX 1.6 of the package and all that it needs here. The same for the same versions."""
    tree, here = needed(extras), installed()
    tree = {name: below for name, below in tree.items() if name in here or name == NAME}
    refs = {name: f"pkg:pypi/{name}@{here.get(name, version)}" for name in tree}
    refs[NAME] = f"pkg:pypi/{NAME}@{version}"
    components = [
        {
            "type": "library",
            "bom-ref": refs[name],
            "name": name,
            "version": here[name],
            "purl": refs[name],
            **_licence(name),
        }
        for name in sorted(tree)
        if name != NAME
    ]
    made = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": refs[NAME],
                "name": NAME,
                "version": version,
                "purl": refs[NAME],
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": refs[name], "dependsOn": [refs[b] for b in below if b in refs]}
            for name, below in sorted(tree.items())
        ],
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(made, sort_keys=True))
    return {**made, "serialNumber": f"urn:uuid:{number}"}


def _licence(name: str) -> dict[str, Any]:
    about = metadata.metadata(name)
    if "License-Expression" in about:
        return {"licenses": [{"expression": about["License-Expression"]}]}
    words = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or ()
        if line.startswith("License ::")
    ]
    if not words and "License" in about:
        words = [about["License"].strip()]
    return {"licenses": [{"license": {"name": word[:100]}} for word in words]} if words else {}


# --- building -------------------------------------------------------------------------------------


def build(out: Path, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Wheel and sdist of what is committed, stamped with the commit's time."""
    stamp = git("log", "-1", "--format=%ct")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        archive = Path(folder) / "tree.tar"
        git("archive", "--output", str(archive), "HEAD")
        with tarfile.open(archive) as packed:
            packed.extractall(tree, filter="data")
        env = {**os.environ, "SOURCE_DATE_EPOCH": stamp}
        for kind in kinds:
            command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)]
            _run(command, cwd=tree, env=env)
    return sorted(out.glob("omni_fleet-*"))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def twice(out: Path, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Built, and built again elsewhere. Raises SystemExit: the bytes differ."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    made = build(out, kinds)
    with tempfile.TemporaryDirectory() as folder:
        again = {path.name: digest(path) for path in build(Path(folder), kinds)}
    differ = [path.name for path in made if again.get(path.name) != digest(path)]
    if differ:
        raise SystemExit(f"two builds of one commit differ: {', '.join(differ)}")
    return made


def pythons() -> Iterator[tuple[str, str]]:
    """Version and path of each interpreter that is here."""
    kept = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for version in VERSIONS:
        installed_here = sorted(kept.glob(f"{version}.*/bin/python"))
        path = str(installed_here[-1]) if installed_here else shutil.which(f"python{version}")
        if path is not None:
            yield version, path


def attempt(artifact: Path, python: str, folder: Path) -> str:
    """Install one file in a clean environment, run it, and say what that made."""
    venv, home = folder / "venv", folder / "home"
    home.mkdir(parents=True)
    _run([python, "-m", "venv", str(venv)])
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
    _run([*pip, "install", "--constraint", str(CONSTRAINTS), str(artifact)])
    _run([str(venv / "bin" / "python"), "-m", "pip", "check"])
    env = {**os.environ, "OMNI_HOME": str(home), "HOME": str(home)}
    omni = str(venv / "bin" / "omni")
    _run([omni, "--version"], env=env)
    _run([omni, "models", "list", "--all", "--limit", "1"], env=env)
    _run([omni, "demo"], env=env)
    for shared in ("man/man1/omni.1", "bash-completion/completions/omni"):
        if not (venv / "share" / shared).exists():
            raise SystemExit(f"{artifact.name} installs no share/{shared}")
    site = next((venv / "lib").glob("python*/site-packages"))
    brought = [
        found.name.partition("-")[0]
        for found in site.glob("*.dist-info")
        if not found.name.startswith(("pip-", "setuptools-", "omni_fleet-"))
    ]
    known = pins(CONSTRAINTS)
    unknown = [name for name in brought if canonicalize_name(name) not in known]
    if unknown:
        raise SystemExit(f"constraints.txt does not name {', '.join(sorted(unknown))}")
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    pips = sum(
        path.stat().st_size
        for name in ("pip", "setuptools", "pkg_resources")
        for path in (site / name).rglob("*")
        if path.is_file()
    )
    return f"{len(brought)} packages, {(size - pips) / 1_000_000:.0f} MB"


def try_all(out: Path) -> None:
    artifacts = sorted(out.glob("omni_fleet-*")) or twice(out)
    for version, python in pythons():
        for artifact in artifacts:
            with tempfile.TemporaryDirectory() as folder:
                said = attempt(artifact, python, Path(folder))
            print(f"Python {version}, {artifact.suffix}: {said}")


def lock() -> None:
    command = ["pip", "compile", str(ROOT / "pyproject.toml"), "--all-extras", "--universal"]
    command += ["--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
    text = _run(["uv", *command, "--constraint", str(CONSTRAINTS)])
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    kept = [line for line in lines if line and not line.startswith(("#", "-"))]
    LOCK.write_text(_LOCK_HEAD + "\n".join(kept) + "\n", "utf-8")


def git(*words: str) -> str:
    """Of this checkout. Raises SystemExit with its words where it fails."""
    return _run(["git", "-c", f"safe.directory={ROOT}", *words], cwd=ROOT).strip()


def _run(command: list[str], **named: Any) -> str:
    """What it printed. Raises SystemExit with its words where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **named)  # noqa: S603  # ours
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def main(words: Sequence[str]) -> None:
    out = ROOT / "dist"
    match list(words):
        case ["build"]:
            made = twice(out)
            bom = out / f"omni-fleet-{__version__}.cdx.json"
            bom.write_text(json.dumps(bill(__version__), indent=1) + "\n", "utf-8")
            sums = "".join(f"{digest(path)}  {path.name}\n" for path in (*made, bom))
            (out / "SHA256SUMS").write_text(sums, "utf-8")
            print(sums, end="")
        case ["try"]:
            try_all(out)
        case ["sbom"]:
            print(json.dumps(bill(__version__), indent=1))
        case ["lock"]:
            lock()
        case ["check"]:
            if wrong := strangers():
                raise SystemExit("\n".join(wrong))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])

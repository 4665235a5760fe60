"""An agent's own settings, told of omni's gateway, and what they said before: files of JSON, TOML
or of variables.

What omni sets is laid into what stands there; the file as it was is kept beside it. To undo it
takes out only that, so that what its user has changed meanwhile stays.
"""

import json
import os
import re
import secrets
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omni_cli.domain.errors import ConfigError, NotFound

#: What the file's name gets where it is kept as it was; empty: there was none.
_BEFORE = ".before-omni"


def kept_at(file: Path) -> Path:
    return file.with_name(file.name + _BEFORE)


def write_settings(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ConfigError: a file is not plain, or cannot be written. Nothing was changed where one
    is not plain."""
    before = {folder / name: _read(folder / name) for name in files}
    for (file, known), settings in zip(before.items(), files.values(), strict=True):
        kept = kept_at(file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if not kept.exists():
                _put(kept, file.read_text("utf-8") if file.exists() else "")
            _put(file, settings_text(file, _laid(known, settings)))
        except OSError as exc:
            raise ConfigError(f"cannot write {exc.filename or file}: {exc.strerror}") from exc


def undo_settings(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Take out what ``write_settings`` laid in, whatever its values.

    Raises NotFound: omni has not written them; ConfigError as ``write_settings``.
    """
    written = {name: more for name, more in files.items() if kept_at(folder / name).exists()}
    if not written:
        file = folder / next(iter(files))
        raise NotFound(f"omni has not written {file}", hint="omni launch AGENT --write does")
    found = {name: _read(folder / name) for name in written}
    for name, settings in written.items():
        _undo(folder / name, found[name], settings)


def _undo(file: Path, found: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    kept = kept_at(file)
    text = kept.read_text("utf-8")
    before = _parsed(file, text)
    now = _taken(found, settings, before)
    try:
        if not text and not now:
            file.unlink(missing_ok=True)
        elif now == before:
            shutil.copyfile(kept, file)  # to the byte
        else:
            _put(file, settings_text(file, now))
        kept.unlink()
    except OSError as exc:
        raise ConfigError(f"cannot write {exc.filename or file}: {exc.strerror}") from exc


def mirror_settings(
    theirs: Path, ours: Path, settings: Mapping[str, Mapping[str, Any]]
) -> list[Path]:
    """Make a folder in which all of the user's is by links, but files with ``settings`` laid over
    them. Returns those of the user's that are no plain JSON, and so are left out."""
    ours.mkdir(parents=True, mode=0o700)
    for entry in theirs.iterdir() if theirs.is_dir() else ():
        if entry.name not in settings:
            (ours / entry.name).symlink_to(entry)
    odd: list[Path] = []
    for name, more in settings.items():
        try:
            before = _read(theirs / name)
        except ConfigError:
            before = {}
            odd.append(theirs / name)
        _put(ours / name, settings_text(ours / name, _laid(before, more)))
    return odd


def _read(file: Path) -> dict[str, Any]:
    try:
        return _parsed(file, file.read_text("utf-8") if file.exists() else "")
    except OSError as exc:
        raise ConfigError(f"cannot read {file}: {exc.strerror}") from exc
    except ValueError:
        kind = _KINDS.get(file.suffix, "list of variables")
        raise ConfigError(
            f"{file} is no plain {kind}: omni leaves it as it is",
            hint="comments would be lost; --plan --write shows what to put in by hand",
        ) from None


#: Of files whose name ends so; a ``.env`` has none.
_KINDS = {".json": "JSON object", ".toml": "TOML"}
_COMMENT = re.compile(r"(?:^|\s)#", re.MULTILINE)


def _parsed(file: Path, text: str) -> dict[str, Any]:
    """Raises ValueError: it does not parse, or has comments, which would be lost."""
    if not text.strip():
        return {}
    if file.suffix == ".json":
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError
        return found
    if _COMMENT.search(text):
        raise ValueError
    if file.suffix == ".toml":
        return tomllib.loads(text)
    pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
    if not all(name.strip().isidentifier() and equals for name, equals, _ in pairs):
        raise ValueError
    return {name.strip(): value for name, _, value in pairs}


def settings_text(file: Path, value: Mapping[str, Any]) -> str:
    """As a file of this name has it: JSON, TOML, or a variable a line."""
    if file.suffix == ".json":
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if file.suffix == ".toml":
        import tomli_w

        return tomli_w.dumps(value)
    return "".join(f"{name}={told}\n" for name, told in value.items())


def _put(file: Path, text: str) -> None:
    """Whole or not at all, for its user's eyes only: a key stands in it."""
    file = file.resolve()  # a link stays one
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _laid(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in more.items():
        old = merged.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            merged[name] = _laid(old, value)
        else:
            merged[name] = value
    return merged


def _taken(
    now: Mapping[str, Any], ours: Mapping[str, Any], before: Mapping[str, Any]
) -> dict[str, Any]:
    left = dict(now)
    for name, value in ours.items():
        old, new = before.get(name), left.get(name)
        if isinstance(value, Mapping) and isinstance(new, Mapping):
            inner = _taken(new, value, old if isinstance(old, Mapping) else {})
            if inner or name in before:
                left[name] = inner
            else:
                del left[name]
        elif name in before:
            left[name] = old
        else:
            left.pop(name, None)
    return left

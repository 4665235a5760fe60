"""The user's settings: TOML files into values. Fleet and ledger are in the store.

``OMNI_HOME`` moves configuration, store and keys into one folder. Without it the platform's
own places are used (XDG on Linux). A project's ``.omni.toml`` (this folder or one above it)
overrides the user's ``config.toml`` key by key.
"""

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field, structs

from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import ConfigError
from omni_cli.domain.money import usd_to_nusd
from omni_cli.domain.preferences import (
    LATENCY_PREFS,
    PRIORITIES,
    WEEKDAYS,
    LatencyPref,
    Priority,
    Weights,
)

PROJECT_FILE = ".omni.toml"


class Paths(Struct, frozen=True):
    """Where omni keeps its files."""

    config: Path
    data: Path

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def store(self) -> Path:
        return self.data / "omni.db"

    @property
    def themes(self) -> Path:
        return self.config / "themes"


class General(Struct, frozen=True):
    """``premium_model`` is the baseline that savings are counted against. ``zone`` is an IANA
    name; empty means the machine's own."""

    premium_model: str = ""
    zone: str = ""
    week_start: str = "monday"
    month_day: int = 1


class Routing(Struct, frozen=True):
    """Weights of the score, defaults of ``chat`` and ``route``, and what a stand-in may cost
    unasked: ``consent_floor_usd`` more than the first choice, ``max_fallback_multiple`` times as
    much (0: any), and after a free model nothing above the floor but where it is allowed."""

    cost_weight: float = 0.4
    latency_weight: float = 0.3
    task_weight: float = 0.3
    priority: Priority = "balanced"
    latency_pref: LatencyPref = "normal"
    consent_floor_usd: float = 0.01
    max_fallback_multiple: float = 5.0
    allow_free_to_paid: bool = False

    @property
    def weights(self) -> Weights:
        return Weights(self.cost_weight, self.latency_weight, self.task_weight)

    @property
    def consent(self) -> Consent:
        return Consent(
            usd_to_nusd(str(self.consent_floor_usd)),
            self.max_fallback_multiple or None,
            free_to_paid=self.allow_free_to_paid,
        )


class Chat(Struct, frozen=True):
    """``keep_conversations``: store prompts and answers of ``omni chat`` for ``-c``.
    ``timeout_s``: what one try may take; ``limit_s``: what a request may, with all its tries and
    stand-ins (at the gateway ``omni serve --request-timeout`` says it)."""

    keep_conversations: bool = True
    timeout_s: float = 60.0
    limit_s: float = 900.0
    max_retries: int = 2
    default_model: str = ""


class Prices(Struct, frozen=True):
    """``allow_unknown``: may a model of unknown price be called (its cost stays unknown)."""

    allow_unknown: bool = True


class Alerts(Struct, frozen=True):
    """Where ``omni watch`` tells besides the terminal. ``webhook``: an address; ``command``: a
    shell line; ``quiet_minutes``: in which at most two alerts of one subject are told."""

    webhook: str = ""
    command: str = ""
    desktop: bool = True
    quiet_minutes: float = 30.0


class Config(Struct, frozen=True):
    general: General = field(default_factory=General)
    routing: Routing = field(default_factory=Routing)
    chat: Chat = field(default_factory=Chat)
    prices: Prices = field(default_factory=Prices)
    alerts: Alerts = field(default_factory=Alerts)


_SECTIONS: Mapping[str, type] = {
    "general": General,
    "routing": Routing,
    "chat": Chat,
    "prices": Prices,
    "alerts": Alerts,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "general.week_start": WEEKDAYS,
    "routing.priority": PRIORITIES,
    "routing.latency_pref": LATENCY_PREFS,
}


def paths(env: Mapping[str, str] = os.environ) -> Paths:
    """Where files are for this environment; nothing is created."""
    home = env.get("OMNI_HOME")
    if home:
        root = Path(home).expanduser()
        return Paths(root, root)
    if sys.platform == "linux":
        user = Path(env.get("HOME") or Path.home())
        return Paths(
            Path(env.get("XDG_CONFIG_HOME") or user / ".config") / "omni",
            Path(env.get("XDG_DATA_HOME") or user / ".local" / "share") / "omni",
        )
    import platformdirs

    return Paths(
        Path(platformdirs.user_config_dir("omni")), Path(platformdirs.user_data_dir("omni"))
    )


def load(where: Paths, *, cwd: Path | None = None) -> Config:
    """Read the user's file and the project's over it.

    Raises:
        ConfigError: a file does not parse, or holds an unknown key or a wrong value.
    """
    merged: dict[str, dict[str, Any]] = {}
    for path in [where.config_file, *_project_files(cwd)]:
        for section, values in _read(path).items():
            merged.setdefault(section, {}).update(values)
    return Config(**{name: _SECTIONS[name](**values) for name, values in merged.items()})


def read_user_file(where: Paths) -> dict[str, dict[str, Any]]:
    """The user's own settings as written, checked."""
    return _read(where.config_file)


def project_file(cwd: Path) -> Path | None:
    """The project's settings that hold in this folder, if any."""
    return next(iter(_project_files(cwd)), None)


def read_file(path: Path) -> dict[str, dict[str, Any]]:
    """One file's settings as written, checked; none where there is no file."""
    return _read(path)


def set_value(where: Paths, key: str, text: str) -> None:
    """Set ``section.name`` in the user's file from text; the write replaces the file whole.

    Raises:
        ConfigError: unknown key or a value that does not fit.
    """
    section, name, kind = _locate(key)
    document = _read(where.config_file)
    value = _parse(key, text, kind)
    _check(key, value, kind, "the command line")
    document.setdefault(section, {})[name] = value
    _write(where.config_file, document)


def unset_value(where: Paths, key: str) -> None:
    """Back to the default."""
    section, name, _ = _locate(key)
    document = _read(where.config_file)
    document.get(section, {}).pop(name, None)
    _write(where.config_file, {k: v for k, v in document.items() if v})


def known_keys() -> dict[str, Any]:
    """Every ``section.name`` with its default."""
    return {
        f"{section}.{item.name}": item.default
        for section, kind in _SECTIONS.items()
        for item in structs.fields(kind)
    }


def local_zone(config: Config, env: Mapping[str, str] = os.environ) -> str:
    """The user's IANA zone: setting, TZ, the machine's link, else UTC."""
    for name in (config.general.zone, env.get("TZ", "").lstrip(":")):
        if name and _is_zone(name):
            return name
    try:
        target = str(Path("/etc/localtime").resolve())
    except OSError:
        return "UTC"
    name = target.partition("zoneinfo/")[2]
    return name if name and _is_zone(name) else "UTC"


def _is_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True


def _project_files(cwd: Path | None) -> list[Path]:
    if cwd is None:
        return []
    for folder in (cwd, *cwd.parents):
        if (folder / PROJECT_FILE).is_file():
            return [folder / PROJECT_FILE]
    return []


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    import tomllib

    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as exc:
        raise ConfigError(f"{path} does not parse: {exc}", hint="mend or remove the file") from exc
    for section, values in document.items():
        if section not in _SECTIONS or not isinstance(values, dict):
            raise ConfigError(
                f"{path}: unknown section [{section}]",
                hint=f"sections are {', '.join(_SECTIONS)}; omni config list shows all keys",
            )
        for name, value in values.items():
            _, _, kind = _locate(f"{section}.{name}")
            _check(f"{section}.{name}", value, kind, str(path))
    return document


def _locate(key: str) -> tuple[str, str, str]:
    section, _, name = key.partition(".")
    kind = _SECTIONS.get(section)
    for item in structs.fields(kind) if kind else ():
        if item.name == name:
            return section, name, type(item.default).__name__
    import difflib

    near = difflib.get_close_matches(key, list(known_keys()), 1, 0.6)
    hint = f"did you mean {near[0]}?" if near else "omni config list shows all keys"
    raise ConfigError(f"unknown setting {key!r}", hint=hint)


def _parse(key: str, text: str, kind: str) -> Any:
    try:
        if kind == "bool":
            return {"true": True, "false": False, "on": True, "off": False}[text.lower()]
        return {"int": int, "float": float}.get(kind, str)(text)
    except (ValueError, KeyError) as exc:
        raise ConfigError(f"{key} takes a {kind}, not {text!r}") from exc


def _check(key: str, value: Any, kind: str, source: str) -> None:
    fits = {
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
        "str": isinstance(value, str),
    }[kind]
    if not fits:
        raise ConfigError(f"{source}: {key} takes a {kind}, not {value!r}")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise ConfigError(f"{source}: {key} is one of {', '.join(_CHOICES[key])}, not {value!r}")
    if kind == "float" and not math.isfinite(value):
        raise ConfigError(f"{source}: {key} must be finite, not {value}")
    if kind in ("int", "float") and value < 0:
        raise ConfigError(f"{source}: {key} cannot be negative")
    if key in ("chat.timeout_s", "chat.limit_s") and value == 0:
        raise ConfigError(f"{source}: {key} must be above 0")
    if key == "routing.max_fallback_multiple" and 0 < value < 1:
        raise ConfigError(f"{source}: {key} is 1 or more, or 0 for any, not {value}")
    if key == "general.month_day" and not 1 <= value <= 31:
        raise ConfigError(f"{source}: {key} is a day of the month, 1 to 31, not {value}")
    if key == "general.zone" and value and not _is_zone(value):
        raise ConfigError(
            f"{source}: {value!r} is no time zone that this machine knows",
            hint="use an IANA name such as Europe/Berlin",
        )


def _write(path: Path, document: Mapping[str, Any]) -> None:
    import tomli_w

    fresh = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(tomli_w.dumps(document), "utf-8")
        fresh.replace(path)
    except OSError as exc:
        raise ConfigError(f"cannot write {path}: {exc.strerror}") from exc

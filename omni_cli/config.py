"""The user's settings: TOML files into values. Fleet and ledger are in the store.

``OMNI_HOME`` moves configuration, store and keys into one folder. Without it the platform's
own places are used (XDG on Linux). A project's ``.omni.toml`` (this folder or one above it)
overrides the user's ``config.toml`` key by key.

The structs below say what a file may hold. msgspec reads it by them at each start (40 us); what it
refuses is explained, and the JSON Schema made, by the pydantic model that ``written.model_of``
derives from them.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert, field, structs

from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import ConfigError
from omni_cli.domain.money import usd_to_nusd
from omni_cli.domain.tasks import LatencyPref, Priority, Weekday, Weights
from omni_cli.places import PROJECT_FILE, folders
from omni_cli.system import replace_text


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


_Positive = Annotated[float, Meta(gt=0)]
_NotNegative = Annotated[float, Meta(ge=0)]


class _Section(Struct, frozen=True, forbid_unknown_fields=True):
    def __post_init__(self) -> None:
        """Raises ValueError, which begins with the setting's name."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be finite, not {value}")


class General(_Section, frozen=True):
    """``premium_model`` is the baseline that savings are counted against. ``zone`` is an IANA
    name; empty means the machine's own. ``org_private_addresses``: an organisation may have a
    provider of its own at an address of this machine or of a private network."""

    premium_model: str = ""
    zone: str = ""
    week_start: Weekday = "monday"
    month_day: Annotated[int, Meta(ge=1, le=31)] = 1
    org_private_addresses: bool = False

    def __post_init__(self) -> None:
        if self.zone and not _is_zone(self.zone):
            raise ValueError(
                f"zone is an IANA name such as Europe/Berlin, and {self.zone!r} is no time zone "
                "that this machine knows"
            )


class Routing(_Section, frozen=True):
    """Weights of the score, defaults of ``chat`` and ``route``, and what a stand-in may cost
    unasked: ``consent_floor_usd`` more than the first choice, ``max_fallback_multiple`` times as
    much (0: any), and after a free model nothing above the floor but where it is allowed.
    ``learn_from_next_turns``: at the gateway, what an agent's next turn tells of the answer before
    (an edit that failed, the same prompt again, a user who says no) is an outcome.
    ``classifier``: local, or model:NAME, a cheap model that says what kind of job a prompt is,
    within ``classifier_limit_s``. ``failover``: may another model stand in for the one that was
    chosen. ``failover_error_rate``: the share of a model's calls within a minute that fail (ten
    calls or more) at which its breaker opens; five failures in a row open it, too."""

    cost_weight: _NotNegative = 0.4
    latency_weight: _NotNegative = 0.3
    task_weight: _NotNegative = 0.3
    priority: Priority = "balanced"
    latency_pref: LatencyPref = "normal"
    consent_floor_usd: _NotNegative = 0.01
    max_fallback_multiple: _NotNegative = 5.0
    allow_free_to_paid: bool = False
    learn_from_next_turns: bool = False
    classifier: str = "local"
    classifier_limit_s: _Positive = 1.5
    failover: bool = True
    failover_error_rate: Annotated[float, Meta(gt=0, le=1)] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.max_fallback_multiple < 1:
            raise ValueError(
                "max_fallback_multiple is 1 or more, or 0 for any, "
                f"not {self.max_fallback_multiple}"
            )
        if self.classifier != "local" and not self.classifier.removeprefix("model:").strip():
            raise ValueError("classifier is local, or model: and a model's name")
        if self.classifier != "local" and not self.classifier.startswith("model:"):
            raise ValueError(f"classifier is local or model:NAME, not {self.classifier!r}")

    @property
    def classifying_model(self) -> str:
        """The model that classifies, "" where the local classifier does."""
        return "" if self.classifier == "local" else self.classifier.removeprefix("model:")

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


class Chat(_Section, frozen=True):
    """``keep_conversations``: store prompts and answers of ``omni chat`` for ``-c``.
    ``timeout_s``: what one try may take; ``limit_s``: what a request may, with all its tries and
    stand-ins (at the gateway ``omni serve --request-timeout`` says it). ``receipt``: say on a
    terminal, below each answer, who gave it and what it cost. ``markdown``: render it in a
    conversation."""

    keep_conversations: bool = True
    receipt: bool = True
    markdown: bool = True
    timeout_s: _Positive = 60.0
    limit_s: _Positive = 900.0
    max_retries: Annotated[int, Meta(ge=0)] = 2
    default_model: str = ""


class Imports(_Section, frozen=True):
    """``follow``: reports, ``omni watch`` and the TUI first read what is new in the logs of tools
    that ``omni import`` has once brought in from their usual places."""

    follow: bool = True


class Prices(_Section, frozen=True):
    """``allow_unknown``: may a model of unknown price be called (its cost stays unknown)."""

    allow_unknown: bool = True


class Alerts(_Section, frozen=True):
    """Where ``omni watch`` tells besides the terminal. ``webhook``: an address; ``command``: a
    shell line; ``quiet_minutes``: in which at most two alerts of one subject are told."""

    webhook: str = ""
    command: str = ""
    desktop: bool = True
    quiet_minutes: _NotNegative = 30.0


class Kept(_Section, frozen=True):
    """``url``: the PostgreSQL database that holds the store, postgresql://USER@HOST:PORT/NAME;
    empty means a file of this machine. Its password stands in PGPASSWORD or ~/.pgpass.
    ``when_away``: what a gateway does while the database does not answer: serve what it has money
    in hand for ("slices"), or nobody ("refuse"). ``keep_days``: how many days gateways and ``omni
    watch`` keep of requests and conversations, 63 or more, looked at once a day as ``omni db
    prune`` does it; reports keep their sums. 0: all is kept."""

    url: str = ""
    when_away: Literal["slices", "refuse"] = "slices"
    keep_days: Annotated[int, Meta(ge=0, le=99_999)] = 0

    def __post_init__(self) -> None:
        if self.keep_days:
            from omni_cli.domain.periods import MIN_KEEP_DAYS

            if self.keep_days < MIN_KEEP_DAYS:
                raise ValueError(
                    f"keep_days is {MIN_KEEP_DAYS} or more, or 0 for all: budgets with rollover "
                    "and invoices look back on two months"
                )
        if not self.url:
            return
        if not self.url.startswith(("postgresql://", "postgres://")):
            raise ValueError("url is written postgresql://USER@HOST:PORT/NAME")
        if ":" in self.url.partition("://")[2].rpartition("@")[0] or "password=" in self.url:
            raise ValueError("url holds a password, which belongs in PGPASSWORD or ~/.pgpass")


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    general: General = field(default_factory=General)
    routing: Routing = field(default_factory=Routing)
    chat: Chat = field(default_factory=Chat)
    prices: Prices = field(default_factory=Prices)
    imports: Imports = field(default_factory=Imports)
    alerts: Alerts = field(default_factory=Alerts)
    store: Kept = field(default_factory=Kept)


_SECTIONS: Mapping[str, type[_Section]] = {
    "general": General,
    "routing": Routing,
    "chat": Chat,
    "prices": Prices,
    "imports": Imports,
    "alerts": Alerts,
    "store": Kept,
}


def paths(env: Mapping[str, str] = os.environ) -> Paths:
    """Where files are for this environment; nothing is created."""
    if found := folders(env):
        return Paths(*map(Path, found))
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
            if section == "store" and path != where.config_file:
                # A folder from elsewhere would say where prompts and money are written.
                raise ConfigError(
                    f"{path} sets where the store is, which only the user's own settings may",
                    hint=f"move [store] to {where.config_file}, or set OMNI_DATABASE_URL",
                )
            merged.setdefault(section, {}).update(values)
    return convert(merged, Config)


def database_url(where: Paths, env: Mapping[str, str]) -> str:
    """The database that holds the store; "" where it is a file. Raises ConfigError."""
    if url := env.get("OMNI_DATABASE_URL", "").strip():
        if url.startswith(("postgresql://", "postgres://")):
            return url
        raise ConfigError(
            "OMNI_DATABASE_URL is no address of a PostgreSQL database",
            hint="OMNI_DATABASE_URL=postgresql://USER@HOST:PORT/NAME",
        )
    try:
        # A parser takes 20 ms to load: a file that says nothing of the store needs none.
        if "store" not in where.config_file.read_text("utf-8"):
            return ""
    except (OSError, UnicodeDecodeError):
        return ""
    return str(_read(where.config_file).get("store", {}).get("url", ""))


def read_user_file(where: Paths) -> dict[str, dict[str, Any]]:
    """The user's own settings as written, checked."""
    return _read(where.config_file)


def project_file(cwd: Path) -> Path | None:
    """The project's settings that hold in this folder, if any."""
    return next(iter(_project_files(cwd)), None)


def read_file(path: Path) -> dict[str, dict[str, Any]]:
    """One file's settings as written, checked; none where there is no file."""
    return _read(path)


def check_file(path: Path) -> None:
    """Raises ConfigError: there is no such file, or it does not fit."""
    if not path.exists():
        raise ConfigError(f"there is no {path}", hint="omni config path says where settings are")
    _read(path)


def set_value(where: Paths, key: str, text: str) -> None:
    """Set ``section.name`` in the user's file from text; the write replaces the file whole.

    Raises:
        ConfigError: unknown key or a value that does not fit.
    """
    section, name, default = locate(key)
    document = _read(where.config_file)
    document.setdefault(section, {})[name] = _parse(text, default)
    _check(document, "the command line")
    _write(where.config_file, document)


def unset_value(where: Paths, key: str) -> None:
    """Back to the default."""
    section, name, _ = locate(key)
    document = _read(where.config_file)
    document.get(section, {}).pop(name, None)
    _write(where.config_file, {k: v for k, v in document.items() if v})


def sections() -> Mapping[str, type[Struct]]:
    """The settings by section."""
    return _SECTIONS


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
    _check(document, str(path))
    return document


def locate(key: str) -> tuple[str, str, Any]:
    """Section, name and default of a setting. Raises ConfigError."""
    section, _, name = key.partition(".")
    kind = _SECTIONS.get(section)
    for item in structs.fields(kind) if kind else ():
        if item.name == name:
            return section, name, item.default
    from omni_cli.domain.words import meant

    near = meant(key, known_keys(), most=1)
    raise ConfigError(f"unknown setting {key!r}", hint=near or "omni config list shows all keys")


def _parse(text: str, default: Any) -> Any:
    """As the kind of the default; as it stands where it is none of that kind."""
    if isinstance(default, bool):
        return {"true": True, "false": False, "on": True, "off": False}.get(text.lower(), text)
    try:
        return type(default)(text)
    except ValueError:
        return text


def _check(document: Mapping[str, Any], source: str) -> None:
    """Raises ConfigError with the path of the value that does not fit."""
    try:
        convert(document, Config)
    except ValidationError as exc:
        from omni_cli.written import explain

        raise explain(Config, document, within=source, field="section", error=ConfigError) from exc


def _write(path: Path, document: Mapping[str, Any]) -> None:
    import tomli_w

    try:
        replace_text(path, tomli_w.dumps(document))
    except OSError as exc:
        raise ConfigError(f"cannot write {path}: {exc.strerror}") from exc

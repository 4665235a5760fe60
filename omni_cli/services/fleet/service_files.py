"""Files that let the user's own service manager run ``omni watch``: systemd, launchd.

Sources: systemd.service(5), systemd.exec(5), launchd.plist(5).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from msgspec import Struct

from omni_cli.domain.errors import UsageError

UNIT = "omni-watch.service"
LABEL = "dev.omni.watch"


class ServiceFile(Struct, frozen=True):
    """``start`` and ``stop``: what the user types, line by line."""

    path: Path
    text: str
    start: tuple[str, ...]
    stop: tuple[str, ...]
    remark: str = ""


def service_file(
    platform: str,
    home: Path,
    program: Sequence[str],
    variables: Mapping[str, str],
    env: Mapping[str, str],
) -> ServiceFile:
    """
    Args:
        platform: ``sys.platform``.
        program: the command with its arguments.
        variables: environment that the service needs; no secret belongs there.
        env: the user's environment, for XDG_CONFIG_HOME.

    Raises:
        UsageError: neither systemd nor launchd runs on this platform.
    """
    if platform == "darwin":
        return _launchd(home, program, variables)
    if platform.startswith("linux"):
        return _systemd(home, program, variables, env)
    raise UsageError(
        f"no user services on {platform}", hint="run omni watch in a terminal that stays open"
    )


def _systemd(
    home: Path, program: Sequence[str], variables: Mapping[str, str], env: Mapping[str, str]
) -> ServiceFile:
    folder = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user"
    lines = [
        "[Unit]",
        "Description=omni watch: health of AI models",
        "After=network-online.target",
        "",
        "[Service]",
        f"ExecStart={' '.join(_quoted(word) for word in program)}",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in variables.items()),
        "Restart=on-failure",
        "RestartSec=10",
        "Nice=10",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return ServiceFile(
        folder / UNIT,
        "\n".join(lines) + "\n",
        ("systemctl --user daemon-reload", f"systemctl --user enable --now {UNIT}"),
        (f"systemctl --user disable --now {UNIT}",),
        "A service sees no variables of your shell: keys must be in the keyring or in omni's "
        "own file (omni providers key SLUG --stdin).",
    )


def _quoted(word: str) -> str:
    """As systemd reads words: in double quotes, with its own marks doubled."""
    plain = word.replace("%", "%%").replace("$", "$$")
    if plain and not set(plain) & set(" \t\"'\\;"):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _launchd(home: Path, program: Sequence[str], variables: Mapping[str, str]) -> ServiceFile:
    path = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    words = "".join(f"    <string>{escape(word)}</string>\n" for word in program)
    pairs = "".join(
        f"    <key>{escape(name)}</key>\n    <string>{escape(value)}</string>\n"
        for name, value in variables.items()
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
        '"http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n'
        '<plist version="1.0">\n<dict>\n'
        f"  <key>Label</key>\n  <string>{LABEL}</string>\n"
        f"  <key>ProgramArguments</key>\n  <array>\n{words}  </array>\n"
        f"  <key>EnvironmentVariables</key>\n  <dict>\n{pairs}  </dict>\n"
        "  <key>RunAtLoad</key>\n  <true/>\n"
        "  <key>KeepAlive</key>\n  <dict>\n    <key>SuccessfulExit</key>\n    <false/>\n"
        "  </dict>\n</dict>\n</plist>\n"
    )
    return ServiceFile(
        path,
        text,
        (f"launchctl bootstrap gui/$(id -u) {path}",),
        (f"launchctl bootout gui/$(id -u)/{LABEL}",),
        "A service sees no variables of your shell: keys must be in the keyring or in omni's "
        "own file (omni providers key SLUG --stdin).",
    )

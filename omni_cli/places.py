"""Where files are, in plain text: read before pathlib would be loaded (statusline.py)."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT_FILE = ".omni.toml"
_ZONE_LINK = "/etc/localtime"
#: Of the environment, what settings and zone come from.
_NAMED = ("OMNI_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TZ")


def folders(env: Mapping[str, str]) -> tuple[str, str] | None:
    """Where settings and data are; None: where the system says."""
    if home := env.get("OMNI_HOME"):
        home = os.path.expanduser(home)  # noqa: PTH111  # pathlib takes as long as all the rest
        return home, home
    if sys.platform != "linux":
        return None
    user = env.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  # as above
    return (
        f"{env.get('XDG_CONFIG_HOME') or f'{user}/.config'}/omni",
        f"{env.get('XDG_DATA_HOME') or f'{user}/.local/share'}/omni",
    )


def _folders(env: Mapping[str, str]) -> tuple[str, str]:
    """The same, guessed on a Mac: where it is wrong nothing is noted."""
    mac = os.path.expanduser("~/Library/Application Support/omni")  # noqa: PTH111  # as above
    return folders(env) or (mac, mac)


def data_folder(env: Mapping[str, str]) -> str:
    """Where the store is, unless the settings say otherwise."""
    return _folders(env)[1]


def settings_state(env: Mapping[str, str], cwd: str) -> tuple[str, str]:
    """The key of what is noted for a project, and the state of all that settings come from."""
    config, folder = _folders(env)[0], cwd
    while True:
        project = os.path.join(folder, PROJECT_FILE)  # noqa: PTH118  # as above
        parent = os.path.dirname(folder)  # noqa: PTH120  # as above
        if os.path.isfile(project):  # noqa: PTH113  # as above
            break
        if parent == folder:
            project = ""
            break
        folder = parent
    parts = [env.get(name, "") for name in _NAMED]
    parts.append(os.path.realpath(_ZONE_LINK))
    for path in (f"{config}/config.toml", project):
        try:
            found = os.stat(path)  # noqa: PTH116  # as above
            parts.append(f"{path} {found.st_mtime_ns} {found.st_size} {found.st_ino}")
        except OSError:
            parts.append("")
    return f"statusline {project}".strip(), "|".join(parts).replace("\n", " ")

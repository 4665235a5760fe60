"""The OS keyring, through ``keyring``, and a list of what omni put there.

Keyrings cannot be listed, and asking one costs 90 ms and perhaps a question to the user. So
``keyring.json`` names the providers whose keys are there (no secret), under an identity of its
own: two omni homes never overwrite each other's keys.
"""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from omni_cli.domain.errors import ConfigError
from omni_cli.domain.secrets import Secret
from omni_cli.keys.files import INDEX, lock, read_private, write_private

LOCK = "keys.lock"

T = TypeVar("T")


#: How long the keyring may take for one answer, seconds. D-Bus services that hang never answer.
WAIT_S = 2.0


class KeyringUnavailable(ConfigError):
    """There is no keyring, it is locked, or it failed. ``there``: there is one."""

    code = "keyring_unavailable"

    def __init__(self, message: str, *, hint: str = "", there: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.there = there


class Ring(Struct, frozen=True):
    home: Path

    def slugs(self) -> tuple[str, ...]:
        """Whose keys omni has put into the keyring. Does not touch the keyring."""
        return tuple(self._index()[1])

    def get(self, slug: str) -> Secret | None:
        """Raises KeyringUnavailable."""
        identity, slugs = self._index()
        if slug not in slugs:
            return None
        value = _ask(lambda ring: ring.get_password(identity, slug))
        return Secret(value) if value else None

    def put(self, slug: str, secret: Secret) -> None:
        """Raises KeyringUnavailable, also when the keyring does not keep what it is given."""
        with lock(self.home / LOCK):
            identity, slugs = self._index()
            _ask(lambda ring: ring.set_password(identity, slug, secret.reveal()))
            if _ask(lambda ring: ring.get_password(identity, slug)) != secret.reveal():
                raise KeyringUnavailable("the OS keyring does not keep keys")
            self._write(identity, {*slugs, slug})

    def remove(self, slug: str) -> bool:
        """Was there one? Raises KeyringUnavailable."""
        with lock(self.home / LOCK):
            identity, slugs = self._index()
            if slug not in slugs:
                return False
            if _ask(lambda ring: ring.get_password(identity, slug)) is not None:
                _ask(lambda ring: ring.delete_password(identity, slug))
            self._write(identity, {*slugs} - {slug})
            return True

    def _index(self) -> tuple[str, list[str]]:
        path = self.home / INDEX
        raw = read_private(path)
        if raw is None:
            return f"omni/{os.urandom(6).hex()}", []
        try:
            document = json.loads(raw)
            return str(document["service"]), sorted(map(str, document["providers"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise ConfigError(
                f"{path} is damaged",
                hint="delete it and add the keys again: omni providers key PROVIDER --stdin",
            ) from exc

    def _write(self, identity: str, slugs: set[str]) -> None:
        document = {"service": identity, "providers": sorted(slugs)}
        write_private(self.home / INDEX, json.dumps(document, indent=1).encode() + b"\n")


def _ask(call: Callable[[Any], T]) -> T:
    """Call a keyring that is worth trusting with a key, in a thread that may be left behind."""
    answers: list[T] = []
    failures: list[Exception] = []

    def ask() -> None:
        try:
            answers.append(call(_backend()))
        except Exception as exc:  # noqa: BLE001 - backends raise whatever their system does
            failures.append(exc)

    # A daemon: one that hangs must not keep the process at its end.
    asking = threading.Thread(target=ask, name="keyring", daemon=True)
    asking.start()
    asking.join(WAIT_S)
    if answers:
        return answers[0]
    if not failures:
        raise KeyringUnavailable(
            f"the OS keyring did not answer within {WAIT_S:g} s",
            hint="unlock it and try again, or use the environment or the encrypted file",
        )
    if isinstance(failures[0], ConfigError):
        raise failures[0]
    # Its words are not repeated: some backends quote what they were given.
    name = type(failures[0]).__name__
    message = "is locked" if name == "KeyringLocked" else f"failed ({name})"
    hint = "unlock it, or use the environment or the encrypted file"
    raise KeyringUnavailable(f"the OS keyring {message}", hint=hint)


def _backend() -> Any:
    import keyring

    backend = keyring.get_keyring()
    # keyring's own bar for a backend to recommend: below are "fail" and "null".
    if backend.priority < 1:
        raise KeyringUnavailable("this machine has no OS keyring", there=False)
    return backend

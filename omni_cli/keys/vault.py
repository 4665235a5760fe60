"""The encrypted key file, ``keys.enc``.

Each key is sealed by AES-256-GCM with its provider's slug as associated data, so that an entry
moved to another provider's name does not open; a seal over the whole text shows any other
change, except putting back an older copy of the whole file. The master key is one of two:

- Random, in ``keys.key`` (mode 0600) beside it. This protects copies of ``keys.enc`` alone:
  backups, exports and synced folders that leave ``keys.key`` out. It does not protect against
  whoever reads both files: another program of the same user, root, or a copy of the whole folder.
- Derived by scrypt from the passphrase in ``OMNI_PASSPHRASE``, when that is set on a write. Then
  nothing on the disk opens the file; other programs of the same user may still read the
  environment of a running omni.
"""

import base64
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import ConfigError
from omni_cli.domain.secrets import Secret
from omni_cli.keys.files import MASTER, lock, read_private, write_private
from omni_cli.keys.files import VAULT as FILE

LOCK = "keys.lock"
PASSPHRASE_ENV = "OMNI_PASSPHRASE"  # noqa: S105 - a variable's name
VERSION = 1
#: scrypt with N = 2**17, r = 8, p = 1: 128 MiB; the OWASP Password Storage Cheat Sheet's first
#: choice of parameters for scrypt.
_LOG_N = 17
_NONCE_BYTES, _KEY_BYTES, _SALT_BYTES = 12, 32, 16
_RESTORE = (
    "restore it from a backup, or delete it and add the keys again: "
    "omni providers key PROVIDER --stdin"
)


class Vault(Struct, frozen=True):
    """The key file in ``home``. ``passphrase`` as set in the environment, or None."""

    home: Path
    passphrase: Secret | None = None

    @classmethod
    def at(cls, home: Path, env: Mapping[str, str]) -> "Vault":
        passphrase = env.get(PASSPHRASE_ENV)
        return cls(home, Secret(passphrase) if passphrase else None)

    def slugs(self) -> tuple[str, ...]:
        """Whose keys the file holds. Opens nothing, so a forged name may be among them."""
        document = self._read()
        return () if document is None else tuple(sorted(document["entries"]))

    def get(self, slug: str) -> Secret | None:
        """Raises ConfigError: changed, unreadable, or the master key or passphrase is wrong."""
        document = self._read()
        if document is None or slug not in document["entries"]:
            return None
        try:
            master = self._master(document["lock"])
        except FileNotFoundError:
            # A writer may have gone over to a passphrase since the document was read.
            document = self._read() or document
            try:
                master = self._master(document["lock"])
            except FileNotFoundError as exc:
                raise self._no_master() from exc
        return self._open(document, master).get(slug)

    def put(self, slug: str, secret: Secret) -> None:
        self._change({slug: secret})

    def remove(self, slug: str) -> bool:
        """Was there one? The master key is needed to seal what stays."""
        document = self._read()
        if document is None or slug not in document["entries"]:
            return False
        self._change({slug: None})
        return True

    def _change(self, changes: Mapping[str, Secret | None]) -> None:
        with lock(self.home / LOCK):
            document = self._read()
            keys: dict[str, Secret] = {}
            if document is not None:
                try:
                    keys = self._open(document, self._master(document["lock"]))
                except FileNotFoundError as exc:
                    raise self._no_master() from exc
            for slug, secret in changes.items():
                keys.pop(slug, None)
                if secret is not None:
                    keys[slug] = secret
            method = self._method(None if document is None else document["lock"])
            write_private(self.home / FILE, _seal(keys, method, self._master(method)))
            if method["kind"] == "passphrase":
                (self.home / MASTER).unlink(missing_ok=True)

    def _method(self, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """How the next version is locked. A passphrase, once set, takes over from the file."""
        if self.passphrase is not None:
            if before is not None and before["kind"] == "passphrase":
                return before
            salt = base64.b64encode(os.urandom(_SALT_BYTES)).decode()
            return {"kind": "passphrase", "kdf": "scrypt", "log_n": _LOG_N, "salt": salt}
        if read_private(self.home / MASTER) is None:
            text = base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n"
            write_private(self.home / MASTER, text)
        return {"kind": "file"}

    def _master(self, method: Mapping[str, Any]) -> bytes:
        """Raises FileNotFoundError when the master key's file is gone, and ConfigError."""
        if method["kind"] == "passphrase":
            if self.passphrase is None:
                raise ConfigError(
                    f"{self.home / FILE} is locked with a passphrase",
                    hint=f"set {PASSPHRASE_ENV}",
                )
            return _derive(self.passphrase, method["salt"], method["log_n"])
        text = read_private(self.home / MASTER)
        if text is None:
            raise FileNotFoundError(self.home / MASTER)
        try:
            master = base64.b64decode(text.strip(), validate=True)
        except ValueError:
            master = b""
        if len(master) != _KEY_BYTES:
            raise ConfigError(f"{self.home / MASTER} is damaged", hint=_RESTORE)
        return master

    def _no_master(self) -> ConfigError:
        return ConfigError(f"{self.home / MASTER}, the master key, is missing", hint=_RESTORE)

    def _read(self) -> dict[str, Any] | None:
        path = self.home / FILE
        raw = read_private(path)
        if raw is None:
            return None
        try:
            document = json.loads(raw)
            if document["format"] != "omni-keys":
                raise ValueError("another format")
            version = document["version"]
            # Only the exact text that was written: a change that JSON ignores is one, too.
            if version == VERSION and (_text(document) != raw or not _well_formed(document)):
                raise ValueError("not as it was written")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise ConfigError(f"{path} is damaged", hint=_RESTORE) from exc
        if version != VERSION:
            raise ConfigError(f"{path} has version {version}, this omni reads {VERSION}")
        return dict(document)

    def _open(self, document: Mapping[str, Any], master: bytes) -> dict[str, Secret]:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        cipher = AESGCM(master)
        unsealed = {key: value for key, value in document.items() if key != "seal"}
        try:
            cipher.decrypt(*_unpack(document["seal"]), _text(unsealed))
            return {
                slug: Secret(cipher.decrypt(*_unpack(packed), _entry_data(slug)).decode())
                for slug, packed in document["entries"].items()
            }
        except (InvalidTag, ValueError) as exc:
            locked = document["lock"]["kind"] == "passphrase"
            reason = f"or {PASSPHRASE_ENV} is wrong" if locked else f"or {MASTER} is another's"
            raise ConfigError(
                f"{self.home / FILE} does not open: it was changed, {reason}", hint=_RESTORE
            ) from exc


def _seal(keys: Mapping[str, Secret], method: Mapping[str, Any], master: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(master)

    def packed(data: bytes, associated: bytes) -> str:
        # Random nonces: of 2**32 writes with one key, the limit of NIST SP 800-38D 8.3, no
        # user makes a thousandth.
        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(nonce + cipher.encrypt(nonce, data, associated)).decode()

    document: dict[str, Any] = {
        "format": "omni-keys",
        "version": VERSION,
        "lock": dict(method),
        "entries": {
            slug: packed(secret.reveal().encode(), _entry_data(slug))
            for slug, secret in keys.items()
        },
    }
    document["seal"] = packed(b"", _text(document))
    return _text(document)


def _text(document: Mapping[str, Any]) -> bytes:
    """The one way that a document is written."""
    return json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"


def _entry_data(slug: str) -> bytes:
    return f"omni-keys/{VERSION}/entry/{slug}".encode()


def _unpack(packed: str) -> tuple[bytes, bytes]:
    raw = base64.b64decode(packed, validate=True)
    return raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]


def _well_formed(document: Mapping[str, Any]) -> bool:
    method, entries = document["lock"], document["entries"]
    texts = [document["seal"], *entries.values()]
    if not all(isinstance(text, str) for text in texts):
        return False
    if method["kind"] == "passphrase":
        # Bounded: a forged figure must not make scrypt take all memory.
        log_n, salt = method["log_n"], method["salt"]
        known = method["kdf"] == "scrypt" and isinstance(salt, str)
        return known and isinstance(log_n, int) and 14 <= log_n <= 20
    return bool(method == {"kind": "file"})


@lru_cache(maxsize=4)
def _derive(passphrase: Secret, salt: str, log_n: int) -> bytes:
    import hashlib

    n, r = 1 << log_n, 8
    try:
        return hashlib.scrypt(
            passphrase.reveal().encode(),
            salt=base64.b64decode(salt, validate=True),
            n=n,
            r=r,
            p=1,
            maxmem=128 * n * r + (1 << 20),
            dklen=_KEY_BYTES,
        )
    except ValueError as exc:
        raise ConfigError("the key file's salt is damaged", hint=_RESTORE) from exc

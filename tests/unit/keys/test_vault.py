"""The encrypted file: tampering, permissions, passphrases, concurrency, kills (A2)."""

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.errors import ConfigError
from omni_cli.domain.secrets import Secret
from omni_cli.keys import vault as vault_module
from omni_cli.keys.files import lock, read_private, write_private
from omni_cli.keys.vault import FILE, LOCK, MASTER, PASSPHRASE_ENV, Vault
from tests.paths import REPO

KEY = Secret("sk-test-0123456789abcdef")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(tmp_path)
    vault.put("openai", KEY)
    vault.put("groq", Secret("gsk_other"))
    return vault


@pytest.fixture
def quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_module, "_LOG_N", 14)


def test_round_trip(vault: Vault) -> None:
    assert vault.slugs() == ("groq", "openai")
    assert vault.get("openai") == KEY
    assert vault.get("mistral") is None
    assert vault.remove("groq")
    assert not vault.remove("groq")
    assert vault.slugs() == ("openai",)
    assert vault.get("openai") == KEY


def test_no_key_is_in_the_files(vault: Vault) -> None:
    for path in vault.home.iterdir():
        assert KEY.reveal().encode() not in path.read_bytes()


def test_the_same_key_is_never_written_the_same_way(vault: Vault) -> None:
    first = (vault.home / FILE).read_text()
    vault.put("openai", KEY)
    second = (vault.home / FILE).read_text()
    assert json.loads(first)["entries"]["openai"] != json.loads(second)["entries"]["openai"]


def test_files_are_private_from_the_start(vault: Vault) -> None:
    assert {path.name for path in vault.home.iterdir()} == {FILE, MASTER, LOCK}
    for path in vault.home.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", [FILE, MASTER])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_files_that_others_may_use_are_refused(vault: Vault, name: str, mode: int) -> None:
    (vault.home / name).chmod(mode)
    with pytest.raises(ConfigError, match="may be used by others") as caught:
        vault.get("openai")
    assert "chmod 600" in caught.value.hint


def test_every_changed_byte_is_noticed(vault: Vault) -> None:
    path = vault.home / FILE
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :])
        with pytest.raises(ConfigError):
            # A provider whose name was changed has no key; opening any other's tells.
            vault.get("openai") or vault.get("groq")
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at])
        with pytest.raises(ConfigError):
            vault.get("openai")
    path.write_bytes(good)
    assert vault.get("openai") == KEY


def edited(vault: Vault, change: Any) -> None:
    path = vault.home / FILE
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(json.dumps(document, sort_keys=True, indent=1).encode() + b"\n")


def swap(document: Any) -> None:
    entries = document["entries"]
    entries["openai"], entries["groq"] = entries["groq"], entries["openai"]


@pytest.mark.parametrize(
    "change",
    [
        swap,
        lambda d: d["entries"].pop("groq"),
        lambda d: d["entries"].update(acme=d["entries"]["openai"]),
        lambda d: d.pop("seal"),
        lambda d: d.update(entries=[]),
        lambda d: d.update(lock={"kind": "passphrase", "kdf": "scrypt", "log_n": 40, "salt": "aa"}),
        lambda d: d.update(lock={"kind": "other"}),
        lambda d: d.update(lock="file"),
        lambda d: d.update(version=2),
        lambda d: d.update(more=1),
    ],
)
def test_a_document_put_together_by_another_does_not_open(vault: Vault, change: Any) -> None:
    edited(vault, change)
    with pytest.raises(ConfigError):
        vault.get("openai")


def test_entries_are_bound_to_their_provider_even_without_the_seal(vault: Vault) -> None:
    # Someone who could make the seal match still could not swap the sealed keys.
    document = json.loads((vault.home / FILE).read_bytes())
    swap(document)
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    master = vault._master({"kind": "file"})
    del document["seal"]
    nonce = bytes(12)
    sealed = nonce + AESGCM(master).encrypt(nonce, b"", vault_module._text(document))
    document["seal"] = base64.b64encode(sealed).decode()
    with pytest.raises(ConfigError, match="does not open"):
        vault._open(document, master)


def test_another_s_master_key_does_not_open(vault: Vault, tmp_path: Path) -> None:
    other = Vault(tmp_path / "other")
    other.put("openai", KEY)
    (other.home / MASTER).replace(vault.home / MASTER)
    with pytest.raises(ConfigError, match="does not open"):
        vault.get("openai")
    (vault.home / MASTER).write_text("short")
    with pytest.raises(ConfigError, match="damaged"):
        vault.get("openai")
    (vault.home / MASTER).unlink()
    with pytest.raises(ConfigError, match="missing"):
        vault.get("openai")
    with pytest.raises(ConfigError, match="missing"):
        vault.put("openai", KEY)  # rather than lose the other keys


@pytest.mark.usefixtures("quick_scrypt")
def test_a_passphrase_takes_over_from_the_key_file(vault: Vault) -> None:
    locked = Vault.at(vault.home, {PASSPHRASE_ENV: "correct horse"})
    assert locked.get("openai") == KEY  # still under the file's key
    locked.put("xai", Secret("xai-third"))
    assert not (vault.home / MASTER).exists()
    assert [locked.get(slug) for slug in ("openai", "xai")] == [KEY, Secret("xai-third")]
    assert vault.slugs() == ("groq", "openai", "xai")
    with pytest.raises(ConfigError, match="locked with a passphrase") as caught:
        vault.get("openai")
    assert PASSPHRASE_ENV in caught.value.hint
    with pytest.raises(ConfigError, match="is wrong"):
        Vault(vault.home, Secret("wrong horse")).get("openai")
    with pytest.raises(ConfigError, match="is wrong"):
        Vault(vault.home, Secret("wrong horse")).put("openai", KEY)
    assert locked.get("openai") == KEY


def test_an_empty_passphrase_is_none(tmp_path: Path) -> None:
    assert Vault.at(tmp_path, {PASSPHRASE_ENV: ""}).passphrase is None
    assert "correct" not in repr(Vault.at(tmp_path, {PASSPHRASE_ENV: "correct horse battery"}))


def run(script: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=REPO)


STORE = """
import sys, pathlib
from omni_cli.domain.secrets import Secret
from omni_cli.keys.vault import Vault
vault = Vault(pathlib.Path(sys.argv[1]))
for n in range(3):
    vault.put(f"p{sys.argv[2]}-{n}", Secret(f"key-{sys.argv[2]}-{n}"))
"""


def test_processes_that_store_at_once_lose_nothing(tmp_path: Path) -> None:
    processes = [run(STORE, str(tmp_path), str(n)) for n in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    vault = Vault(tmp_path)
    assert len(vault.slugs()) == 24
    assert vault.get("p5-2") == Secret("key-5-2")


FOREVER = """
import sys, pathlib
from omni_cli.domain.secrets import Secret
from omni_cli.keys.vault import Vault
vault = Vault(pathlib.Path(sys.argv[1]))
n = 0
while True:
    n += 1
    vault.put("openai", Secret("x" * 2000 + str(n)))
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.put("groq", KEY)
    for n in range(4):
        process = run(FOREVER, str(tmp_path))
        start = (tmp_path / FILE).stat().st_ino
        while (tmp_path / FILE).stat().st_ino == start:  # until it writes
            time.sleep(0.01)
        time.sleep(0.005 * n)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert vault.get("groq") == KEY
        assert vault.get("openai") is not None
        vault.put("mistral", KEY)  # its lock is gone, its leftovers are no hindrance
    assert {path.name for path in tmp_path.iterdir()} == {FILE, MASTER, LOCK}


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "private"
    write_private(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        write_private(path, b"new")
    assert read_private(path) == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["private"]


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"), lock(tmp_path / "file" / "lock"):
        pass
    with pytest.raises(ConfigError, match="cannot read"):
        read_private(tmp_path)

"""Where keys come from, in which order, and where they are kept (A2)."""

import subprocess
import sys
import threading
from pathlib import Path

import keyring
import pytest
from keyring.backends import null
from keyring.errors import KeyringLocked, NoKeyringError

from omni_cli.domain.errors import ConfigError, UsageError
from omni_cli.domain.secrets import Secret
from omni_cli.keys import delete_key, has_key, list_keys, resolve, store_key
from omni_cli.keys.ring import KeyringUnavailable
from omni_cli.keys.sources import bare, quoted
from omni_cli.keys.vault import Vault
from tests.paths import REPO
from tests.unit.keys.conftest import DictRing

KEY = "sk-test-0123456789abcdef"
OTHER = "sk-test-fedcba9876543210"


def found(slug: str, env: dict[str, str], home: Path, key_env: str | None = None) -> object:
    key = resolve(slug, key_env, env, home)
    return key and (key.secret.reveal(), key.where, key.name)


def test_nothing_anywhere(tmp_path: Path) -> None:
    home = tmp_path / "never"
    assert resolve("openai", None, {"OPENAI_API_KEY": "  "}, home) is None
    assert not has_key("openai", None, {}, home)
    assert list_keys(home) == {}
    assert delete_key("openai", env={}, home=home) == ()
    assert not (home / "keys.enc").exists()


def test_the_environment_comes_first(tmp_path: Path) -> None:
    store_key("openai", OTHER, env={}, home=tmp_path)
    env = {"OPENAI_API_KEY": f" {KEY}\n", "MINE": "mine-key"}
    assert found("openai", env, tmp_path) == (KEY, "env", "OPENAI_API_KEY")
    assert found("openai", env, tmp_path, "MINE") == ("mine-key", "env", "MINE")
    assert found("openai", {}, tmp_path) == (OTHER, "file", "openai")


def test_usual_names_are_tried_in_order(tmp_path: Path) -> None:
    env = {"GOOGLE_API_KEY": "second", "GEMINI_API_KEY": "first"}
    assert found("gemini", env, tmp_path) == ("first", "env", "GEMINI_API_KEY")
    assert found("gemini", env, tmp_path, "GOOGLE_API_KEY") == ("second", "env", "GOOGLE_API_KEY")
    del env["GEMINI_API_KEY"]
    assert found("gemini", env, tmp_path, "GEMINI_API_KEY") == ("second", "env", "GOOGLE_API_KEY")


def test_a_variable_of_the_user_s_own_excludes_the_usual_ones(tmp_path: Path) -> None:
    # The provider may be another host under a known name: its key is MINE, or nothing.
    assert found("openai", {"OPENAI_API_KEY": KEY}, tmp_path, "MINE") is None
    assert not has_key("openai", "MINE", {"OPENAI_API_KEY": KEY}, tmp_path)


@pytest.mark.parametrize(
    "value", ["sk-a\r\nX-Evil: 1", "sk-a b", "sk-\u2019quoted\u2019", "sk-\x00"]
)
def test_what_no_header_can_carry_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        resolve("openai", None, {"OPENAI_API_KEY": value}, tmp_path)
    assert value not in caught.value.message
    with pytest.raises(ConfigError) as caught:
        store_key("openai", value, env={}, home=tmp_path)
    assert value not in caught.value.message
    Vault(tmp_path).put("openai", Secret(value))  # as an earlier omni may have kept it
    with pytest.raises(ConfigError, match="openai in the encrypted file"):
        resolve("openai", None, {}, tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        f'"{KEY}"',
        f"'{KEY}'",
        f"{KEY}\r\n",
        f' "{KEY}\r\n" \n',
        f"\ufeff{KEY}",
        f"“{KEY}”",
        f"`{KEY}`",
    ],
)
def test_what_came_along_is_left_out_wherever_the_key_is_from(
    value: str, tmp_path: Path, ring: DictRing
) -> None:
    assert found("openai", {"OPENAI_API_KEY": value}, tmp_path) == (KEY, "env", "OPENAI_API_KEY")
    assert quoted(value) is (bare(value) != value.strip())
    for where in ("file", "keyring"):
        store_key("openai", value, env={}, home=tmp_path, where=where)
        assert found("openai", {}, tmp_path) == (KEY, where, "openai")
    ring.kept = dict.fromkeys(ring.kept, value)  # as another program may have written it
    assert found("openai", {}, tmp_path) == (KEY, "keyring", "openai")


@pytest.mark.parametrize("value", ['""', "''", " \r\n", '" "'])
def test_quotes_around_nothing_are_no_key(value: str, tmp_path: Path) -> None:
    assert found("openai", {"OPENAI_API_KEY": value}, tmp_path) is None
    assert not has_key("openai", None, {"OPENAI_API_KEY": value}, tmp_path)
    with pytest.raises(UsageError, match="empty"):
        store_key("openai", value, env={}, home=tmp_path)


def test_a_keyring_that_hangs_is_given_up(
    tmp_path: Path, ring: DictRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_key("openai", KEY, env={}, home=tmp_path)
    monkeypatch.setattr("omni_cli.keys.ring.WAIT_S", 0.05)
    ring.hangs = threading.Event()
    with pytest.raises(ConfigError, match=r"OS keyring did not answer within 0.05 s") as caught:
        resolve("openai", None, {}, tmp_path)
    assert "unlock it" in caught.value.hint
    told: list[str] = []
    assert store_key("groq", KEY, env={}, home=tmp_path, tell=told.append) == "file"
    assert told == ["the OS keyring did not answer within 0.05 s"]
    ring.hangs.set()


def test_a_machine_without_a_keyring_is_not_worth_a_word(tmp_path: Path) -> None:
    told: list[str] = []
    assert store_key("openai", KEY, env={}, home=tmp_path, tell=told.append) == "file"
    assert told == []


@pytest.mark.parametrize(("slug", "value"), [("openai", " "), ("", KEY), ("a b", KEY)])
def test_empty_keys_and_odd_names_are_refused(slug: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        store_key(slug, value, env={}, home=tmp_path)


def test_auto_takes_a_working_keyring(tmp_path: Path, ring: DictRing) -> None:
    assert store_key("openai", Secret(KEY), env={}, home=tmp_path) == "keyring"
    assert list(ring.kept.values()) == [KEY]
    assert not (tmp_path / "keys.enc").exists()
    assert found("openai", {}, tmp_path) == (KEY, "keyring", "openai")
    assert has_key("openai", None, {}, tmp_path)
    assert list_keys(tmp_path) == {"openai": "keyring"}
    assert delete_key("openai", env={}, home=tmp_path) == ("keyring",)
    assert ring.kept == {}
    assert found("openai", {}, tmp_path) is None


def test_two_homes_do_not_share_a_keyring_entry(tmp_path: Path, ring: DictRing) -> None:
    store_key("openai", KEY, env={}, home=tmp_path / "a")
    store_key("openai", OTHER, env={}, home=tmp_path / "b")
    store_key("groq", OTHER, env={}, home=tmp_path / "a")
    assert found("openai", {}, tmp_path / "a") == (KEY, "keyring", "openai")
    assert len({service for service, _ in ring.kept}) == 2


def test_a_key_is_in_one_place_only(tmp_path: Path, ring: DictRing) -> None:
    store_key("openai", KEY, env={}, home=tmp_path, where="file")
    assert store_key("openai", OTHER, env={}, home=tmp_path) == "keyring"
    assert list_keys(tmp_path) == {"openai": "keyring"}
    assert store_key("openai", KEY, env={}, home=tmp_path, where="file") == "file"
    assert ring.kept == {}
    assert found("openai", {}, tmp_path) == (KEY, "file", "openai")


def test_auto_falls_back_to_the_file_without_a_keyring(tmp_path: Path) -> None:
    assert store_key("openai", KEY, env={}, home=tmp_path) == "file"
    with pytest.raises(KeyringUnavailable):
        store_key("groq", KEY, env={}, home=tmp_path, where="keyring")
    assert list_keys(tmp_path) == {"openai": "file"}


@pytest.mark.parametrize(
    "error", [NoKeyringError(), KeyringLocked(KEY), RuntimeError(KEY), OSError("D-Bus is gone")]
)
def test_a_failing_keyring_is_no_keyring(error: Exception, tmp_path: Path, ring: DictRing) -> None:
    ring.raises = error
    assert store_key("openai", KEY, env={}, home=tmp_path) == "file"
    with pytest.raises(KeyringUnavailable) as caught:
        store_key("openai", KEY, env={}, home=tmp_path, where="keyring")
    assert KEY not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_keyring_that_forgets_is_no_keyring(tmp_path: Path) -> None:
    keyring.set_keyring(null.Keyring())
    assert store_key("openai", KEY, env={}, home=tmp_path) == "file"


def test_a_key_behind_a_locked_keyring_is_an_error_not_a_missing_key(
    tmp_path: Path, ring: DictRing
) -> None:
    store_key("openai", KEY, env={}, home=tmp_path)
    ring.raises = KeyringLocked("prompt dismissed")
    assert has_key("openai", None, {}, tmp_path)
    with pytest.raises(ConfigError, match="openai is in the keyring, but the OS keyring is locked"):
        resolve("openai", None, {}, tmp_path)
    assert found("openai", {"OPENAI_API_KEY": OTHER}, tmp_path) is not None


def test_a_damaged_index_is_an_error(tmp_path: Path, ring: DictRing) -> None:
    store_key("openai", KEY, env={}, home=tmp_path)
    (tmp_path / "keyring.json").write_text("[]")
    with pytest.raises(ConfigError, match="damaged"):
        list_keys(tmp_path)


def test_nothing_heavy_is_imported_until_a_key_is_opened(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from omni_cli import keys\n"
        "home = pathlib.Path(sys.argv[1])\n"
        "assert keys.resolve('openai', None, {'OPENAI_API_KEY': 'k'}, home)\n"
        "assert keys.has_key('groq', None, {}, home)\n"
        "assert not keys.resolve('mistral', None, {}, home)\n"
        "bad = {'keyring', 'cryptography', 'importlib.metadata', 'hashlib'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    store_key("groq", KEY, env={}, home=tmp_path)
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=REPO)

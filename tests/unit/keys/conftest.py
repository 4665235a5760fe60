"""A keyring made of a dict, and none at all; no test meets the machine's own."""

import threading
from collections.abc import Iterator

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail
from keyring.compat.properties import classproperty
from keyring.errors import PasswordDeleteError


class DictRing(KeyringBackend):
    #: keyring takes the best of all classes there are; this one only while a test wants it.
    wanted = False

    @classproperty
    def priority(cls) -> float:  # noqa: N805  # of the class
        if not cls.wanted:
            raise RuntimeError("only where a test wants it")
        return 5

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.raises: Exception | None = None
        self.hangs: threading.Event | None = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.hangs:
            self.hangs.wait()
        if self.raises:
            raise self.raises
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.hangs:
            self.hangs.wait()
        if self.raises:
            raise self.raises
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.kept:
            raise PasswordDeleteError(username)
        del self.kept[service, username]


@pytest.fixture(autouse=True)
def no_ring() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
def ring(no_ring: None, monkeypatch: pytest.MonkeyPatch) -> DictRing:
    monkeypatch.setattr(DictRing, "wanted", True)
    backend = DictRing()
    keyring.set_keyring(backend)
    return backend

"""Where files are, what was set, and whose process this is."""

import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from omni_cli import config as settings
from omni_cli.domain.models import ModelInfo
from omni_cli.ports import Clock

if TYPE_CHECKING:
    pass


class Base:
    """One process's omni. Everything is made on first use.

    Args:
        env: the environment; decides where files are and which keys there are.
        clock: seconds since the epoch, UTC.
        durable: flush every commit to disk (see store/connection.py).
        cwd: where to look for a project's settings.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        *,
        clock: Clock = time.time,
        durable: bool = True,
        cwd: Path | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.env: Mapping[str, str] = os.environ if env is None else env
        self._borrows = False
        self.clock = clock
        self.note = note
        self._durable = durable
        self._cwd = cwd
        self.paths = settings.paths(self.env)
        self._system_models: Mapping[str, ModelInfo] | None = None

    def close(self) -> None:
        """Close what was opened."""
        transport = self.__dict__.pop("transport", None)
        if transport is not None and not self._borrows:
            transport.close()
        store = self.__dict__.pop("store", None)
        if store is not None:
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    @cached_property
    def config(self) -> settings.Config:
        return settings.load(self.paths, cwd=self._cwd)

    @cached_property
    def zone(self) -> str:
        """The user's IANA time zone."""
        return settings.local_zone(self.config, self.env)

    @cached_property
    def who(self) -> str:
        """Who is named in the audit log."""
        return self.env.get("OMNI_USER") or self.env.get("USER") or f"uid {os.getuid()}"

"""What screens share of what they read."""

import threading
from pathlib import Path
from typing import Any

from omni_cli.bootstrap import App
from omni_cli.tui.data import Loader


def test_screens_that_ask_at_once_are_read_for_once(tmp_path: Path) -> None:
    loader = Loader({"OMNI_HOME": str(tmp_path)}, clock=lambda: 1_770_000_000.0)
    reads, begun, go = [], threading.Event(), threading.Event()

    def read(_: App) -> int:
        reads.append(1)
        begun.set()
        go.wait(10)
        return len(reads)

    nobody: Any = None  # the session is only handed on
    got: list[int] = []
    asks = [
        threading.Thread(target=lambda: got.append(loader.memo("it", nobody, read)))
        for _ in range(3)
    ]
    for ask in asks:
        ask.start()
    assert begun.wait(10)
    go.set()
    for ask in asks:
        ask.join(10)
    assert got == [1, 1, 1]
    loader.touch()
    assert loader.memo("it", nobody, read) == 2

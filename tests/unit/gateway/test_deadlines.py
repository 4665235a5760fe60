"""Limits of many seconds are looked at together, short ones have a timer each."""

import asyncio

from omni_cli.gateway import deadlines as module
from omni_cli.gateway.deadlines import Deadlines


class _Limited:
    def __init__(self) -> None:
        self.expired = 0

    def expire(self) -> None:
        self.expired += 1


class _Clock:
    """Of a loop whose time is put forward by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def call_later(self, *_: object) -> None:
        raise AssertionError("a long limit needs no timer of its own")


def test_a_long_limit_is_noticed_by_the_sweep_after_it() -> None:
    clock = _Clock()
    deadlines = Deadlines(clock)  # type: ignore[arg-type]  # its clock only
    early, late, ended = _Limited(), _Limited(), _Limited()
    deadlines.add(early, 20.0)
    deadlines.add(late, 900.0)
    deadlines.add(ended, 20.0)
    deadlines.remove(ended)
    clock.now += 19.5
    deadlines.sweep()
    assert early.expired == 0
    clock.now += 1.0
    deadlines.sweep()
    deadlines.sweep()
    assert (early.expired, late.expired, ended.expired) == (1, 0, 0)
    deadlines.remove(early)  # it ends after it was told
    clock.now += 900.0
    deadlines.sweep()
    assert (early.expired, late.expired) == (1, 1)


async def test_a_short_limit_is_exact() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    short, ended = _Limited(), _Limited()
    assert module._LONG_S > 0.02
    deadlines.add(short, 0.02)
    deadlines.add(ended, 0.02)
    deadlines.remove(ended)
    await asyncio.sleep(0.06)
    assert (short.expired, ended.expired) == (1, 0)
    deadlines.remove(short)
    deadlines.sweep()
    assert short.expired == 1

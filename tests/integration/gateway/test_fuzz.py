"""A little of the fuzzing of the whole gateway; benchmarks/gateway_fuzz.py does much of it."""

from pathlib import Path

from tests.clients.everyone import everybody
from tests.fuzz import answer_oddly, ask_oddly


def test_odd_requests_of_real_clients(tmp_path: Path) -> None:
    with everybody(tmp_path) as served:
        assert not ask_oddly(served, 100, seed=4711)


def test_odd_answers_of_providers(tmp_path: Path) -> None:
    assert not answer_oddly(tmp_path, 45, seed=4711)

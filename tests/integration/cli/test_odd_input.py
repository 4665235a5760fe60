"""What a careless or hostile caller types is refused in words, never with a crash."""

import io
import json
import sqlite3
import sys
from pathlib import Path

import pytest

from omni_cli.cli.app import main
from omni_cli.cli.render import plain
from omni_cli.store import port
from tests.integration.cli.conftest import Omni


@pytest.fixture
def fleet(omni: Omni) -> Omni:
    base = ("--base-url", "http://127.0.0.1:9/v1", "--no-auth")
    assert omni("providers", "add", "lab", "--protocol", "openai", *base).code == 0
    prices = ("--price-in", "1", "--price-out", "2")
    assert omni("models", "add", "lab/small", *prices).code == 0
    return omni


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("models", "add", "lab/x", "--price-in", "1e400", "--price-out", "1"), "at most"),
        (("models", "price", "lab/small", "--price-in", "1", "--price-out", "1e15"), "at most"),
        (("models", "add", "lab/x", "--context", "9" * 20), "tokens"),
        (("models", "add", "lab/two\nlines"), "no PROVIDER/MODEL"),
        (("models", "add", "lab/\x1b[31mred"), "no PROVIDER/MODEL"),
        (("chains", "create", "c", "lab/small", "--max-cost-multiple", "nan"), "1 or more"),
        (("chains", "create", "c", "lab/small", "--max-cost-multiple", "inf"), "1 or more"),
        (("budgets", "set", "all", "1e300"), "at most"),
    ],
)
def test_values_beyond_all_measure_are_refused(
    fleet: Omni, line: tuple[str, ...], said: str
) -> None:
    ran = fleet(*line)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_price_too_high_in_a_document_is_refused(fleet: Omni, tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    assert fleet("fleet", "export", "-o", str(path)).code == 0
    text = path.read_text("utf-8")
    assert 'output = "2"' in text
    path.write_text(text.replace('output = "2"', 'output = "1e18"'), "utf-8")
    ran = fleet("apply", str(path), "--yes")
    assert ran.code == 2
    assert "at most" in ran.err


def test_binary_for_labelled_rows_is_refused(fleet: Omni, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(bytes(range(256)))
    assert "not UTF-8" in fleet("eval-router", "--data", str(path)).err


def test_the_error_of_a_very_long_rule_stays_readable(fleet: Omni) -> None:
    ran = fleet("rules", "add", "(" * 5_000, "lab/small")
    assert ran.code == 2
    assert "longer than 1000 characters" in ran.err
    assert len(ran.err) < 1_000


def test_a_store_of_a_newer_omni_is_left_alone(
    fleet: Omni, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "_opened", set())  # as another process: this one opened it before
    with sqlite3.connect(home / "omni.db") as db:
        db.execute("PRAGMA user_version = 9999")
    ran = fleet("logs", "--json")
    assert ran.code == 1
    assert "newer omni" in ran.data["error"]["message"]


def test_settings_that_cannot_be_written_are_said(
    fleet: Omni, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "config.toml.new").mkdir()
    ran = fleet("config", "set", "general.zone", "UTC")
    assert ran.code == 3
    assert "cannot write" in ran.err


def test_a_locale_without_the_character_still_gets_the_data(
    fleet: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    fleet("budgets", "set", "all", "5")
    monkeypatch.setattr(sys, "argv", ["omni", "budgets", "status"])
    ascii_only = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    with pytest.raises(SystemExit) as left:
        main()
    ascii_only.flush()
    assert left.value.code in (0, None)
    assert b"of $5.00 spent" in raw.getvalue()


def test_explain_says_what_the_choice_rests_on_and_what_would_change_it(fleet: Omni) -> None:
    fleet("models", "add", "lab/big", "--price-in", "20", "--price-out", "60")
    for score in ("small=85", "big=99"):
        name, _, value = score.partition("=")
        fleet("models", "edit", f"lab/{name}", "--capability", f"coding={value}")
    prompt = "Write a Python function that merges two sorted lists."
    plain = fleet("route", prompt, "--priority", "best", "--explain")
    assert "rests on" in plain.out
    ran = fleet("route", prompt, "--priority", "best", "--explain", "--json")
    changed = json.loads(ran.out)["would_change"]
    assert ran.data["model"] == "lab/big"
    assert "--priority cheap" in changed
    for option, model in changed.items():
        again = fleet("route", prompt, "--priority", "best", *option.split(), "--json").data
        assert again["model"] == model != "lab/big"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_not_steered_by_a_models_words(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "a\x1b]0;title\x07\tb\r\nç中\x9b31m"
    assert plain(words) == words  # a pipe gets them whole
    monkeypatch.setattr(sys, "stdout", _Terminal())
    assert plain(words) == "a]0;title\tb\nç中31m"

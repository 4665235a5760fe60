"""Every listing on every terminal: names, ids and money stay whole, the rest gives way (A2)."""

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.cli.app import main
from omni_cli.cli.render import width_of
from omni_cli.cli.tables import Column, fit, table
from omni_cli.domain.batches import Batch, Line, Part
from omni_cli.domain.ids import make_id
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni, home, omni, seeded

__all__ = ["home", "omni", "seeded"]

SLUG = "the-companys-own-proxy-in-frankfurt"
MODEL = f"{SLUG}/meta-llama/llama-3.3-70b-instruct-turbo:extended"
ROLE = "reviewer_of_pull_requests_in_the_main_repository"
WIDTHS = (40, 60, 80, 120)
#: Listings with --quiet, --csv, --wide and --columns; all but usage's and health's JSON are lists.
LISTINGS = (
    ("models", "list"),
    ("providers", "list"),
    ("providers", "models", SLUG),
    ("roles", "list"),
    ("rules", "list"),
    ("chains", "list"),
    ("keys", "list", "--clients"),
    ("budgets", "list"),
    ("batches", "list"),
    ("logs",),
    ("history",),
    ("audit",),
    ("config", "list"),
)
WHOLE = (("usage",), ("usage", "--by", "role"), ("health",), ("calc", "-m", MODEL, "hello"))
TABLES = (
    *LISTINGS,
    *WHOLE,
    ("daily",),
    ("session",),
    ("blocks",),
    ("costs", "--no-chart"),
    ("savings",),
    ("route", "--explain", "hello"),
    ("why",),
    ("compare", "--list"),
    ("models", "compare", MODEL, "openai/gpt-4o"),
    ("db", "stats"),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def used(home: Path, omni: Omni, sim: Simulator) -> Path:
    def run(*args: str) -> None:
        ran = omni(*args)
        assert ran.code == 0, ran

    where = ("--protocol", "openai", "--base-url", f"{sim.url}/openai/v1", "--no-auth")
    run(
        "providers", "add", SLUG, *where, "--name", "公司在法兰克福的代理服务器 (Frankfurt am Main)"
    )
    run("models", "add", MODEL, "--price-in", "2.50", "--price-out", "10", "--alias", "house")
    run("config", "set", "general.premium_model", "openai/gpt-4o")
    run(
        "roles",
        "assign",
        ROLE,
        "house",
        "--description",
        "他人のコードを読み、理由を説明する (reads, and says why)",
    )
    run("rules", "add", "taskType == 'coding' && complexity == 'medium' && turns < 4", "house")
    run("chains", "create", "whatever happens in the order of their cost", "house")
    run("keys", "create", "team-of-the-data-platform", "--rpm", "600", "--models", f"{SLUG}/*")
    run("budgets", "set", f"model:{MODEL}", "1234.56", "--per", "month", "--rollover")
    for words in ("Write a regular expression for dates.", "Name a colour."):
        run("chat", "-m", f"role:{ROLE}", words)
    run("compare", "-m", MODEL, "-m", f"role:{ROLE}", "Name a colour.", "--max-tokens", "16")
    with App({"OMNI_HOME": str(home)}) as app:
        _batch(app)
    return home


def _batch(app: App) -> None:
    """One that is under way."""
    batch = Batch(make_id(app.now_ms(), 1), SLUG, "", "", "batch", "/v1/responses", "", 1)
    batch.lines, batch.remote = 1, "batch_68a1b2c3d4e5f60718293a4b5c6d7e8f"
    part = Part(MODEL, ROLE, None, False, 1, 1_234_567_890)
    line = Line("one", MODEL, ROLE, 10, 10)
    app.batches.store.open(batch, [(part, True)], [(line, 1_234_567_890)], "")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _shown(
    capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch, width: int
) -> Callable[..., str]:
    def run(*args: str) -> str:
        screen = Terminal()
        with patch.context() as here:
            here.setenv("COLUMNS", str(width))
            here.setattr(sys, "stdout", screen)
            here.setattr(sys, "stdin", io.StringIO())
            here.setattr(sys, "argv", ["omni", *args])
            with pytest.raises(SystemExit) as left:
                main()
        talk = capsys.readouterr().err
        assert not left.value.code, talk
        said = re.search(r"^left out: .*?--columns chooses$", talk, re.MULTILINE | re.DOTALL)
        assert said is None or max(map(width_of, said[0].splitlines())) <= width, talk
        return screen.getvalue()

    return run


def test_every_table_fits_and_keeps_names_and_money_whole(
    used: Path, omni: Omni, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for args in TABLES:
        piped = omni(*args)
        assert piped.code == 0, (args, piped)
        # What a block comes to moves with the clock, from one run to the next.
        money = set(re.findall(r"\$[\d,]+(?:\.\d+)?", piped.out.partition("burning ")[0]))
        names, known = set(), {MODEL}
        if args in (*LISTINGS, *WHOLE):
            names = set(omni(*args, "--quiet").out.splitlines())
            assert names, args
            known |= set(_texts(omni(*args, "--json").data))
        for width in WIDTHS:
            shown = _shown(capsys, monkeypatch, width)(*args)
            lost = {name for name in (*names, *money) if name not in shown}
            assert not lost, (args, width, shown)
            for line in shown.splitlines():
                # Only what is itself too long may run over, on a line of its own.
                prose = args not in LISTINGS and line in piped.out.splitlines()
                long = prose or any(
                    line.endswith(text) and len(text) > width - 14 for text in known
                )
                assert long or width_of(line) <= width, (args, width, line)
        if args in LISTINGS:
            wide = _shown(capsys, monkeypatch, 40)(*args, "--wide")
            assert wide == piped.out


def test_csv_and_json_of_a_listing_hold_the_same_rows(used: Path, omni: Omni) -> None:
    for args in LISTINGS:
        data = omni(*args, "--json").data
        rows = list(csv.DictReader(io.StringIO(omni(*args, "--csv").out)))
        assert len(rows) == len(data) > 0, args
        for row, document in zip(rows, data, strict=True):
            assert set(document) <= set(row)
            for name, value in document.items():
                if isinstance(value, dict | list):
                    assert json.loads(row[name]) == value
                else:
                    assert row[name] == ("" if value is None else str(value))


def test_columns_choose_and_say_what_there_is(used: Path, omni: Omni) -> None:
    assert omni("models", "list", "--columns", "quality, model").out.split()[:2] == [
        "quality",
        "model",
    ]
    assert omni("models", "list", "--csv", "--columns", "id").out.split() == ["id", MODEL]
    wrong = omni("models", "list", "--columns", "colour")
    assert (wrong.code, "out / 1m" in wrong.err) == (2, True)
    assert omni("models", "list", "--csv", "--quiet").code == 2
    assert omni("models", "list", "--columns", "model", "--json").code == 2


def test_points_of_amounts_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    amounts = ("$1,234.5", "$0.000001", "unknown", "-$12", "$7.00")
    table((Column.key("model"), Column.money("cost")), [("m", amount) for amount in amounts])
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        "model           cost",
        "m      $1,234.5",
        "m          $0.000001",
        "m            unknown",
        "m        -$12",
        "m          $7.00",
    ]


def test_who_changed_the_fleet_stays_on_an_ordinary_terminal(
    used: Path, omni: Omni, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = len(omni("audit", "--json").data)
    for width in WIDTHS:
        shown = _shown(capsys, monkeypatch, width)("audit")
        assert shown.count("tester") == changes > 3, shown


def test_of_columns_that_do_not_fit_the_least_worth_goes_first() -> None:
    columns = (
        Column.key("id"),
        Column.figure("p95", 1),
        Column.words("why", 5, 4),
        Column.figure("empty", 9),
        Column.money("cost"),
    )
    rows = [("abcdefgh", "1,234 ms", "a long reason", "-", "$0.001234")]

    def heads(width: int) -> tuple[list[str], list[int]]:
        sizes = [max(len(column.head), len(rows[0][i])) for i, column in enumerate(columns)]
        kept = fit(columns, rows, sizes, width)
        return [columns[i].head for i in kept], [sizes[i] for i in kept]

    assert heads(80) == (["id", "p95", "why", "empty", "cost"], [8, 8, 13, 5, 9])
    assert heads(50) == (["id", "p95", "why", "empty", "cost"], [8, 8, 12, 5, 9])
    assert heads(40)[0] == ["id", "p95", "why", "cost"]  # what says nothing goes before all else
    assert heads(30) == (["id", "why", "cost"], [8, 9, 9])
    assert heads(20)[0] == ["id", "cost"]
    assert heads(5)[0] == ["id", "cost"]  # these never go


#: Everything that only looks and prints a document, with what it takes; the rest changes something.
DOCUMENTS = (
    "init --dry-run --no-local",
    "doctor",
    "route hello",
    "why",
    "logs",
    "templates list",
    "budgets list",
    "budgets status",
    "budgets held",
    "usage",
    "daily",
    "weekly",
    "monthly",
    "session",
    "blocks",
    "costs",
    "savings",
    "calc hello",
    "batches list",
    "health",
    "compare --show last",
    "ab status",
    "shadow status",
    "providers list",
    f"providers show {SLUG}",
    f"providers models {SLUG}",
    f"providers key {SLUG} --show",
    "keys list",
    "keys list --clients",
    "models list",
    f"models show {MODEL}",
    f"models price {MODEL}",
    f"models compare {MODEL} openai/gpt-4o",
    "roles list",
    f"roles show {ROLE}",
    "rules list",
    "rules test true hello",
    "chains list",
    "report",
    "recommend",
    "deploy status",
    "cache stats",
    "db stats",
    "db check",
    "config list",
    "config get routing.priority",
    "config path",
    "history",
    "audit",
    "launch",
)
#: Asked before a fixture clears the environment.
_RECORD = "OMNI_RECORD" in os.environ
_RECORDED = Path(__file__).with_name("json_keys.json")


def _keys(value: object) -> object:
    """Of a document the names of its keys, two levels deep and of a list's first entry."""
    if isinstance(value, list):
        return [_keys(value[0])] if value else []
    if isinstance(value, dict):
        return {
            key: sorted(below) if isinstance(below, dict) else 0 for key, below in value.items()
        }
    return 0


def _lost(told: object, now: object, where: str) -> list[str]:
    if isinstance(told, list) and isinstance(now, list):
        return _lost(told[0], now[0], f"{where}[0]") if told and now else []
    if isinstance(told, dict) and isinstance(now, dict):
        gone = [f"{where}.{key}" for key in told if key not in now]
        return gone + [
            f"{where}.{key}.{name}"
            for key, below in told.items()
            if isinstance(below, list) and isinstance(now.get(key), list)
            for name in set(below) - set(now[key])
        ]
    return [] if type(told) is type(now) else [where]


def test_json_has_every_key_that_it_ever_had(used: Path, omni: Omni) -> None:
    """Keys stay, new ones may be added; ``OMNI_RECORD=1`` writes down the new ones."""
    now = {}
    for line in DOCUMENTS:
        ran = omni(*line.split(), "--json")
        assert ran.code in (0, 1), (line, ran)
        now[line] = _keys(ran.data)
    if _RECORD:
        _RECORDED.write_text(json.dumps(now, indent=1) + "\n")
    told = json.loads(_RECORDED.read_text())
    assert told.keys() == now.keys()
    lost = [one for line, keys in told.items() for one in _lost(keys, now[line], line)]
    assert not lost

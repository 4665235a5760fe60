"""One grammar (B10, B11): help, examples, other words for a verb, and what a wrong name meant."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from omni_cli.cli.app import app
from omni_cli.cli.examples import EXAMPLES
from omni_cli.cli.lazy import dress
from omni_cli.cli.values import CALLED, OFFERED, offered
from omni_cli.domain.commands import ALIASES, BARE, spelled
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni, home, omni, seeded
from tools.commands import MANUAL, PAGE, commands, manual, page

__all__ = ["home", "omni", "seeded"]

WIDTH = 80


def test_the_first_page_of_help_is_short_and_nothing_in_it_is_cut(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    shown = omni("--help").out
    assert omni("help").out == shown
    assert len(shown.splitlines()) <= 60
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert "…" not in shown
    told = shown.replace(",", " ").split()
    assert {name.partition(" ")[0] for name, _, _ in commands()} <= set(told)


def test_every_command_says_what_it_takes_and_shows_examples_that_parse(home: Path) -> None:
    names = set()
    for name, command, context in commands():
        names.add(name)
        dress(command, name)
        assert EXAMPLES.get(name), f"cli/examples.py has no line for omni {name}"
        assert command.help, name
        text = context.get_help()
        for line in EXAMPLES[name]:
            assert line in text
            _parse(line)
        for item in command.params:
            hidden = getattr(item, "hidden", False)
            assert hidden or item.name == "help" or getattr(item, "help", ""), (name, item.name)
            if item.param_type_name == "option" and not item.is_flag:
                assert not item.make_metavar(context).startswith("<"), (name, item.name)
    assert names == set(EXAMPLES)


#: What an example may say where what it is about is not there, or is already.
_STATE = r"already|in use|no terminal|cannot read|stands twice|no status JSON|on stdin|not exist"


@pytest.mark.skipif("OMNI_WALK" not in os.environ, reason="a minute: OMNI_WALK=1 runs it")
def test_every_example_does_what_it_says_or_says_what_is_missing(
    home: Path, omni: Omni, sim: Simulator, tmp_path: Path
) -> None:
    for slug, at in (("openai", "openai/v1"), ("anthropic", "anthropic")):
        assert omni("providers", "add", slug, "--base-url", f"{sim.url}/{at}", "--no-auth")
    for name in ("openai/gpt-5.5", "openai/gpt-6-luna", "anthropic/claude-haiku-4-5"):
        omni("models", "add", name)
    omni("roles", "assign", "writer", "openai/gpt-5.5")
    (tmp_path / "cases.toml").write_text('[[cases]]\nprompt = "a colour"\nexpect = "colour"\n')
    (tmp_path / "prompts.jsonl").write_text('{"id": 1, "prompt": "hi"}\n')
    (tmp_path / "fleet.toml").write_text(omni("fleet", "export").out)
    (tmp_path / "key.txt").write_text("sk-0123456789abcdef0123456789\n")
    wrong = []
    for name, lines in EXAMPLES.items():
        if name in ("dash", "demo", "simulator", "serve", "launch", "watch", "sync", "db move"):
            continue  # they stay, or need another machine
        for line in lines:
            ran = subprocess.run(
                line.replace("omni ", f"{sys.executable} -m omni_cli ", 1),
                shell=True,
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            told = ran.returncode != 2 or re.search(_STATE, ran.stderr)
            if not told or "Traceback" in ran.stderr:
                wrong.append((line, ran.stderr))
    assert not wrong


def _parse(line: str) -> None:
    """Raises Click's UsageError: no such command or option, or a value that is none."""
    words = shlex.split(line[line.index("omni") + len("omni") :].removesuffix(')"'))
    for mark in ("|", ">", "<"):
        words = words[: words.index(mark)] if mark in words else words
    root: Any = typer.main.get_command(app)
    context = root.make_context("omni", [], resilient_parsing=True)
    rest, command = spelled(words), root
    while hasattr(command, "list_commands") and rest:
        if rest[0] not in command.list_commands(context):
            break
        command, word, rest = command.get_command(context, rest[0]), rest[0], rest[1:]
        assert command is not None, line
        if not hasattr(command, "list_commands"):
            command.make_context(word, list(rest), parent=context)


def test_the_tables_of_values_and_verbs_name_what_there_is(home: Path) -> None:
    known, verbs = set(), set()
    for name, command, _ in commands():
        verbs.add(name)
        for item in command.params:
            word = item.name if item.param_type_name == "argument" else max(item.opts, key=len)
            known |= {word, f"{name} {word}"}
    assert {*CALLED, *OFFERED} <= known
    for key in OFFERED:
        command, _, name = key.rpartition(" ")
        assert isinstance(offered(command, name, "", ["general.week_start"]), list)
    assert offered("config set", "value", "", ["chat.receipt"]) == ["true", "false"]
    assert "monday" in offered("config set", "value", "", ["general.week_start"])
    for group, words in ALIASES.items():
        for word, verb in words.items():
            assert f"{group} {word}" not in verbs, "an alias hides a command"
            assert f"{group} {verb.partition(' ')[0]}" in verbs
    for group, verb in BARE.items():
        assert verb == "--help" or f"{group} {verb}" in verbs


def test_the_page_has_every_command_as_the_code_has_it() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python -m tools.commands"
    assert MANUAL.read_text("utf-8") == manual(), "run: python -m tools.commands"


def test_a_group_alone_lists_what_it_has(omni: Omni) -> None:
    for group in BARE:
        ran = omni(group)
        assert ran.code == 0, ran
    assert omni("config").out == omni("config", "list").out
    assert omni("config", "--json").data == omni("config", "list", "--json").data
    assert omni("config", "--help").out.startswith("Usage: omni config [OPTIONS] COMMAND")


def test_other_words_for_a_verb_do_the_same(omni: Omni) -> None:
    assert omni("budgets", "set", "all", "5").code == 0
    assert omni("budgets", "create", "all", "6", "--per", "day").code == 0
    assert [one["limit_usd"] for one in omni("budgets", "--json").data] == ["5", "6"]
    assert omni("budgets", "delete", "1").code == 0
    where = ("--protocol", "openai", "--base-url", "http://127.0.0.1:9/v1", "--no-auth")
    assert omni("providers", "create", "lab", *where).code == 0
    for name in ("a", "b", "c"):
        assert omni("models", "create", f"lab/{name}", "--free").code == 0
    assert omni("chains", "create", "prod", "lab/a").code == 0
    added = omni("chains", "add", "prod", "lab/b", "--json").data
    assert [link["model"] for link in added["links"]] == ["lab/a", "lab/b"]
    first = omni("chains", "add", "prod", "lab/c", "--at", "1", "--json").data
    assert [link["model"] for link in first["links"]] == ["lab/c", "lab/a", "lab/b"]
    assert omni("chains", "add", "prod", "lab/a", "--any-cost").code == 2
    assert omni("chains", "delete", "prod").code == 0
    assert omni("chains", "--json").data == []
    key = omni("keys", "add", "app")
    assert key.code == 0
    assert "revoked" in omni("keys", "remove", "app").out
    assert omni("keys", "remove", "nobody").code == 1


#: What is typed, and what the hint then has.
WRONG = [
    (("chta", "hi"), "'chat'"),
    (("chat", "-m", "role:nope", "x"), "roles are: writer"),
    (("model", "list"), "'models'"),
    (("chains", "shwo", "x"), "'show'"),
    (("help", "modls"), "'models'"),
    (("help", "models", "lsit"), "'list'"),
    (("chains", "show", "prd"), "prod"),
    (("roles", "show", "wirter"), "writer"),
    (("providers", "show", "lba"), "lab"),
    (("models", "list", "--provider", "lba"), "lab"),
    (("chat", "-m", "role:wirter", "hi"), "role:writer"),
    (("chat", "-m", "chain:prd", "hi"), "chain:prod"),
    (("chat", "-m", "auto:chep", "hi"), "auto:cheap"),
    (("providers", "add", "openia"), "openai"),
    (("config", "get", "routing.priorty"), "routing.priority"),
    (("config", "set", "routing.priorty", "best"), "routing.priority"),
    (("import", "claude"), "claude-code"),
    (("launch", "claud"), "claude"),
    (("keys", "revoke", "ap"), "app"),
    (("usage", "--model", "lab/modle"), "lab/model"),
    (("usage", "--by", "modl"), "model"),
    (("route", "--task", "codng", "hi"), "coding"),
    (("models", "list", "--sort", "qualty"), "quality"),
    (("--org", "acmee", "usage"), "acme"),
    (("--org", "acmee", "costs"), "acme"),
]


def test_a_wrong_name_is_answered_with_what_is_near_it(named: None, omni: Omni) -> None:
    for typed, near in WRONG:
        ran = omni(*typed)
        assert ran.code != 0, typed
        assert near in ran.err, (typed, ran.err)


@pytest.fixture
def named(home: Path, omni: Omni) -> None:
    where = ("--protocol", "openai", "--base-url", "http://127.0.0.1:9/v1", "--no-auth")
    for args in (
        ("providers", "add", "lab", *where),
        ("models", "add", "lab/model", "--free"),
        ("roles", "assign", "writer", "lab/model"),
        ("chains", "add", "prod", "lab/model"),
        ("keys", "create", "app", "--org", "acme"),
    ):
        assert omni(*args).code == 0, args


#: And where nothing but the shell's completion knew the names.
ALSO = (
    ("chta hello", "chat"),
    ("models lst", "list"),
    ("chat --priorty cheap hi", "--priority"),
    ("chat --priority chaep hi", "cheap"),
    ("chat --task codng hi", "coding"),
    ("route --latency=fst hi", "fast"),
    ("usage --by modle", "model"),
    ("usage --period mnth", "month"),
    ("logs --source chta", "chat"),
    ("models list --sort qualty", "quality"),
    ("models show openai/gpt5.5", "openai/gpt-5.5"),
    ("chat -m gpt-9 hi", "openai/gpt-5.5"),  # the fleet's own before the catalogue's
    ("models edit openai/gpt-5.5 --badge visoin", "vision"),
    ("providers show opnai", "openai"),
    ("providers add opnai", "openai"),
    ("providers test opnai", "openai"),
    ("keys set opnai", "openai"),
    ("keys create x --scope raed", "read"),
    ("budgets add modl:openai/gpt-5.5 5", "model"),
    ("budgets add all 5 --per mnth", "month"),
    ("budgets add all 5 --week-start mnday", "monday"),
    ("roles show writr", "writer"),
    ("roles switch writr openai/gpt-5.5", "writer"),
    ("roles assign writer openai/gpt5.5", "openai/gpt-5.5"),
    ("ab start writr --challenger openai/gpt-5.5", "writer"),
    ("shadow start writr --challenger openai/gpt-5.5", "writer"),
    ("chains show prd", "prod"),
    ("chains add new openai/gpt5.5", "openai/gpt-5.5"),
    ("rules add hasTool openai/gpt-5.5", "hasTools"),
    ("config get routing.priorty", "routing.priority"),
    ("config set routing.priority chaep", "cheap"),
    ("import claude", "claude-code"),
    ("import-config litelm x.yaml", "litellm"),
    ("export ledgr", "ledger"),
    ("completion bsh", "bash"),
    ("launch claud", "claude"),
    ("compare hi -m openai/gpt5.5", "openai/gpt-5.5"),
    ("help modls", "models"),
)


def test_wherever_a_name_is_asked_a_wrong_one_is_met_with_what_is_near(
    omni: Omni, tmp_path: Path
) -> None:
    where = ("--base-url", "http://127.0.0.1:9/v1", "--no-auth")
    assert omni("providers", "add", "openai", *where).code == 0
    for words in ("models add openai/gpt-5.5", "roles assign writer openai/gpt-5.5"):
        assert omni(*words.split()).code == 0
    assert omni("chains", "add", "prod", "openai/gpt-5.5").code == 0
    (tmp_path / "x.yaml").write_text("")
    for typed, near in ALSO:
        said = omni(*typed.split(), stdin="sk-0123456789abcdef0123456789\n")
        assert said.code in (1, 2, 3), said
        pattern = rf"did you mean [^?]*{re.escape(near)}"
        assert re.search(pattern, said.err, re.IGNORECASE), (typed, said)


def test_errors_speak_no_python(omni: Omni, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for line in (
        "apply nowhere.toml",
        "apply folder",
        "eval-router --data nowhere.jsonl",
        "templates add x nowhere.toml",
        "suite check nowhere.toml",
        "import csv nowhere.csv",
        "reconcile nowhere.csv",
        "serve --port abc",
    ):
        said = omni(*line.split())
        assert said.code in (1, 2), said
        assert not re.search(r"Errno|Traceback|valid int", said.err), said
    assert "omni import csv use.csv" in omni("import", "use.csv").err
    assert "nothing was asked yet" in omni("why").err

"""``omni chat -t``: prompts that one keeps; ``-f`` of folders and of this machine's own URLs."""

import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest

from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni, home, omni, seeded
from tests.integration.cli.test_chat_talk import lab
from tests.integration.cli.test_conversation import talk

__all__ = ["home", "lab", "omni", "seeded", "talk"]

REVIEW = """
description = "Reads a diff"
system = "You review code. Answer in $lang."
prompt = "Review this ($depth), for $$5:\\n\\n$input"
temperature = 0.2
max_tokens = 50
params = { depth = "briefly" }
"""


@pytest.fixture
def review(lab: Path, omni: Omni, tmp_path: Path) -> Path:
    file = tmp_path / "review.toml"
    file.write_text(REVIEW)
    assert omni("templates", "add", "review", str(file)).code == 0
    return file


def sent(omni: Omni, *args: str, stdin: str = "") -> tuple[str, str]:
    """System prompt and question, as a conversation keeps them."""
    ran = omni("chat", *args, stdin=stdin)
    assert ran.code == 0, ran
    from omni_cli.bootstrap import App

    with App() as app:
        last = app.conversations.last()
        assert last is not None
        kept = app.conversations.messages(last)
    system = [message.text for message in kept if message.role == "system"]
    question = next(message.text for message in kept if message.role == "user")
    return system[0] if system else "", question


def test_a_template_fills_its_prompt_and_says_its_defaults(review: Path, omni: Omni) -> None:
    system, question = sent(omni, "-t", "review", "-p", "lang=de", stdin="+ x = 1 # costs $depth\n")
    assert system == "You review code. Answer in de."
    # What was asked is put in as it is: its own $ names nothing.
    assert question == "Review this (briefly), for $5:\n\n+ x = 1 # costs $depth\n"
    system, question = sent(omni, "-t", str(review), "-p", "lang=de", "-p", "depth=long", "a diff")
    assert "(long)" in question
    assert sent(omni, "-t", "review", "-p", "lang=de", "-s", "Mine.", "x")[0] == "Mine."


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("-t", "review", "x"), "-p lang=..."),
        (("-t", "reveiw", "x"), "did you mean review?"),
        (("-t", "review", "-p", "lagn=de", "-p", "lang=de", "x"), "did you mean lang?"),
        (("-t", "review", "-p", "lang", "x"), "NAME=VALUE"),
        (("-p", "lang=de", "x"), "-p goes with -t"),
        (("-t", "./nowhere.toml", "x"), "cannot read nowhere.toml"),
    ],
)
def test_what_a_template_wants_is_said(
    review: Path, omni: Omni, args: tuple[str, ...], said: str
) -> None:
    ran = omni("chat", *args)
    assert ran.code in (1, 2)
    assert said in ran.err, ran.err


def test_templates_are_listed_shown_checked_and_removed(
    review: Path, omni: Omni, tmp_path: Path
) -> None:
    (row,) = omni("templates", "--json").data
    assert (row["name"], row["takes"], row["params"]) == (
        "review",
        ["lang", "depth"],
        {"depth": "briefly"},
    )
    assert omni("templates", "show", "review").out.strip() == REVIEW.strip()
    odd = REVIEW + "temprature = 1\n"
    refused = omni("templates", "add", "odd", "-", stdin=odd)
    assert (refused.code, "temperature" in refused.err) == (2, True)
    assert omni("templates", "add", "review", str(review)).code == 2
    assert omni("templates", "add", "../review", str(review)).code == 2
    schema = omni("templates", "schema").data
    jsonschema.validate(tomllib.loads(REVIEW), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(odd), schema)
    # A project shares its own; the user's own of the same name comes first.
    shared = tmp_path / ".omni/templates"
    shared.mkdir(parents=True)
    (shared / "review.toml").write_text('prompt = "another"\n')
    (shared / "shared.toml").write_text('prompt = "Say hello"\n')
    assert {one["name"] for one in omni("templates", "--json").data} == {"review", "shared"}
    assert sent(omni, "-t", "shared")[1] == "Say hello"
    assert sent(omni, "-t", "shared", "and more")[1] == "Say hello\n\nand more"
    assert omni("templates", "remove", "review").code == 0
    assert omni("templates", "remove", "review").code == 1
    assert sent(omni, "-t", "review")[1] == "another"


def test_a_role_has_a_system_prompt_of_the_users_own(lab: Path, omni: Omni, tmp_path: Path) -> None:
    assert omni("roles", "assign", "writer", "lab/small").code == 0
    own = 'system = "You write plainly."\n'
    assert omni("templates", "add", "roles/writer", "-", stdin=own).code == 0
    assert sent(omni, "-m", "role:writer", "A line.") == ("You write plainly.", "A line.")
    assert sent(omni, "-m", "writer", "-s", "Mine.", "A line.")[0] == "Mine."
    assert sent(omni, "-m", "lab/small", "A line.")[0] == ""
    # A folder that was cloned does not speak for roles.
    theirs = tmp_path / ".omni/templates/roles"
    theirs.mkdir(parents=True)
    (theirs / "writer.toml").write_text('system = "Obey."\n')
    assert omni("templates", "remove", "roles/writer").code == 0
    assert sent(omni, "-m", "role:writer", "A line.")[0] == ""


def test_a_folder_is_what_git_would_add(lab: Path, omni: Omni, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.py").write_text("A = 1\n")
    (folder / "sub/b.py").write_text("B = 2\n")
    (folder / "picture.bin").write_bytes(b"\xff\x00\xff")
    (folder / "left.log").write_text("secret\n")
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "out.txt").symlink_to("/etc/hostname")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    _, question = sent(omni, "-f", str(folder), "what is it?")
    assert "a.py:\n```\nA = 1\n" in question
    assert "sub/b.py:" in question
    assert "left.log:" not in question
    assert "out.txt" not in question
    assert question.index("a.py:") < question.index("what is it?")
    assert omni("chat", "-f", str(folder / "sub/none"), "x").code == 2


def test_a_url_of_this_machine_is_read_and_no_other(lab: Path, omni: Omni, sim: Simulator) -> None:
    _, question = sent(omni, "-f", f"{sim.url}/openai/v1/models", "which are there?")
    assert "gpt-6-luna" in question
    assert question.startswith(f"{sim.url}/openai/v1/models:\n```\n")
    for url in ("http://example.com/x", "https://192.0.2.1/", "http://localhost.evil.example/"):
        refused = omni("chat", "-f", url, "x")
        assert (refused.code, "of this machine only" in refused.err) == (2, True)
    assert "status 404" in omni("chat", "-f", f"{sim.url}/nowhere", "x").err

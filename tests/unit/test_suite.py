"""Suites of every form, and what a judge is asked and understood to say (D2)."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from omni_cli.domain.chat import MediaPart, Message
from omni_cli.domain.errors import UsageError
from omni_cli.domain.scoring import Scorer
from omni_cli.services.judge import judge
from omni_cli.services.judge.compare_plan import Plan, Settings, keyed, plan_document, plan_from
from omni_cli.services.judge.compare_report import score_answer
from omni_cli.services.judge.suite import Case, load
from omni_cli.services.judge.suite_file import SuiteFile
from omni_cli.written import schema_of

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20

TOML = """
name = "sums"
system = "Only the number."
scorer = "numeric"
models = ["gpt-4o", "deepseek-chat"]
[[cases]]
prompt = "12 * 12?"
expect = 144
[[cases]]
prompt = "Pi to two places?"
expect = "3.14"
tolerance = 0.005
name = "pi"
"""
YAML = """
cases:
  - prompt: Name two primary colours.
    scorer: icontains-any
    expect: [red, blue, yellow]
  - Just ask.
"""


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_toml(tmp_path: Path) -> None:
    suite = load(_file(tmp_path, "sums.toml", TOML))
    assert (suite.name, suite.models) == ("sums", ("gpt-4o", "deepseek-chat"))
    first, second = suite.cases
    assert [m.role for m in first.messages] == ["system", "user"]
    assert first.scorers == (Scorer("numeric", ("144",)),)
    assert second.scorers == (Scorer("numeric", ("3.14",), {"tolerance": 0.005}),)
    assert second.name == "pi"


def test_yaml_and_jsonl(tmp_path: Path) -> None:
    cases = load(_file(tmp_path, "s.yaml", YAML)).cases
    assert cases[0].scorers == (Scorer("icontains-any", ("red", "blue", "yellow")),)
    assert (cases[1].prompt, cases[1].scorers) == ("Just ask.", ())
    lines = '{"prompt": "a", "expect": "x"}\n\n{"messages": [{"role": "user", "content": "b"}]}\n'
    cases = load(_file(tmp_path, "s.jsonl", lines)).cases
    assert cases[0].scorers == (Scorer("contains", ("x",)),)
    assert cases[1].prompt == "b"


def test_folder_of_prompts_and_images(tmp_path: Path) -> None:
    _file(tmp_path, "one.txt", "What is 1 + 1?")
    _file(tmp_path, "one.txt.expected", "2\n")
    (tmp_path / "cat.png").write_bytes(PNG)
    _file(tmp_path, "cat.expected", "cat")
    _file(tmp_path, "prompt.txt", "Which animal?")
    cases = load(tmp_path).cases
    assert [case.name for case in cases] == ["one.txt", "cat.png"]
    assert cases[0].scorers == (Scorer("contains", ("2",)),)
    assert cases[1].prompt == "Which animal?"
    assert isinstance(cases[1].messages[-1].parts[1], MediaPart)
    assert cases[1].scorers == (Scorer("contains", ("cat",)),)


PROMPTFOO = """
description: capitals
prompts:
  - "What is the capital of {{country}}?"
  - file://chat.json
providers:
  - openai:chat:gpt-4o
  - id: anthropic:messages:claude-3-haiku-20240307
  - ollama:llama3.1:70b
defaultTest:
  assert:
    - type: not-contains
      value: sorry
tests:
  - vars: {country: [France, Italy]}
    assert:
      - type: icontains-any
        value: [paris, rome]
      - type: llm-rubric
        value: names the capital of {{country}}
      - type: javascript
        value: output.length < 10
  - vars: {country: Spain}
    assert:
      - {type: is-json, value: {type: object}}
      - {type: starts-with, value: "Mad"}
"""


def test_promptfoo(tmp_path: Path) -> None:
    _file(tmp_path, "chat.json", '[{"role": "system", "content": "{{country}}"},'
          '{"role": "user", "content": "Capital?"}]')  # fmt: skip
    suite = load(_file(tmp_path, "promptfooconfig.yaml", PROMPTFOO))
    assert suite.models == (
        "openai/gpt-4o",
        "anthropic/claude-3-haiku-20240307",
        "ollama/llama3.1:70b",
    )
    assert suite.unmapped == ("test 1: assertion 'javascript'",)
    assert len(suite.cases) == 6
    first = suite.cases[0]
    assert first.prompt == "What is the capital of France?"
    assert first.scorers == (
        Scorer("contains", ("sorry",), negate=True),
        Scorer("icontains-any", ("paris", "rome")),
        Scorer("judge", (), {"rubric": "names the capital of France"}),
    )
    assert suite.cases[1].messages[0].text == "France"
    spain = suite.cases[4]
    assert spain.scorers[1:] == (
        Scorer("json-schema", (), {"schema": {"type": "object"}}),
        Scorer("regex", (r"\A\s*Mad",)),
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "x = [", "does not parse"),
        ("a.yaml", "a: [1", "does not parse"),
        ("a.txt", "hello", "no suite by its name"),
        ("a.json", "{}", r"a.json: cases is missing"),
        ("a.json", '{"cases": []}', "cases is a list of one case or more, not a list"),
        (
            "a.json",
            '{"cases": ["x", {"promt": "x"}]}',
            r"a.json: cases\[2\].promt is no field: did",
        ),
        ("a.json", '{"case": ["x"]}', "case"),
        ("a.json", '{"cases": [3]}', r"cases\[1\] is a text or a table, not 3"),
        ("a.json", '{"cases": [{"prompt": 3}]}', r"cases\[1\].prompt is a text in quotes, not 3"),
        ("a.yaml", "cases:\n- prompt: x\n  expect: {a: 1}\n", r"cases\[1\].expect is a text, or a"),
        (
            "a.jsonl",
            '{"prompt": "x"}\n{"prompt": "y", "tolerance": "b"}',
            r"cases\[2\].tolerance is",
        ),
        (
            "a.json",
            '{"cases": [{"messages": [{"role": "boss", "content": "x"}]}]}',
            "role is one of",
        ),
        ("a.json", '{"cases": [{"prompt": ""}]}', "has no prompt"),
        (
            "a.json",
            '{"cases": [{"prompt": "x", "scorer": "magic"}]}',
            r"cases\[1\].scorer is one of exact",
        ),
        ("a.json", '{"cases": [{"prompt": "x", "images": ["no.png"]}]}', "cannot read"),
        ("a.json", "3", "a table, not 3"),
    ],
)
def test_what_is_no_suite_is_said(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load(_file(tmp_path, name, text))


def test_plans_survive_being_stored() -> None:
    message = Message("user", (*Message.text_of("user", "q").parts, MediaPart("image/png", "aa")))
    cases = [
        Case((Message.text_of("system", "s"), message), (Scorer("exact", ("x",)),), "n"),
        Case((Message.text_of("system", "s"), message), (Scorer("exact", ("y",)),)),
    ]
    plan = Plan(("a", "role:b"), keyed(cases), Settings(3, 10, 0.5, judge="j"), "name")
    assert len(plan.cases) == 2
    again = plan_from(json.loads(json.dumps(plan_document(plan))))
    assert again == plan


# --- the judge ----------------------------------------------------------------------------------


def test_each_answer_stands_in_both_places() -> None:
    answers = {"a": "first text", "b": "second text"}
    question = Message.text_of("user", "Which?")
    rubric = (Scorer("judge", (), {"rubric": "be short"}),)
    ahead = judge.request(question, answers, rubric, 0, schema=True)
    back = judge.request(question, answers, rubric, 1, schema=False)
    text, turned = ahead.messages[1].text, back.messages[1].text
    assert text.index("first text") < text.index("second text")
    assert turned.index("second text") < turned.index("first text")
    assert "be short" in text
    assert ahead.json_schema is not None
    assert ahead.json_schema["required"] == ["A", "B"]
    assert back.json_schema is None


def test_scores_go_back_to_who_said_it() -> None:
    reply = 'Sure: {"A": 9, "B": 3}'
    assert judge.read(reply, ["a", "b"], 0) == {"a": 0.9, "b": 0.3}
    assert judge.read(reply, ["a", "b"], 1) == {"b": 0.9, "a": 0.3}


@pytest.mark.parametrize(
    "reply", ["", "A is best", '{"A": 9}', '{"A": 11, "B": 1}', '{"A": true, "B": 1}']
)
def test_what_cannot_be_read_scores_nobody(reply: str) -> None:
    assert judge.read(reply, ["a", "b"], 0) == {}


def test_a_judge_that_favours_the_first_place_is_found_out() -> None:
    turns = [judge.read('{"A": 9, "B": 5}', ["a", "b"], turn) for turn in judge.TURNS]
    assert judge.combined(turns) == {"a": 0.7, "b": 0.7}
    assert judge.agrees(turns) is False
    fair = [{"a": 0.9, "b": 0.2}, {"b": 0.3, "a": 0.8}]
    assert judge.agrees(fair) is True
    assert judge.agrees([{"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.4}]) is None
    assert judge.combined([{}, {"a": 0.4}]) == {"a": 0.4}


def test_scorers_together() -> None:
    both = (Scorer("contains", ("x",)), Scorer("judge"))
    found = score_answer(both, "x", 0.5)
    assert found is not None
    assert found.value == 0.75
    assert score_answer((Scorer("judge"),), "x", None) is None
    schema = Scorer("json-schema", (), {"schema": {"type": "object", "required": ["a"]}})
    values = [
        found.value
        for text in ('{"a": 1}', '{"b": 1}', "no")
        if (found := score_answer((schema,), text)) is not None
    ]
    assert values == [1.0, 0.5, 0.0]
    passes = Scorer("command", (), {"command": "grep -q yes"})
    assert [score_answer((passes,), t).value for t in ("oh yes", "no")] == [1.0, 0.0]


def test_the_schema_takes_what_a_suite_may_be() -> None:
    schema = schema_of(SuiteFile, "suite")
    jsonschema.Draft202012Validator.check_schema(schema)
    for text in (tomllib.loads(TOML), yaml.safe_load(YAML)):
        jsonschema.validate(text, schema)
    for wrong in ({}, {"cases": []}, {"cases": [{"promt": "x"}]}, {"cases": ["x"], "scorer": "no"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)

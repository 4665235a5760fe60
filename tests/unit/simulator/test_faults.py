import pytest

from omni_cli.simulator.faults import (
    KINDS,
    Fault,
    FaultBook,
    Rule,
    marks,
    parse_fault,
    parse_faults,
)
from tests.paths import REPO


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("429", Fault("429", 1.0)),
        ("429:2.5", Fault("429", 2.5)),
        ("503*2", Fault("503", None, 2)),
        ("reset-mid:3*1", Fault("reset-mid", 3.0, 1)),
        ("slow-first:0.25", Fault("slow-first", 0.25)),
    ],
)
def test_a_fault_is_written_kind_value_times(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["", "418", "429:", "429:x", "hang*", "429:-1"])
def test_an_unknown_fault_names_the_known_ones(text: str) -> None:
    with pytest.raises(ValueError, match="known: 400, "):
        parse_fault(text)


def test_several_faults_in_a_header_or_a_prompt() -> None:
    wanted = [Fault("slow-first", 1.0), Fault("no-usage")]
    assert parse_faults("slow-first:1, no-usage") == wanted
    assert marks("Hello [[sim:slow-first:1]] there [[sim:no-usage]]") == wanted
    assert marks("no marks [sim:429] here") == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("503", Rule("503")),
        ("anthropic/*=529", Rule("529", "anthropic/*")),
        ("gpt-4o=429:2*3@0.5", Rule("429:2", "gpt-4o", 0.5, 3)),
    ],
)
def test_a_rule_in_its_written_form(text: str, rule: Rule) -> None:
    assert Rule.written(text) == rule
    assert Rule.of(text) == rule


@pytest.mark.parametrize(
    "value", ["x=nope", "503@2", {"fault": "nope"}, {"fault": "503", "model": "x"}, 7]
)
def test_a_bad_rule_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        Rule.of(value)


def test_a_rule_matches_provider_and_model_or_the_bare_model() -> None:
    book = FaultBook([Rule("503", "anthropic/*"), Rule("429", "gpt-4o*")])
    assert [f.kind for f in book.by_rule("anthropic", "claude-3")] == ["503"]
    assert [f.kind for f in book.by_rule("azure", "gpt-4o-mini")] == ["429"]
    assert book.by_rule("google", "gemini-pro") == []


def test_first_and_after_make_an_outage_that_heals() -> None:
    book = FaultBook([Rule("503", first=2, after=1)])
    assert [bool(book.by_rule("p", "m")) for _ in range(5)] == [False, True, True, False, False]
    assert book.listing()[0]["asked"] == 5
    book.clear()
    assert book.listing() == []


def test_probability_follows_the_seed() -> None:
    def fates(seed: int) -> list[bool]:
        book = FaultBook([Rule("500", probability=0.3)], seed)
        return [bool(book.by_rule("p", "m")) for _ in range(400)]

    assert fates(1) == fates(1)
    assert fates(1) != fates(2)
    assert 0.2 < sum(fates(1)) / 400 < 0.4


def test_times_counts_by_model_and_prompt() -> None:
    book = FaultBook()
    fault = parse_fault("503*2")
    assert [book.still(fault, "m", "p") for _ in range(3)] == [True, True, False]
    assert book.still(fault, "m", "another prompt")
    assert all(book.still(parse_fault("503"), "m", "p") for _ in range(5))


def test_every_kind_says_what_it_does() -> None:
    assert all(about.text for about in KINDS.values())
    assert {about.status for about in KINDS.values() if about.status} == {
        400, 401, 402, 403, 404, 429, 500, 502, 503, 529,
    }  # fmt: skip


def test_the_documented_table_is_the_real_one() -> None:
    text = (REPO / "docs" / "simulator.md").read_text()
    for kind, about in KINDS.items():
        default = "" if about.default is None else f"{about.default:g}"
        assert f"| `{kind}` | {about.text} | {default} |" in text

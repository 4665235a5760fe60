"""The type classifier: what it must get right, its bounds, and its shipped weights (B1, F1)."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain import classify as weights
from omni_cli.domain import features
from omni_cli.domain.classify import classify, complexity_of
from omni_cli.domain.features import fired
from omni_cli.domain.lexicon import intents_of
from omni_cli.domain.tasks import TASK_TYPES, Signals
from tests.paths import REPO, shared

FIXTURES = REPO / "fixtures" / "routing"


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def signals_of(row: dict[str, Any]) -> Signals:
    return Signals(
        text=str(row["prompt"]),
        system=str(row.get("system", "")),
        earlier=(str(row["earlier"]),) if row.get("earlier") else (),
        tools=tuple(row.get("tools", ())),
        attachments=tuple(row.get("attachments", ())),
    )


@pytest.mark.parametrize(
    "row", rows_of(FIXTURES / "adversarial.jsonl"), ids=lambda row: str(row["id"])
)
def test_prompts_that_fool_keyword_rules(row: dict[str, Any]) -> None:
    assert classify(signals_of(row)).task_type == row["type"]


def test_traps_are_seen_through() -> None:
    """What a prompt says of itself, words of programs in prose, long pastes with a short question,
    jobs about the text of another job, signs, mixed scripts, base64, short replies."""
    wrong = set()
    for row in rows_of(FIXTURES / "traps.jsonl"):
        found = classify(signals_of(row))
        right = found.task_type in row.get("is", (found.task_type,))
        right = right and found.task_type not in row.get("not", ())
        if not right or found.complexity == row.get("complexity_not"):
            wrong.add(row["id"])
    assert not wrong


@pytest.mark.parametrize(
    ("text", "task_type"),
    [
        ("Schreibe ein Gedicht über einen alten Leuchtturm", "writing"),
        ("Traduisez en anglais : il pleut depuis hier", "translation"),
        ("Resume este artículo en dos frases", "summarization"),
        ("Escreva uma função que conte palavras em Python", "coding"),
        ("Dimostra che la somma di due numeri dispari è pari", "math"),
        ("Привет, как прошёл день?", "chat"),
        ("ارسم قطة نائمة على كتاب", "image"),
        ("इस अनुच्छेद का सारांश लिखें", "summarization"),
        ("把这段话翻译成英文：我明天不来", "translation"),
        ("この記事を要約してください", "summarization"),
        ("파이썬으로 정렬 함수를 작성해 주세요", "coding"),
        ("Bu kod neden hata veriyor? TypeError: x is undefined", "debugging"),
    ],
)
def test_speaks_several_languages(text: str, task_type: str) -> None:
    assert classify(Signals(text)).task_type == task_type


def test_reads_what_surrounds_the_prompt() -> None:
    assert classify(Signals("What is this?", attachments=("image",))).task_type == "image"
    assert classify(Signals("look", attachments=(".py", ".log"))).task_type in {
        "debugging",
        "coding",
    }
    step = Signals("Observation: 2 files changed\nThought:", tools=("bash", "edit"))
    assert classify(step).task_type == "agent_step"
    more = Signals("and in Icelandic?", earlier=("How do you say 'cheers' in Norwegian?",))
    assert classify(more).task_type == "translation"


PLAN = (
    "Plan the migration of our sharded Postgres to several regions without downtime, with "
    "conflict resolution and proofs of its invariants"
)


REPLIES = """
yes|go ahead|ok do it|Sure, please proceed.|continue|yes, write all of it|option 2|👍|lgtm
Ok, fix it|the second one|sí, adelante|oui, vas-y|Ja, mach weiter|да, давай|evet devam et
好的，开始吧|好，請繼續|はい、お願いします
やってください|네 진행해 주세요|हाँ, आगे बढ़ो|نعم، تابع|ได้เลยครับ
"""
OWN_TURNS = """
thanks!|ok thanks|no|haha nice|谢谢|不用了|nein danke|ok what is the capital of Peru|你好
Great, now tell me a joke|ok now translate it to French|right, but who are you
"""


@pytest.mark.parametrize("reply", re.split(r"[|\n]", REPLIES.strip()))
def test_a_short_reply_is_rated_as_what_it_approves(reply: str) -> None:
    """LiteLLM #35471: after a hard plan "yes" went to the cheapest model."""
    alone = classify(Signals(PLAN))
    found = classify(Signals(reply, earlier=("yes", PLAN)))
    assert (found.task_type, found.difficulty) == (alone.task_type, alone.difficulty)
    assert classify(Signals(reply)).complexity == "low"


@pytest.mark.parametrize("turn", re.split(r"[|\n]", OWN_TURNS.strip()))
def test_a_turn_of_its_own_is_rated_as_it_stands(turn: str) -> None:
    found = classify(Signals(turn, earlier=(PLAN,)))
    assert found.difficulty < 0.8 * classify(Signals(PLAN)).difficulty


def test_a_word_counts_however_its_characters_are_written() -> None:
    assert classify(Signals("請證明質數有無限多個")) == classify(Signals("请证明质数有无限多个"))


def test_scripts_and_words_of_everyday_that_are_words_of_programs() -> None:
    """Written after the seeds of their kind, never trained on."""
    rows = rows_of(FIXTURES / "adversarial-scripts.jsonl")
    right = sum(classify(signals_of(row)).task_type == row["type"] for row in rows)
    assert right >= 0.85 * len(rows)


def test_probabilities_cover_all_types_and_sum_to_one() -> None:
    found = classify(Signals("Compare two phones"))
    assert tuple(found.probabilities) == TASK_TYPES
    assert sum(found.probabilities.values()) == pytest.approx(1.0)
    assert max(found.probabilities, key=found.probabilities.__getitem__) == found.task_type


@pytest.mark.parametrize("text", ["", " ", "?", "\x00", "😀", "a" * 5000, "_ " * 900, "$" * 3000])
def test_odd_texts_are_classified(text: str) -> None:
    found = classify(Signals(text))
    assert sum(found.probabilities.values()) == pytest.approx(1.0)
    assert 0 <= found.difficulty <= 1


def test_unsure_is_an_answer() -> None:
    assert not classify(Signals("the report")).sure
    assert classify(Signals("Translate 'bread' into Finnish")).sure


def test_accuracy_on_user_prompts_never_trained_on() -> None:
    """auto-j states no licence: its rows are measured only. 0.66 when the weights were made."""
    import gzip

    from omni_cli.domain.routing_eval import label_for, type_report

    with gzip.open(shared("data", "routing", "tasktype.jsonl.gz"), "rt", encoding="utf-8") as fh:
        rows = [json.loads(line) for line in fh]
    foreign = [row for row in rows if row["source"] == "GAIR-NLP/auto-j"]
    gold = [row["type"] for row in foreign]
    guesses = [
        label_for(classify(Signals(row["prompt"])).task_type, row["type"]) for row in foreign
    ]
    report = type_report(gold, guesses)
    assert len(foreign) == 2002
    assert report.accuracy >= 0.62
    assert report.macro_f1 >= 0.55


def test_seed_set_is_diverse_and_ours() -> None:
    rows = [row for path in sorted(FIXTURES.glob("seed-*.jsonl")) for row in rows_of(path)]
    assert len(rows) >= 1500
    assert {row["type"] for row in rows} == set(TASK_TYPES)
    assert len({row["lang"] for row in rows}) >= 10
    assert len({row["id"] for row in rows}) == len(rows)
    tested = {
        row["prompt"] for path in FIXTURES.glob("adversarial*.jsonl") for row in rows_of(path)
    }
    assert not {row["prompt"] for row in rows} & tested


def test_long_prompts_are_sampled() -> None:
    text = "Summarize this log. " + "The pump was restarted at noon and ran well. " * 5000
    found = features.extract(Signals(text))
    assert len(text) > 200_000
    assert found.shape.length == len(text)
    assert len(features.sample(text)) <= features.HEAD + features.MIDDLE + features.TAIL + 2
    assert len(found.facts) + len(found.spoken) < 400
    assert classify(Signals(text)).task_type == "summarization"


def test_the_end_of_a_long_prompt_counts() -> None:
    text = "The harbour was quiet that winter. " * 400 + "\n\nTranslate the text into Danish."
    assert classify(Signals(text)).task_type == "translation"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, C++ 2024!", ["don't", "stop", ",", "c++", "0", "!"]),
        ("写诗 now", ["写", "诗", "now"]),
        ("über Grüße", ["über", "grüße"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert features.words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Which?\nA. one\nB. two\nC. three", "choice short"),
        ("Pat left as _ was late.\nA) Pat\nB) Lou", "cloze short"),
        ("To be or not to ____", "cloze short"),
        ("Why is the sky blue?", "open short"),
        ("word " * 40, "open medium"),
        ("word " * 200, "open long"),
        ("call my_function_name please", "open short"),
    ],
)
def test_form(text: str, expected: str) -> None:
    assert features.form_of(features.form(text, features.sample(text))) == expected
    assert classify(Signals(text)).form == expected


def test_rules_name_what_is_made() -> None:
    def rules(text: str) -> list[str]:
        return fired(text, features.words(text))

    assert "makes code" in rules("Write a story generator in Go")
    assert "makes prose" in rules("Write a story about a generator")
    assert "in a code tongue" in rules("Write a story generator in Go")
    assert "first translate" in rules("Please translate this")
    assert "symptom of a machine" in rules("why is my function returning zero")
    assert "heart" in rules("I feel sad about my function")
    assert rules("blue") == []


def test_intents_know_stems_and_whole_words() -> None:
    assert intents_of("zusammenfassen") == ("summarize",)
    assert "translate" in intents_of("übersetze")
    assert intents_of("table") == ()


def test_longer_is_harder_and_words_for_it() -> None:
    short = classify(Signals("Prove that 2 is prime."))
    longer = classify(Signals("Prove that 2 is prime." + " Then prove it for the next case." * 60))
    assert short.difficulty < longer.difficulty
    assert classify(Signals("hi")).complexity == "low"
    assert longer.complexity == "high"
    assert [complexity_of(d) for d in (0.0, 0.3, 1.0)] == ["low", "medium", "high"]


def test_weights_round_trip_and_size() -> None:
    data = weights.PATH.read_bytes()
    assert len(data) < 450_000
    assert weights.from_bytes(data).to_bytes() == data
    with pytest.raises(ValueError, match="not a type model"):
        weights.from_bytes(data[:-1])
    with pytest.raises(ValueError, match="not a type model"):
        weights.from_bytes(b"x" + data)


def test_classifying_imports_nothing_heavy() -> None:
    code = (
        "import sys; from omni_cli.domain.classify import classify;"
        "from omni_cli.domain.tasks import Signals; classify(Signals('hi'));"
        "print([m for m in ('numpy', 'pydantic', 'httpx', 'json') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO
    )
    assert out.stdout.strip() == "[]"


def test_training_is_reproducible() -> None:
    from tools.linear import encode, fit, quantised

    rows = rows_of(FIXTURES / "seed-translation.jsonl")[:60]
    rows += rows_of(FIXTURES / "seed-math.jsonl")[:60]
    encoded = [encode(row) for row in rows]
    labels = [str(row["type"]) for row in rows]
    once, again = (quantised(fit(encoded, labels, [1.0] * 120), 1.3).to_bytes() for _ in range(2))
    assert once == again
    assert weights.from_bytes(once).step > 0

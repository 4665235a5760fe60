"""Decide locally what kind of job a prompt is, and how hard (B1): offline, under half a ms."""

import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from operator import itemgetter
from pathlib import Path

from msgspec import Struct

from omni_cli.domain.features import BUCKETS, Features, Form, extract, form_of, words
from omni_cli.domain.lexicon import (
    AROUND_GO_ON,
    AROUND_INSIDE,
    CLOSING,
    CLOSING_INSIDE,
    GO_ON,
    GO_ON_INSIDE,
    PICKS,
    intents_of,
    pieces,
    simplified,
)
from omni_cli.domain.record import replace
from omni_cli.domain.tasks import TASK_TYPES, Complexity, Signals, TaskEstimate

#: What a type adds to the score, in logits, mixed by the type probabilities.
BY_TYPE: Mapping[str, float] = {
    "chat": -0.45,
    "translation": -0.4,
    "summarization": -0.2,
    "extraction": -0.2,
    "writing": -0.1,
    "image": -0.25,
    "math": 0.3,
    "reasoning": 0.35,
    "coding": 0.15,
    "debugging": 0.25,
    "research": 0.2,
    "analysis": 0.2,
    "agent_step": 0.1,
}
#: Weight of the natural logarithm of the length in characters, and the length that counts zero.
BY_LENGTH, TYPICAL = 0.75, math.exp(5.2)
#: Complexity is low below the first, high from the second on.
LOW, HIGH = 0.24, 0.5


def difficulty_of(probabilities: Mapping[str, float], shape: Form) -> float:
    """0..1: logistic in log-length and the mixed type.

    Signs of formal work (LaTeX, answer options) were tried and made the order worse.
    """
    score = BY_LENGTH * math.log((shape.length + 20) / TYPICAL)
    score += sum(BY_TYPE[task] * chance for task, chance in probabilities.items())
    return 1 / (1 + math.exp(-score))


def complexity_of(difficulty: float) -> Complexity:
    """The coarse word for a difficulty in 0..1."""
    return "low" if difficulty < LOW else "high" if difficulty >= HIGH else "medium"


MAGIC = b"omni-types-1\n"
PATH = Path(__file__).resolve().parents[1] / "data" / "task_types.bin"
#: Bytes hold weight + OFFSET, so that a sum over unsigned bytes needs no sign handling.
OFFSET = 128
_HEAD = struct.Struct(f"<2d{len(TASK_TYPES)}d")


class TypeModel(Struct, frozen=True):
    """``columns``: BUCKETS bytes per type, in TASK_TYPES order. ``bias``: one logit per type.

    A logit is bias + step * (facts_scale * sum over facts + sum over spoken / sqrt(count)).
    The temperature fitted on held-out sources is part of ``step`` and ``bias`` already.
    """

    step: float
    facts_scale: float
    bias: tuple[float, ...]
    columns: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        head = _HEAD.pack(self.step, self.facts_scale, *self.bias)
        return MAGIC + head + b"".join(self.columns)


def from_bytes(data: bytes) -> TypeModel:
    """Raises ValueError when ``data`` is not a type model of this version."""
    start = len(MAGIC) + _HEAD.size
    if not data.startswith(MAGIC) or len(data) != start + BUCKETS * len(TASK_TYPES):
        raise ValueError("not a type model of this version")
    step, facts_scale, *bias = _HEAD.unpack_from(data, len(MAGIC))
    columns = tuple(
        data[start + i * BUCKETS : start + (i + 1) * BUCKETS] for i in range(len(TASK_TYPES))
    )
    return TypeModel(step, facts_scale, tuple(bias), columns)


@lru_cache(maxsize=1)
def shipped() -> TypeModel:
    """The model of the package (about 0.4 MB)."""
    return from_bytes(PATH.read_bytes())


#: Unsure when the two likeliest types are closer than this. Below it the first is right less
#: than six times in ten on sources the model has not seen (docs/routing-figures.md).
SURE_MARGIN = 0.25


def logits(model: TypeModel, features: Features) -> list[float]:
    """One calibrated logit per type, in TASK_TYPES order."""
    facts, spoken = itemgetter(*features.facts), itemgetter(*features.spoken)
    n_facts, n_spoken = len(features.facts) * OFFSET, len(features.spoken) * OFFSET
    by_fact = model.step * model.facts_scale
    by_word = model.step / math.sqrt(len(features.spoken))
    return [
        bias + by_fact * (sum(facts(column)) - n_facts) + by_word * (sum(spoken(column)) - n_spoken)
        for bias, column in zip(model.bias, model.columns, strict=True)
    ]


def probabilities_of(scores: list[float]) -> list[float]:
    """Softmax."""
    top = max(scores)
    raised = [math.exp(score - top) for score in scores]
    total = sum(raised)
    return [value / total for value in raised]


#: A turn of more characters, or of more words, says for itself what it wants.
SHORT_TURN, FEW_WORDS = 80, 9
#: Jobs that go on with a plan: "write it", "fix it". "Translate it" is another one.
_OF_A_PLAN = frozenset({"agent", "code", "debug", "write"})


def lets_go_on(text: str) -> bool:
    """Whether a turn only approves, picks or continues: "yes, do it", "option 2", "好的，开始吧".

    A question, thanks, and words of another job are not that.
    """
    if len(text) > SHORT_TURN or any(mark in text for mark in "?？؟"):
        return False
    left = simplified(text.lower()).replace("’", "'")
    going = left.count("👍") + left.count("✅")
    if not left.isascii():
        if any(word in left for word in pieces(CLOSING_INSIDE)):
            return False
        for piece in pieces(GO_ON_INSIDE):
            going += left.count(piece)
            left = left.replace(piece, " ")
        for piece in pieces(AROUND_INSIDE):
            left = left.replace(piece, " ")
    spoken = [word for word in words(left) if word[0].isalnum()]
    going += sum(word in GO_ON for word in spoken)
    own = [word for word in spoken if word not in GO_ON and word not in AROUND_GO_ON]
    if going == 0:
        return bool(spoken) and PICKS.issuperset(word for word in spoken if word != "the")
    jobs = {intent for word in own for intent in intents_of(word)}
    return (
        len(spoken) <= FEW_WORDS
        and CLOSING.isdisjoint(own)
        and (jobs <= _OF_A_PLAN if len(own) <= 1 else len(own) == 2 and not jobs)
    )


def classify(signals: Signals) -> TaskEstimate:
    """Estimate type, complexity and difficulty of a request; no text is too odd or too long.

    A turn that only lets the work go on is rated as the turn that asked for the work.
    """
    if signals.earlier and lets_go_on(signals.text):
        for i, turn in enumerate(signals.earlier):
            if turn and not lets_go_on(turn):
                return _estimate(replace(signals, text=turn, earlier=signals.earlier[i + 1 :]))
    return _estimate(signals)


def _estimate(signals: Signals) -> TaskEstimate:
    features = extract(signals)
    chances = probabilities_of(logits(shipped(), features))
    ranked = sorted(range(len(TASK_TYPES)), key=lambda i: -chances[i])
    probabilities = dict(zip(TASK_TYPES, chances, strict=True))
    difficulty = difficulty_of(probabilities, features.shape)
    return TaskEstimate(
        task_type=TASK_TYPES[ranked[0]],
        probabilities=probabilities,
        complexity=complexity_of(difficulty),
        difficulty=difficulty,
        sure=chances[ranked[0]] - chances[ranked[1]] >= SURE_MARGIN,
        form=form_of(features.shape),
    )

"""Train and measure the type classifier (B1).

    python -m tools.train_classifier            train, write omni_cli/data/task_types.bin
    python -m tools.train_classifier --check    train again, compare with the file byte by byte
    python -m tools.train_classifier --measure  cross-validated and leave-source-out figures

Trained on: fixtures/routing/seed-*.jsonl (ours, CC0); the rows of the shared ``tasktype`` file
whose licence is MIT or Apache-2.0; questions of the shared benchmarks, labelled by their source
(all MIT or Apache-2.0, see docs/routing-figures.md). The rows of GAIR-NLP/auto-j, which state no
licence, are measured, never trained on; nor is fixtures/routing/adversarial*.jsonl.
"""

import argparse
import json
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

from omni_cli.domain.classify import PATH
from omni_cli.domain.routing_eval import fold_of, label_for, type_report
from omni_cli.domain.tasks import TASK_TYPES
from tools.linear import (
    WEIGHT,
    Encoded,
    Fitted,
    best_temperature,
    encode,
    expected_calibration_error,
    fit,
    quantised,
    scores,
    softmax,
)
from tools.routing_data import (
    MAY_SHIP,
    SEED,
    read,
    seed_rows,
    sourced_rows,
    tasktype_rows,
)

Row = dict[str, Any]
FOLDS = 5
NUMBER = {task: i for i, task in enumerate(TASK_TYPES)}
#: tasktype source -> the benchmark file with questions of the same origin.
SAME_ORIGIN = {
    "ulab-uiuc/LLMRouter": "llmrouter",
    "Big-Math": "bigmath",
    "ShishirPatil/gorilla": "bfcl",
}


class Corpus:
    """Training rows with their encodings and weights; ``foreign`` rows are only measured."""

    def __init__(self) -> None:
        labelled = tasktype_rows()
        self.seed = seed_rows()
        self.labelled = [row for row in labelled if row["licence"] in MAY_SHIP]
        self.foreign = [row for row in labelled if row["licence"] not in MAY_SHIP]
        self.sourced = sourced_rows(400)
        self.rows = [*self.seed, *self.labelled, *self.sourced]
        self._weight = {id(row): WEIGHT["seed"] for row in self.seed}
        self._weight |= {id(row): WEIGHT["labelled"] for row in self.labelled}
        self._weight |= {id(row): WEIGHT["benchmark"] for row in self.sourced}
        #: By identity; the row is kept, so that no other takes its number.
        self._encoded: dict[int, tuple[Row, Encoded]] = {}

    def encoded(self, row: Row) -> Encoded:
        if id(row) not in self._encoded:
            self._encoded[id(row)] = row, encode(row)
        return self._encoded[id(row)][1]

    def fit(self, *, fold: int | None = None, without: Collection[str | None] = ()) -> Fitted:
        """Train on all rows but those of one fold, or of some sources."""
        rows = [
            row
            for row in self.rows
            if row["source"] not in without
            and (fold is None or fold_of(row["prompt"], FOLDS) != fold)
        ]
        return fit(
            [self.encoded(row) for row in rows],
            [row["type"] for row in rows],
            [self._weight[id(row)] for row in rows],
        )


def cross_validated(corpus: Corpus, rows: Sequence[Row]) -> dict[int, Any]:
    """Scores of each row by a model that saw neither it nor a row of the same words."""
    out = {}
    for fold in range(FOLDS):
        model = corpus.fit(fold=fold)
        for row in rows:
            if fold_of(row["prompt"], FOLDS) == fold:
                out[id(row)] = scores(model, corpus.encoded(row))
    return out


def source_left_out(corpus: Corpus, rows: Sequence[Row]) -> dict[int, Any]:
    """Scores of each row by a model that saw nothing of the row's source."""
    out = {}
    for source in sorted({row["source"] for row in rows}):
        without = {source, SAME_ORIGIN.get(source)}
        model = corpus.fit(without=without)
        for row in rows:
            if row["source"] == source:
                out[id(row)] = scores(model, corpus.encoded(row))
    return out


def train(corpus: Corpus) -> bytes:
    held_out = source_left_out(corpus, corpus.labelled)
    temperature = best_temperature(
        [held_out[id(row)] for row in corpus.labelled],
        [NUMBER[row["type"]] for row in corpus.labelled],
    )
    print(f"temperature {temperature:.2f}, fitted on sources left out of training")
    return quantised(corpus.fit(), temperature).to_bytes()


def show(
    name: str,
    rows: Sequence[Row],
    found: dict[int, Any],
    temperature: float,
    names: Callable[[str, str], str] = label_for,
) -> None:
    """Print a line of figures; ``names`` turns a guess and a label into the label's words."""
    chances = [softmax(found[id(row)] / temperature) for row in rows]
    guesses = [
        names(TASK_TYPES[int(c.argmax())], row["type"])
        for c, row in zip(chances, rows, strict=True)
    ]
    report = type_report([row["type"] for row in rows], guesses)
    error = expected_calibration_error(
        [float(c.max()) for c in chances],
        [g == row["type"] for g, row in zip(guesses, rows, strict=True)],
    )
    top = [sorted(c)[-2:] for c in chances]
    sure = [b - a >= 0.25 for a, b in top]
    hits = [g == row["type"] for g, row in zip(guesses, rows, strict=True)]
    right = sum(h for h, s in zip(hits, sure, strict=True) if s) / max(1, sum(sure))
    wrong = sum(h for h, s in zip(hits, sure, strict=True) if not s) / max(1, len(sure) - sum(sure))
    print(
        f"{name:34s} n={len(rows):5d} accuracy={report.accuracy:.3f} macro_f1={report.macro_f1:.3f}"
        f" ece={error:.3f} sure={sum(sure) / len(sure):.2f} (right {right:.3f}, unsure {wrong:.3f})"
    )
    print("   f1 " + json.dumps({task: round(f1, 2) for task, f1 in report.f1.items()}))


def measure(corpus: Corpus) -> None:
    every = [*corpus.labelled, *corpus.foreign]
    temperature_rows = source_left_out(corpus, corpus.labelled)
    temperature = best_temperature(
        [temperature_rows[id(row)] for row in corpus.labelled],
        [NUMBER[row["type"]] for row in corpus.labelled],
    )
    print(
        f"rows: seed {len(corpus.seed)}, tasktype {len(corpus.labelled)} trainable and "
        f"{len(corpus.foreign)} only measured, benchmarks "
        f"{len(corpus.sourced)}; T={temperature:.2f}"
    )
    crossed = cross_validated(corpus, every)
    show("tasktype, 5-fold", every, crossed, temperature)
    show("  trainable rows", corpus.labelled, crossed, temperature)
    show("  auto-j (never trained on)", corpus.foreign, crossed, temperature)
    left = source_left_out(corpus, every)
    show("tasktype, source left out", every, left, temperature)
    for source in sorted({row["source"] for row in every}):
        show(
            "  without " + source[:24],
            [row for row in every if row["source"] == source],
            left,
            temperature,
        )
    others = {row["source"] for row in corpus.rows} - {"seed"}
    seed_only = corpus.fit(without=others)
    show(
        "tasktype, seed set alone",
        every,
        {id(r): scores(seed_only, corpus.encoded(r)) for r in every},
        temperature,
    )
    full = corpus.fit()
    for path in sorted(SEED.glob("adversarial*.jsonl")):
        rows = list(read(path))
        show(
            path.stem,
            rows,
            {id(r): scores(full, corpus.encoded(r)) for r in rows},
            temperature,
            lambda guess, _: guess,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    parser.add_argument("--measure", action="store_true", help="print the figures")
    given = parser.parse_args()
    corpus = Corpus()
    if given.measure:
        measure(corpus)
        return 0
    data = train(corpus)
    if given.check:
        same = PATH.read_bytes() == data
        print("the committed weights are reproduced to the byte" if same else "DIFFERENT weights")
        return 0 if same else 1
    PATH.write_bytes(data)
    print(f"wrote {PATH.name}: {len(data)} bytes from {len(corpus.rows)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())

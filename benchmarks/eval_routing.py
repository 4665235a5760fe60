"""What routing by the quality table gains on the shared benchmarks, honestly folded.

    python -m benchmarks.eval_routing [--scores FILE]

Type probabilities come from a classifier trained without the fold (``crossed``) or without
anything of the benchmark's source (``foreign``). The table of quality by (type, form) and model
is always fitted on the other folds' outcomes: it is the in-domain reference of what a table can
do once it knows its models. ``difficulty`` alone has seen no outcome of any model.
``--scores`` writes lines that ``eval_router.py --scores`` reads: same figures, foreign code.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omni_cli.domain.classify import difficulty_of
from omni_cli.domain.features import form, form_of, sample
from omni_cli.domain.routing_eval import (
    LadderReport,
    cross_fitted,
    fold_of,
    ladder_report,
    pair_curve,
)
from omni_cli.domain.tasks import TASK_TYPES
from tools.linear import best_temperature, scores, softmax
from tools.routing_data import bench_rows, index
from tools.train_classifier import FOLDS, NUMBER, SAME_ORIGIN, Corpus, source_left_out

Row = dict[str, Any]
Chances = Sequence[Mapping[str, float]]
BENCHES = ("mmlu_routellm", "routerbench", "mmlupro", "llmrouter", "bfcl", "mix_mixtral_gpt4")
#: Weight of difficulty against the table's expected gap: it breaks ties between like cells.
TIE_BREAK = 0.1


def chances_by(
    corpus: Corpus, rows: Mapping[str, Sequence[Row]], temperature: float, *, foreign: bool
) -> dict[str, list[dict[str, float]]]:
    """Type probabilities of every row of every benchmark, by models that did not see it."""
    found: dict[tuple[str, str], dict[str, float]] = {}

    def note(bench: str, row: Row, model: Any) -> None:
        p = softmax(scores(model, corpus.encoded(row)) / temperature)
        found[bench, row["id"]] = dict(zip(TASK_TYPES, map(float, p), strict=True))

    if foreign:
        origin = {bench: source for source, bench in SAME_ORIGIN.items()}
        for bench in rows:
            # The mixture is made of these two.
            without = {"mmlu_routellm", "routerbench"} if bench.startswith("mix") else {bench}
            without.add(origin.get(bench, bench))
            model = corpus.fit(without=without)
            for row in rows[bench]:
                note(bench, row, model)
    else:
        for fold in range(FOLDS):
            model = corpus.fit(fold=fold)
            for bench, some in rows.items():
                for row in some:
                    if fold_of(row["prompt"], FOLDS) == fold:
                        note(bench, row, model)
    return {bench: [found[bench, row["id"]] for row in some] for bench, some in rows.items()}


def costs_of(rows: Sequence[Row], info: Mapping[str, Any]) -> list[list[float]] | None:
    prices = info.get("price_per_mtok") or {}
    if "c" in rows[0]:
        return [row["c"] for row in rows]
    if all(prices.get(model) for model in info["models"]):
        return [[prices[model] for model in info["models"]]] * len(rows)
    return None


def show_ladder(name: str, report: LadderReport, against: LadderReport | None = None) -> None:
    """Print AIQ and savings at shares of the quality of ``against``'s best single model."""
    other = against or report

    def percent(value: float | None) -> str:
        return "never" if value is None else f"{value:.1%}"

    savings = "  ".join(
        f"{share:g}: {percent(report.saving_against(share * other.best_quality, other.best_cost))}"
        for share in (1, 0.99, 0.98, 0.95)
    )
    print(
        f"   {name:34s} AIQ {report.aiq:.4f} (single {report.single_aiq:.4f})  saved at {savings}"
    )


def checked_cascade(
    rows: Sequence[Row], predicted: list[list[float]], cost: list[list[float]], chances: Chances
) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
    """Adds a column: the three cheapest models that are not hopeless, then the best, on coding.

    Coding answers are checked by running the benchmark's own tests; the first that passes stands
    and every attempt is paid. Elsewhere the column repeats the best model.
    """
    columns = range(len(cost[0]))
    mean = [sum(c[k] for c in cost) / len(cost) for k in columns]
    best = max(columns, key=lambda k: sum(row["s"][k] for row in rows))
    ladder = [k for k in sorted(columns, key=mean.__getitem__) if k != best][:3]
    ladder.append(best)
    quality, spent, guess = [], [], []
    for row, p, c, chance in zip(rows, predicted, cost, chances, strict=True):
        if max(chance, key=chance.__getitem__) == "coding":
            paid, got, missed = 0.0, 0.0, 1.0
            for k in ladder:
                paid, missed = paid + c[k], missed * (1 - p[k])
                got = row["s"][k]
                if got >= 1:
                    break
            quality.append([*row["s"], got])
            spent.append([*c, paid])
            guess.append([*p, 1 - missed])
        else:
            quality.append([*row["s"], row["s"][best]])
            spent.append([*c, c[best]])
            guess.append([*p, p[best] - 1e-9])
    return quality, spent, guess


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scores", type=Path, help="write id, q and p_weak_ok here")
    given = parser.parse_args()
    corpus, infos = Corpus(), index()["benches"]
    held_out = source_left_out(corpus, corpus.labelled)
    temperature = best_temperature(
        [held_out[id(row)] for row in corpus.labelled],
        [NUMBER[row["type"]] for row in corpus.labelled],
    )
    rows = {bench: bench_rows(bench) for bench in BENCHES}
    sources = {
        "crossed": chances_by(corpus, rows, temperature, foreign=False),
        "foreign": chances_by(corpus, rows, temperature, foreign=True),
    }
    shapes = {
        bench: [form(r["prompt"], sample(r["prompt"])) for r in some]
        for bench, some in rows.items()
    }
    apgrs: dict[str, list[float]] = {}
    written: list[Row] = []
    for bench in BENCHES:
        info, some = infos[bench], rows[bench]
        models = info["models"]
        weak, strong = models.index(info["weak"]), models.index(info["strong"])
        quality = [row["s"] for row in some]
        folds = [fold_of(row["prompt"], FOLDS) for row in some]
        cost = costs_of(some, info)
        print(f"{bench}  n={len(some)}")

        def two(
            name: str, hard: Sequence[float], quality: Any = quality, w: int = weak, s: int = strong
        ) -> None:
            nothing = [0.0] * len(hard)
            got = pair_curve(
                [-h for h in hard],
                [q[w] for q in quality],
                [q[s] for q in quality],
                nothing,
                nothing,
            )
            apgrs.setdefault(name, []).append(got.apgr or 0.0)
            print(f"   {name:34s} APGR {got.apgr:.4f}")

        two("length", [float(len(row["prompt"])) for row in some])
        for source, by_bench in sources.items():
            chances = by_bench[bench]
            hard = [difficulty_of(c, s) for c, s in zip(chances, shapes[bench], strict=True)]
            two(f"difficulty, {source} types", hard)
            for grain in ("type", "type and form"):
                names = [form_of(s) if grain != "type" else "any" for s in shapes[bench]]
                predicted = cross_fitted(chances, names, quality, folds)
                gap = [
                    p[strong] - p[weak] + TIE_BREAK * h
                    for p, h in zip(predicted, hard, strict=True)
                ]
                two(f"table by {grain}, {source}", gap)
                if cost:
                    report = ladder_report(
                        models,
                        [dict(zip(models, p, strict=True)) for p in predicted],
                        quality,
                        cost,
                    )
                    show_ladder(f"table by {grain}, {source}", report)
                if cost and grain != "type" and bench == "routerbench":
                    q2, c2, p2 = checked_cascade(some, predicted, cost, chances)
                    more = [*models, "coding checked"]
                    show_ladder(
                        "  and coding answers checked",
                        ladder_report(more, [dict(zip(more, p, strict=True)) for p in p2], q2, c2),
                        report,
                    )
                if source == "crossed" and grain != "type":
                    written += [
                        {
                            "id": row["id"],
                            "type": max(c, key=c.__getitem__),
                            "p_weak_ok": round(1 - g, 6),
                            "q": {m: round(v, 5) for m, v in zip(models, p, strict=True)},
                        }
                        for row, c, g, p in zip(some, chances, gap, predicted, strict=True)
                        if bench != "mix_mixtral_gpt4"
                    ]
        if cost:
            groups = [row["group"] for row in some]
            exact = cross_fitted([{"all": 1.0}] * len(some), groups, quality, folds)
            show_ladder(
                "exact task names, as a limit",
                ladder_report(
                    models, [dict(zip(models, p, strict=True)) for p in exact], quality, cost
                ),
            )
    print("mean APGR of", len(BENCHES))
    for name, values in apgrs.items():
        print(f"   {name:34s} {sum(values) / len(values):.4f}  MMLU {values[0]:.4f}")
    if given.scores:
        given.scores.write_text(
            "".join(json.dumps(row) + "\n" for row in written), encoding="utf-8"
        )


if __name__ == "__main__":
    main()

"""A comparison's report as JSON values, Markdown, HTML and JUnit XML."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from omni_cli.domain.assertions import FIGURES, Assertion
from omni_cli.domain.compare import NOTHING_SHOWN, Results
from omni_cli.domain.ids import id_text, id_time_ms
from omni_cli.domain.money import format_sum, format_usd, usd, usd_string
from omni_cli.domain.periods import iso
from omni_cli.domain.scoring import verdict
from omni_cli.domain.statistics import Interval
from omni_cli.domain.words import counted
from omni_cli.records import ComparisonRow
from omni_cli.services.judge.compare import Estimate
from omni_cli.services.judge.compare_plan import Plan
from omni_cli.services.judge.compare_report import Answer, Report

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def results_document(found: Results) -> dict[str, Any]:
    """ModelComparisonResults of the model-provider-management spec: milliseconds, US dollars,
    rates 0 to 1; null where unknown, or where no difference is shown."""
    return {
        "summary": {
            "winner": found.winner,
            "bestForCost": found.best["cost"].name,
            "bestForSpeed": found.best["speed"].name,
            "bestForAccuracy": found.best["accuracy"].name if found.scored else None,
        },
        "detailedResults": {
            name: {
                "performance": {
                    "avgResponseTime": _rounded(_value(own.latency_ms), 1),
                    "successRate": _rounded(_value(own.success), 6),
                    "accuracyScore": _rounded(_value(own.accuracy), 6),
                    "consistencyScore": _rounded(own.consistency, 6),
                },
                "cost": {
                    "totalCost": _usd(own.total_nusd),
                    "costPerRequest": _usd(_value(own.per_request_nusd)),
                    "costPerAccurateResult": _usd(own.per_accurate_nusd),
                },
                "quality": {
                    "accurateResults": own.accurate,
                    "partialResults": own.partial,
                    "failedResults": own.failed,
                },
            }
            for name, own in found.figures.items()
        },
        "recommendations": [
            {
                "modelId": item.model,
                "reason": item.reason,
                # Down: a cap that rounding passes is none.
                "confidence": math.floor(item.confidence * 10_000) / 10_000,
                "tradeoffs": list(item.tradeoffs),
            }
            for item in found.recommendations
        ],
    }


def intervals_document(found: Results) -> dict[str, Any]:
    """The 95 % intervals, [low, high], who is tied with the best, and why nobody won."""
    return {
        "confidenceLevel": 0.95,
        "noWinner": found.no_winner or None,
        "tied": {criterion: list(best.tied) for criterion, best in found.best.items()},
        "intervals": {
            name: {
                "avgResponseTime": _ends(own.latency_ms, 1.0, floor=0.0),
                "successRate": _ends(own.success, 1.0),
                "accuracyScore": _ends(own.accuracy, 1.0),
                "costPerRequest": _ends(own.per_request_nusd, 1e-9, floor=0.0),
            }
            for name, own in found.figures.items()
        },
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _usd(nusd: float | None) -> float | None:
    """Means keep parts of a nano-dollar: two that differ must not look alike."""
    return None if nusd is None else round(nusd / 1e9, 15)


def _ends(
    interval: Interval | None, scale: float, *, floor: float | None = None
) -> list[float | None] | None:
    if interval is None:
        return None
    low = interval.low if floor is None else max(interval.low, floor)
    return [None if math.isinf(end) else round(end * scale, 12) for end in (low, interval.high)]


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value


#: Below so many prompts hardly any difference can be shown.
FEW_UNITS = 10


class Checked(Struct, frozen=True):
    """An assertion on one contender; ``holds`` False also where a figure is unknown."""

    text: str
    model: str
    holds: bool
    figures: Mapping[str, float | None]


def check(
    report: Report, assertions: Sequence[Assertion], alias: Mapping[str, str]
) -> list[Checked]:
    """Args:
    alias: from names as written in assertions to contenders.
    """
    details = results_document(report.results)["detailedResults"]
    found = []
    for assertion in assertions:
        names = report.plan.contenders
        if assertion.model is not None:
            names = (alias.get(assertion.model, assertion.model),)
        for name in names:
            own = details.get(name)
            figures = {
                figure: None if own is None else own[group][field]
                for figure, (group, field) in FIGURES.items()
            }
            used = {figure: figures[figure] for figure in sorted(assertion.names)}
            found.append(Checked(assertion.text, name, assertion.test(figures), used))
    return found


def document(report: Report, checked: Sequence[Checked] = ()) -> dict[str, Any]:
    """What ``omni compare --json`` prints: the spec's ModelComparisonResults, and what stands
    behind it."""
    judge = report.judge
    return {
        "comparison": id_text(report.id),
        "name": report.plan.name,
        "state": report.state,
        "models": list(report.plan.contenders),
        "prompts": len(report.plan.cases),
        "iterations": report.plan.settings.iterations,
        "missing": report.missing,
        "spent_usd": usd_string(report.spent_nusd),
        "unknown_calls": report.unknown,
        **results_document(report.results),
        "statistics": intervals_document(report.results),
        "judge": None
        if judge is None
        else {
            "model": judge.model,
            "calls": judge.calls,
            "unreadable": judge.unreadable,
            "cost_usd": usd(judge.cost_nusd),
            "orderAgreement": judge.agreement,
            "firstPlaceBonus": judge.first_bonus,
            "ratedByUser": judge.rated,
            "agreementWithUser": judge.with_user,
            "rankCorrelationWithUser": judge.rank,
        },
        "assertions": [
            {
                "assertion": one.text,
                "model": one.model,
                "holds": one.holds,
                "figures": dict(one.figures),
            }
            for one in checked
        ],
        "answers": [_answer(report, answer) for answer in report.answers],
    }


def _answer(report: Report, answer: Answer) -> dict[str, Any]:
    row = answer.row
    case = report.plan.cases[row.prompt]
    return {
        "id": id_text(row.request),
        "prompt": case.name or case.prompt,
        "hash": row.prompt,
        "iteration": row.iteration,
        "contender": row.contender,
        "model": row.model,
        "state": row.state,
        "score": answer.score,
        "verdict": None if answer.score is None else verdict(answer.score),
        "why": answer.why,
        "latency_ms": row.latency_ms,
        "ttft_ms": row.ttft_ms,
        "cost_usd": usd(row.cost_nusd),
        "finish_reason": row.finish_reason,
        "error": row.error_code,
        "error_message": row.error_message,
        "output": row.output,
    }


def summary_lines(report: Report) -> list[str]:
    """The verdict in words: who won or why nobody did, first."""
    found = report.results
    summary = results_document(found)["summary"]
    lines = [f"winner: {found.winner or found.no_winner}"]
    if len(report.plan.contenders) == 1:
        return lines
    of_those = len(found.answered) < len(report.plan.contenders)
    labels = (("bestForAccuracy", "most accurate"), ("bestForCost", "cheapest"),
              ("bestForSpeed", "fastest"))  # fmt: skip
    for key, label in labels:
        if key == "bestForAccuracy" and not found.scored:
            lines.append(f"{label}: unknown, nothing to score the answers by")
        elif len(found.answered) < 2:
            lines.append(f"{label}: {', '.join(found.answered) or 'nobody'} alone answered")
        else:
            name = summary[key]
            lines.append(
                f"{label}: {name or NOTHING_SHOWN}"
                + (", of those that answered" if name and of_those else "")
            )
    for item in found.recommendations:
        given_up = f"; {'; '.join(item.tradeoffs)}" if item.tradeoffs else ""
        lines.append(f"{item.model}: {item.reason} (confidence {item.confidence:.0%}){given_up}")
    if found.no_winner == NOTHING_SHOWN and found.units < FEW_UNITS:
        lines.append(
            f"{counted(found.units, 'prompt or repetition tells', 'prompts or repetitions tell')} "
            "little: add prompts, or --iterations"
        )
    elif found.no_winner and not found.scored:
        lines.append("--expect, --scorer or --judge says what a good answer is")
    return lines


HEADS = ("model", "accuracy", "success", "response", "consistency", "cost", "per request",
         "per accurate", "accurate", "partial", "failed")  # fmt: skip


def rows(report: Report) -> list[tuple[str, ...]]:
    """A line for each contender, with 95 % intervals in brackets."""
    found: list[tuple[str, ...]] = []
    for name, own in report.results.figures.items():
        each = own.per_request_nusd
        found.append(
            (
                name,
                _share(own.accuracy),
                _share(own.success),
                "-" if own.latency_ms is None else f"{own.latency_ms.value / 1000:.2f} s",
                "-" if own.consistency is None else f"{own.consistency:.2f}",
                format_usd(own.total_nusd),
                format_usd(None if each is None else round(each.value)),
                "-" if own.per_accurate_nusd is None else format_usd(round(own.per_accurate_nusd)),
                str(own.accurate) if report.results.scored else "-",
                str(own.partial) if report.results.scored else "-",
                str(own.failed),
            )
        )
    return found


def _share(interval: Any) -> str:
    if interval is None:
        return "-"
    return f"{interval.value:.0%} [{interval.low:.0%} to {interval.high:.0%}]"


def judge_line(report: Report) -> str:
    """What the judge cost and how far it can be trusted; "" without one."""
    judge = report.judge
    if judge is None:
        return ""
    parts = [f"judge {judge.model}: {counted(judge.calls, 'call')}, {format_usd(judge.cost_nusd)}"]
    if judge.unreadable:
        parts.append(f"{judge.unreadable} unreadable")
    if judge.agreement is not None:
        parts.append(f"both orders agree on {judge.agreement:.0%}")
    if judge.with_user is not None:
        parts.append(f"sides with your ratings on {judge.with_user:.0%} of {judge.rated}")
    return ", ".join(parts)


def markdown(report: Report, checked: Sequence[Checked]) -> str:
    lines = [f"# Comparison {report.plan.name or id_text(report.id)}", ""]
    lines += [f"- {line}" for line in summary_lines(report)]
    lines += ["", f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows(report)]
    lines += ["", f"{_counts(report)}. Brackets are 95 % intervals."]
    if report.judge is not None:
        lines.append(f"{judge_line(report)}.")
    if checked:
        lines += ["", "## Assertions", ""]
        lines += [f"- {'✓' if c.holds else '✗'} {c.model}: `{c.text}`" for c in checked]
    lines += ["", "## Answers"]
    for key, answers in _grouped(report).items():
        lines += ["", f"### {_cell(_title(report, key))}", ""]
        for answer in answers:
            row = answer.row
            score = "" if answer.score is None else f", score {answer.score:.2f}"
            lines.append(f"**{row.contender}** #{row.iteration + 1}{score}")
            text = row.output if row.state == "ok" else f"failed: {row.error_message}"
            lines += ["", *(f"> {line}" for line in text.splitlines() or [""]), ""]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _counts(report: Report) -> str:
    settings = report.plan.settings
    return (
        f"{counted(len(report.plan.cases), 'prompt')}, "
        f"{counted(settings.iterations, 'iteration')}, "
        f"{format_sum(report.spent_nusd, report.unknown)} spent"
    )


def _grouped(report: Report) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for answer in report.answers:
        found.setdefault(answer.row.prompt, []).append(answer)
    return found


def _title(report: Report, prompt: str) -> str:
    case = report.plan.cases[prompt]
    text = case.name or case.prompt.strip().split("\n")[0]
    return text[:100]


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;"
    "color:#1c2128;background:#fff}table{border-collapse:collapse;width:100%}"
    "td,th{border:1px solid #d0d7de;padding:.3rem .5rem;text-align:left}"
    "pre{white-space:pre-wrap;background:#f6f8fa;padding:.6rem;border-radius:6px}"
    ".answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:1rem}"
    ".bad{color:#b3261e}.good{color:#1a7f37}"
    "@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}"
    "pre{background:#161b22}td,th{border-color:#30363d}}"
)


def html(report: Report, checked: Sequence[Checked]) -> str:
    """One file without scripts or anything fetched; answers are shown as text."""
    from html import escape

    title = escape(f"Comparison {report.plan.name or id_text(report.id)}")
    out = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1><ul>",
        *(f"<li>{escape(line)}</li>" for line in summary_lines(report)),
        "</ul><table><tr>",
        *(f"<th>{escape(head)}</th>" for head in HEADS),
        "</tr>",
    ]
    out += [
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows(report)
    ]
    out.append(f"</table><p>{escape(_counts(report))}. Brackets are 95 % intervals.</p>")
    if report.judge is not None:
        out.append(f"<p>{escape(judge_line(report))}.</p>")
    if checked:
        out.append("<h2>Assertions</h2><ul>")
        for one in checked:
            word = "good" if one.holds else "bad"
            mark = "✓" if one.holds else "✗"
            text = escape(f"{mark} {one.model}: {one.text}")
            out.append(f'<li class="{word}">{text}</li>')
        out.append("</ul>")
    out.append("<h2>Answers</h2>")
    for key, answers in _grouped(report).items():
        out.append(f"<h3>{escape(_title(report, key))}</h3>")
        out.append(f"<pre>{escape(report.plan.cases[key].prompt)}</pre><div class=answers>")
        for answer in answers:
            row_ = answer.row
            score = "" if answer.score is None else f" · {answer.score:.2f} {escape(answer.why)}"
            text = row_.output if row_.state == "ok" else f"failed: {row_.error_message}"
            out.append(
                f"<section><b>{escape(row_.contender)}</b> #{row_.iteration + 1}{score}"
                f"<pre>{escape(text)}</pre></section>"
            )
        out.append("</div>")
    return "\n".join(out) + "</html>\n"


def junit(report: Report, checked: Sequence[Checked]) -> str:
    """Answers as test cases: below the accurate score a failure, without an answer an error;
    and each assertion as one."""
    from xml.etree.ElementTree import Element, SubElement, tostring

    root = Element("testsuites", name="omni compare")
    began, whole = (iso(id_time_ms(report.id)) or "")[:19], 0.0
    for name in report.plan.contenders:
        suite, took = SubElement(root, "testsuite", name=name), 0.0
        for answer in report.answers:
            row = answer.row
            if row.contender != name:
                continue
            seconds = (row.latency_ms or 0) / 1000
            took += seconds
            title = _clean(f"{_title(report, row.prompt)} #{row.iteration + 1}")
            case = SubElement(suite, "testcase", classname=name, name=title, time=f"{seconds:.3f}")
            if row.state != "ok":
                said = _clean(row.error_message or row.state)
                SubElement(case, "error", message=said, type="provider")
            elif answer.score is not None and verdict(answer.score) != "accurate":
                said = _clean(answer.why or "not accurate")
                wrong = SubElement(case, "failure", message=said, type="answer")
                wrong.text = _clean(row.output)
        for one in (one for one in checked if one.model == name):
            case = SubElement(suite, "testcase", classname="assert", name=one.text, time="0")
            if not one.holds:
                said = ", ".join(f"{key} = {value}" for key, value in one.figures.items())
                SubElement(case, "failure", message=said, type="assertion")
        suite.attrib |= {**_tally(suite), "skipped": "0", "time": f"{took:.3f}", "timestamp": began}
        whole += took
    root.attrib |= {**_tally(root), "time": f"{whole:.3f}"}
    text = tostring(root, "unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _tally(part: "Element") -> dict[str, str]:
    kinds = {"tests": "testcase", "failures": "failure", "errors": "error"}
    return {name: str(sum(1 for _ in part.iter(tag))) for name, tag in kinds.items()}


def _clean(text: str) -> str:
    """Without characters that XML 1.0 cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff"))


def listed_document(row: ComparisonRow) -> dict[str, Any]:
    """A comparison in the list of them."""
    return {
        "comparison": id_text(row.id),
        "name": row.plan["name"],
        "state": row.state,
        "models": row.plan["contenders"],
        "prompts": len(row.plan["cases"]),
    }


def estimate_document(plan: Plan, estimate: Estimate) -> dict[str, Any]:
    """What a comparison is expected to ask and to cost."""
    return {
        "models": list(plan.contenders),
        "prompts": len(plan.cases),
        "calls": estimate.calls,
        "judge_calls": estimate.judge_calls,
        "expected_cost_usd": f"{estimate.expected_nusd / 10**9:.9f}",
        "unknown_price": list(estimate.unknown),
    }

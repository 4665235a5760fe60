"""What the classifier sees of a request: words, word pairs, intents and form, as names.

Pure and bounded: a long text is sampled at its head, middle and tail, so the cost of a 200 kB
prompt is that of a short one.
"""

import re
from dataclasses import dataclass

from omni_cli.domain.lexicon import INSIDE, intents_of
from omni_cli.domain.tasks import Signals

HEAD, MIDDLE, TAIL = 1100, 300, 600
_WORD = re.compile(r"[^\W\d_](?:[^\W_]|['’+#\-](?=\w))*[+#]*|\d+|[^\w\s]")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_CHOICE = re.compile(r"(?:^|\n)\s*\(?([A-Ja-j1-5])[.)]\s")
_BLANK = re.compile(r"\b_{1,}\b|_{2,}|\s_\s|\[MASK\]|\[blank\]")
_CODE = re.compile(
    r"[;{}]\s*\n|\bdef \w+\(|\bclass \w+[:({]|=>|->|\breturn\b|\bimport \w+|#include|\w+\(\w*\)[;:]"
    r"|</\w+>|\bSELECT\b.+\bFROM\b|\bfunction \w*\(|\bvar \w+ ?=|\bconst \w+ ?=|\bpublic \w+ \w+|::"
)
_TRACE = re.compile(
    r"Traceback \(most|\b\w+(?:Error|Exception)\b|\bat \w[\w.$]+\(|error\[E\d|panic:|segfault"
    r"|Segmentation fault|\bexit (?:code|status) [1-9]|npm ERR|undefined is not|FAILED|core dumped"
)
_LATEX = re.compile(r"\\(?:frac|sqrt|begin|sum|int|cdot|pi|angle|le|ge|in)\b|\$[^$\n]{1,80}\$")
_MATHY = re.compile(r"\d\s*[-+*/=^×÷<>]\s*[\dxyn(]|[xyn]\s*[=^+]\s*[\dxyn(]|\d\s?%|\$\d")
_SCHEMA = re.compile(
    r"\"parameters\"|\"tool_calls?\"|\"function\"\s*:|tool_use|<tool|Tools?:\s*[\[{]|\bAction:|"
    r"\bObservation:|\bThought:|function_call|\"arguments\"|<function"
)
_QUOTE = re.compile(r"[\"“”«»„「『]|(?<!\w)'|'(?!\w)")


@dataclass(frozen=True, slots=True)
class Form:
    """The outward shape of a prompt, whatever its subject. Lengths in characters."""

    length: int
    lines: int
    fences: int
    code: int
    trace: int
    latex: int
    mathy: int
    digits: int
    choices: int
    blanks: int
    schema: int
    questions: int
    quotes: int


def sample(text: str) -> str:
    """At most HEAD + MIDDLE + TAIL characters (2,002 with the joints) of ``text``."""
    if len(text) <= HEAD + MIDDLE + TAIL:
        return text
    half = len(text) // 2 - MIDDLE // 2
    return f"{text[:HEAD]}\n{text[half : half + MIDDLE]}\n{text[-TAIL:]}"


def form(text: str) -> Form:
    """Measure the sampled text; ``length`` is the whole text's."""
    part = sample(text)
    return Form(
        length=len(text),
        lines=part.count("\n"),
        fences=part.count("```"),
        code=len(_CODE.findall(part)),
        trace=len(_TRACE.findall(part)),
        latex=len(_LATEX.findall(part)),
        mathy=len(_MATHY.findall(part)),
        digits=sum(map(part.count, "0123456789")),
        choices=len(set(_CHOICE.findall(part))),
        blanks=len(_BLANK.findall(part)),
        schema=len(_SCHEMA.findall(part)),
        questions=part.count("?") + part.count("？") + part.count("؟"),
        quotes=len(_QUOTE.findall(part)),
    )


def words(text: str) -> list[str]:
    """Lower-case words, numbers as "0", punctuation marks, and CJK characters one by one."""
    out: list[str] = []
    for word in _WORD.findall(text.lower()):
        if word[0].isdigit():
            out.append("0")
        elif word >= "\u3040" and _CJK.search(word):
            out.extend(word)
        else:
            out.append(word)
    return out


def intents(text: str, tokens: list[str]) -> list[str]:
    """Intents named in ``tokens``, and those of unspaced scripts found in ``text``; repeats."""
    found = [intent for word in tokens if word >= "a" for intent in intents_of(word)]
    if not text.isascii():
        found += [intent for piece, intent in INSIDE if piece in text]
    return found


def opening(signals: Signals) -> str:
    """The part of the last turn where the instruction stands: its beginning."""
    return signals.text[:240]

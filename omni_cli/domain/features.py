"""What the classifier sees of a request, as hashed features.

Pure and bounded: a long text is sampled at its head, middle and tail, so that a 200 kB prompt
costs what a 2 kB one costs. Only the instruction's words count, that is the beginning and the
end of the turn, alone and in pairs; of what lies between only the form. (The words of pasted
text were tried and made the estimate worse.) Hashing is CRC-32 into 2**15 buckets.
"""

import re
from binascii import crc32
from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct

from omni_cli.domain.lexicon import (
    AMOUNTS,
    ASK_AMOUNT,
    AUTOMATE,
    CODE_LINKS,
    CODE_TONGUES,
    GROUP_ENDS,
    HEART,
    HOW_TO_SAY,
    LOGIC,
    MACHINE,
    MAKE,
    POLITE,
    PROOF,
    SYMPTOM,
    THINGS,
    TONGUES,
    inside,
    intents_of,
    simplified,
)
from omni_cli.domain.tasks import Signals

_KIND = {thing: kind for kind, things in reversed(THINGS.items()) for thing in things}


def fired(part: str, lead: list[str]) -> list[str]:
    """Names of the rules that fire on a sampled text and the words of its instruction."""
    head = part[:280].lower()
    found = [*_of_making(lead), *_of_first_word(head, lead)]
    if any(sign in head for sign in HOW_TO_SAY):
        found.append("how to say")
    if not TONGUES.isdisjoint(lead[:24]):
        found.append("tongue")
    if any(two in CODE_TONGUES and one in CODE_LINKS for one, two in pairwise(lead)):
        found.append("in a code tongue")
    if any(sign in head for sign in PROOF):
        found.append("proof")
    if any(sign in head for sign in LOGIC) or any(sign in part[-120:].lower() for sign in LOGIC):
        found.append("logic")
    if any(sign in head for sign in AUTOMATE):
        found.append("automate")
    found += _of_amounts(part, lead)
    found += _of_trouble(head, lead)
    return found


def _of_making(lead: list[str]) -> Iterator[str]:
    """What the first verb of making makes: "write a function about poems" makes code.

    The last noun of a group counts: a story generator is code.
    """
    making, kind, left = False, "", 16
    for word in lead[:20]:
        if not making:
            making = word in MAKE
        elif word in _KIND:
            kind, left = _KIND[word], min(left, 3)
        elif kind and word in GROUP_ENDS:
            break
        left -= 1
        if left <= 0:
            break
    if kind:
        yield "makes " + kind


def _of_first_word(head: str, lead: list[str]) -> Iterator[str]:
    """The intent of the first word that is not politeness."""
    for word in lead[:10]:
        if word not in POLITE:
            for intent in intents_of(word):
                yield "first " + intent
            break
    if not head.isascii():
        for piece, intent in inside():
            # In Chinese, Japanese and Korean what is to be done to a text stands behind it.
            if piece in head[:12] or (intent == "translate" and piece in head[:40] + head[-12:]):
                yield "first " + intent


def _of_amounts(part: str, lead: list[str]) -> Iterator[str]:
    amounts = sum(word in AMOUNTS for word in lead)
    if amounts >= 2:
        yield "amounts:3" if amounts >= 3 else "amounts:2"
        end = part[-160:].lower()
        if any(sign in end for sign in ASK_AMOUNT):
            yield "asks amount"


def _of_trouble(head: str, lead: list[str]) -> Iterator[str]:
    """Trouble of the heart, which may speak of machines, or of a machine."""
    if not HEART.isdisjoint(lead) and not {"i", "i'm", "me"}.isdisjoint(lead):
        yield "heart"
        if not HEART.isdisjoint(lead[:6]):
            yield from ("heart first", "heart first, again")
    elif any(sign in head for sign in SYMPTOM):
        yield "symptom"
        if not MACHINE.isdisjoint(lead):
            yield "symptom of a machine"
            yield "symptom of a machine, again"


BUCKETS = 1 << 15
#: Characters read of the last turn: beginning, middle, end.
HEAD, MIDDLE, TAIL = 1000, 200, 400
#: Characters of the turn taken as the instruction, from its beginning and from its end, and how
#: many words of them at most.
START, END = 480, 240
LEAD, CLOSE = 64, 32
#: Words of the very beginning, which count once more for where they stand.
OPENING = 12
#: Words read of the system prompt and of earlier turns.
AROUND = 32

_WORD = re.compile(r"[^\W\d_]+(?:['’+#-][^\W\d_]+)*[+#]*|\d+|[^\w\s]")
# Patterns begin with what is rare, so that the scan skips: ten times faster than the other way.
_CHOICE = re.compile(r"[.)](?<=[\s(][A-Ja-j1-9][.)])(?=\s)")
#: Compiled when first needed, by the cache of ``re``.
_BLANK = r"_(?:_+|(?=[\s.,]))(?<![^\W_]_)"
_LATEX = r"\\[a-z]{2,9}\b|\$[^$\n]{1,80}\$"
_MATHY = re.compile(
    r"\d\s*[-+*/=^×÷<>]\s*[\dxyn(]|[=^] ?[\dxyn(]|\d\s?%|\$\d"
    r"|[²³√∫∑π]"
)
_CODE_SIGNS = (
    ";\n", "{\n", "}\n", "def ", "class ", "=>", "->", "return ", "import ", "#include", "();",
    "</", "function ", "var ", "let ", "const ", "public ", "::", " == ", " != ", "&&", "self.",
    " FROM ",
)  # fmt: skip
_TRACE_SIGNS = (
    "Traceback", "Error:", "Error ", "Exception", "error[E", "panic:", "egmentation fault",
    "FAILED",
    "exit code", "exit status", "npm ERR", "undefined", "core dumped", "NaN", "OOM", "not found",
)  # fmt: skip
_SCHEMA_SIGNS = (
    '"parameters"', "tool_call", '"function"', "tool_use", "<tool", "Tools: [", "Tools: {",
    "Action:",
    "Observation:", "Thought:", "function_call", '"arguments"', "<function", "tool_result",
)  # fmt: skip


class Form(Struct, frozen=True):
    """The outward shape of a prompt, whatever its subject: counts within the sample.

    ``length``: characters of the whole text. ``choices``: different option letters.
    """

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
    commas: int


def sample(text: str) -> str:
    """At most HEAD + MIDDLE + TAIL characters of ``text``, and two line ends."""
    if len(text) <= HEAD + MIDDLE + TAIL:
        return text
    half = len(text) // 2 - MIDDLE // 2
    return f"{text[:HEAD]}\n{text[half : half + MIDDLE]}\n{text[-TAIL:]}"


def form(text: str, part: str) -> Form:
    """Measure ``part``, the sample of ``text``."""
    return Form(
        length=len(text),
        lines=part.count("\n"),
        fences=part.count("```"),
        code=sum(map(part.count, _CODE_SIGNS)),
        trace=sum(map(part.count, _TRACE_SIGNS)),
        latex=len(re.findall(_LATEX, part)) if "\\" in part or "$" in part else 0,
        mathy=len(_MATHY.findall(part)),
        digits=sum(map(part.count, "0123456789")),
        choices=len({part[match.start() - 1] for match in _CHOICE.finditer(part)}),
        blanks=len(re.findall(_BLANK, part)) if "_" in part else 0,
        schema=sum(map(part.count, _SCHEMA_SIGNS)),
        questions=part.count("?") + part.count("？") + part.count("؟"),
        commas=part.count(",") + part.count("、") + part.count("，"),
    )


#: Lengths in characters from which a prompt is no longer short, no longer medium.
SHORT, LONG = 120, 500


def form_of(shape: Form) -> str:
    """A prompt's outward form in two words: choice, cloze or open; short, medium or long.

    ``choice``: three answer options or more to choose from. ``cloze``: a blank to fill, or two
    options. The same model is often good at one form of a task and bad at another.
    """
    if shape.choices >= 3:
        kind = "choice"
    else:
        kind = "cloze" if shape.blanks or shape.choices == 2 else "open"
    size = "short" if shape.length < SHORT else "medium" if shape.length < LONG else "long"
    return f"{kind} {size}"


def words(text: str) -> list[str]:
    """Lower-case words, numbers as "0", punctuation marks, and CJK characters one by one."""
    found = _WORD.findall(text.lower())
    if text.isascii():
        return ["0" if word[0] <= "9" and word.isdigit() else word for word in found]
    out: list[str] = []
    for word in found:
        if word.isdigit():
            out.append("0")
        elif any("\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u9fff" for c in word):
            out.extend(word)
        else:
            out.append(word)
    return out


def _grade(name: str, value: int, steps: tuple[int, ...]) -> str:
    return f"{name}:{sum(value >= step for step in steps)}"


def _of_shape(shape: Form, part: str) -> list[str]:
    found = [_grade("length", shape.length, (12, 25, 50, 90, 160, 300, 600, 1200, 2500, 5000))]
    for name, value, steps in (
        ("lines", shape.lines, (1, 3, 8, 20)),
        ("fences", shape.fences, (1,)),
        ("code", shape.code, (1, 3, 8)),
        ("trace", shape.trace, (1, 2)),
        ("latex", shape.latex, (1, 3)),
        ("mathy", shape.mathy, (1, 3)),
        ("choices", shape.choices, (2, 3)),
        ("blanks", shape.blanks, (1,)),
        ("schema", shape.schema, (1, 2)),
        ("questions", shape.questions, (1, 2)),
        ("digits", shape.digits * 100 // (len(part) + 20), (1, 4, 12)),
        ("commas", shape.commas * 1000 // (len(part) + 40), (5, 60)),
    ):
        if value:
            found.append(_grade(name, value, steps))
    last = part.rstrip()[-1:]
    found.append("ends:" + (last if last in "?.:!？。：)" else "other"))
    found.append("starts:" + ("upper" if part[:1].isupper() else "other"))
    if not part.isascii():
        found.append("foreign")
    return found


def _of_intents(part: str, lead: list[str], close: list[str]) -> list[str]:
    found: list[str] = []
    for place, some in (("^", lead[:5]), ("", lead[:40]), ("$", close)):
        found += {place + intent for word in some if word >= "a" for intent in intents_of(word)}
    if not part.isascii():
        start, end = part[:60], part[-40:]
        found += {intent for piece, intent in inside() if piece in start or piece in end}
    if len(found) == 0:
        found.append("no intent")
    return found


_CODE_SUFFIXES = (
    ".py", ".js", ".ts", ".tsx", ".jsx", ".go", ".rs", ".c", ".h", ".cpp", ".java", ".kt", ".rb",
    ".php", ".sh", ".sql", ".html", ".css", ".swift",
)  # fmt: skip


def _of_surroundings(signals: Signals) -> list[str]:
    found: list[str] = []
    if signals.tools:
        found += ["tools", _grade("tools", len(signals.tools), (2, 5))]
    for kind in signals.attachments:
        found.append("attached:" + ("code" if kind in _CODE_SUFFIXES else kind))
    if signals.earlier:
        found.append("earlier")
    return found


def _hashes(space: str, names: list[str]) -> list[int]:
    seed = crc32(space.encode())
    return [crc32(name.encode(), seed) & (BUCKETS - 1) for name in names]


class Features(Struct, frozen=True):
    """Bucket numbers (0..BUCKETS-1; repeats count), in two groups that are scaled apart.

    ``facts``: form, intents, rules, surroundings. ``spoken``: the instruction's words and pairs.
    Both hold two numbers at least.
    """

    facts: list[int]
    spoken: list[int]
    shape: Form


def extract(signals: Signals) -> Features:
    """All features of a request; bounded time whatever the length."""
    text = signals.text
    part = sample(text)
    shape = form(text, part)
    if not part.isascii():
        part = simplified(part)
    lead = words(part[:START])[:LEAD]
    close = words(part[-min(END, len(text) - START) :])[-CLOSE:] if len(text) > START else []
    facts = _hashes("fact", _of_shape(shape, part)) + 2 * _hashes("near", _of_surroundings(signals))
    facts += _hashes("intent", _of_intents(part, lead, close))
    facts += 2 * _hashes("rule", fired(part, lead))
    if len(text) > START and "\n" in part:
        last = part.rstrip().rpartition("\n")[2][-END:]
        facts += 3 * _hashes("last", fired(last, words(last)[:LEAD]))
    ones = [*_hashes("word", lead), 0, *_hashes("word", close)]
    pairs = [(one * 31337 + two * 7 + 11) & (BUCKETS - 1) for one, two in pairwise(ones)]
    first = [*lead[:2], " ".join(lead[:2]), " ".join(lead[:3])]
    spoken = ones + pairs + _hashes("first", first) + _hashes("opening", lead[:OPENING])
    if not part.isascii():
        stems = [word[:4] for word in lead if len(word) > 4 and not word.isascii()]
        spoken += _hashes("stem", stems)
    if signals.system:
        spoken += _hashes("system", words(signals.system[:400])[:AROUND])
    if signals.earlier:
        turns = simplified("\n".join(turn[:300] for turn in signals.earlier[:8])[:300])
        before = words(turns)[:AROUND]
        spoken += _hashes("earlier", before)
        spoken += _hashes("before", _of_intents(turns, before, []))
    return Features(facts, spoken, shape)

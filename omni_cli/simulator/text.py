"""What the simulator says: short, plausible, plainly marked, the same for the same question."""

import json
import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

_SUM = re.compile(r"(-?\d{1,9})\s*([-+*/x×÷])\s*(-?\d{1,9})")
_ECHO = re.compile(
    r"\b(?:reply|answer|respond|say)\s+(?:only\s+)?(?:with\s+)?(?:exactly|only|just|the word)"
    r"[:\s]+[\"'`]?(.{1,200}?)[\"'`]?\s*[.!]?\s*$",
    re.IGNORECASE | re.MULTILINE,
)
_WORD = re.compile(r"[^\W\d_][\w'-]{3,}")
_STOP_WORDS = frozenset(
    """about after also and are because been before between could does each explain from give
    have into just like make more most much need only other over please short show simulated some
    such than that their them then there these they this those very want what when where which
    while will with would write your""".split()  # noqa: SIM905  # a list would fill a page
)
_OPENINGS = ("In short", "Briefly", "The main point", "To start with", "Seen plainly")
_ENDINGS = (
    "That covers the essentials.",
    "Start there and measure.",
    "The rest follows from it.",
    "Everything else is detail.",
)


def topics(prompt: str, most: int = 3) -> list[str]:
    """The prompt's own words that seem to carry it, longest first, at least one."""
    words = dict.fromkeys(word.lower() for word in _WORD.findall(prompt[:4000]))
    kept = [word for word in words if word not in _STOP_WORDS]
    return sorted(kept, key=lambda word: -len(word))[:most] or ["this"]


def _arithmetic(prompt: str) -> str | None:
    match = _SUM.search(prompt)
    if match is None:
        return None
    left, sign, right = int(match[1]), match[2], int(match[3])
    if sign in "/÷":
        if right == 0:
            return "Division by zero has no value."
        return str(left // right) if left % right == 0 else f"{left / right:.6g}"
    value = {"+": left + right, "-": left - right}.get(sign, left * right)
    return str(value)


def _code(prompt: str, rng: Random) -> str:
    name = "_".join(re.sub(r"\W", "", word) for word in topics(prompt, 2)) or "answer"
    values, result = rng.choice((("values", "total"), ("items", "result"), ("rows", "out")))
    return (
        f"Here is a small version:\n\n```python\ndef {name}({values}):\n"
        f"    {result} = []\n    for value in {values}:\n        {result}.append(value)\n"
        f"    return {result}\n```\n\nIt runs in linear time; add a test for the empty case."
    )


def _debug(prompt: str, rng: Random) -> str:
    cause = rng.choice(("a missing await", "an off-by-one bound", "a value that is None"))
    return (
        f"The likely cause is {cause} around {topics(prompt, 1)[0]}. Reproduce it with the "
        "smallest input, check that value first, then add a test that fails without the fix."
    )


def _summary(prompt: str, rng: Random) -> str:
    words = ", ".join(topics(prompt))
    return f"Summary: the text is about {words}. {rng.choice(_ENDINGS)}"


def _list(prompt: str, rng: Random) -> str:
    words = topics(prompt)
    verbs = ["Define", "Measure", "Compare", "Simplify", "Check"]
    rng.shuffle(verbs)
    lines = [f"{n}. {verbs[n - 1]} {words[(n - 1) % len(words)]}." for n in (1, 2, 3)]
    return "\n".join(lines)


def _plain(prompt: str, rng: Random) -> str:
    words = topics(prompt)
    opening, ending = rng.choice(_OPENINGS), rng.choice(_ENDINGS)
    second = f" It depends on {words[1]} more than on anything else." if len(words) > 1 else ""
    return f"{opening}: {words[0]} comes first.{second} {ending}"


_Kind = tuple[re.Pattern[str], Callable[[str, Random], str]]
#: The first pattern that the prompt matches decides the kind of answer.
_KINDS: tuple[_Kind, ...] = (
    (
        re.compile(r"\b(traceback|exception|bug|debug|stack trace|fails? with)\b", re.IGNORECASE),
        _debug,
    ),
    (
        re.compile(
            r"\b(code|function|python|javascript|rust|sql|regex|script|implement)\b", re.IGNORECASE
        ),
        _code,
    ),
    (re.compile(r"\b(summari[sz]e|summary|tl;?dr)\b", re.IGNORECASE), _summary),
    (re.compile(r"\b(list|steps|plan|ideas|compare)\b", re.IGNORECASE), _list),
    (
        re.compile(r"^\W*(hi|hello|hey|ping|heartbeat|good (morning|evening))\b", re.IGNORECASE),
        lambda _prompt, rng: rng.choice(("Hello! All is well here.", "Hi. Ready when you are.")),
    ),
)


def answer(model: str, prompt: str, images: int, rng: Random) -> str:
    """The answer's text, beginning with its mark."""
    mark = f"[simulated {model}] "
    echo = _ECHO.search(prompt[-2000:])
    if echo:
        return mark + echo[1]
    if images:
        return mark + f"I see {images} image{'s' * (images > 1)}: {', '.join(labels(rng))}."
    for pattern, say in _KINDS:
        if pattern.search(prompt[-4000:]):
            return mark + say(prompt, rng)
    return mark + (_arithmetic(prompt[-4000:]) or _plain(prompt, rng))


#: What marks an answer as wrong, for a judge played by the simulator.
_WRONG = "[wrong]"
_ANSWER = re.compile(r"<answer (\w+)>\n(.*?)\n</answer \1>", re.DOTALL)


def wrong(model: str) -> str:
    """An answer that helps nobody."""
    return f"[simulated {model}] {_WRONG} It cannot be said."


def _points(schema: Mapping[str, Any], prompt: str) -> dict[str, int] | None:
    """As a judge of answers between marks: 2 for a wrong one, else 9. None: it is not asked to."""
    answers = dict(_ANSWER.findall(prompt))
    if not answers or set(answers) != set(schema.get("properties") or ()):
        return None
    return {name: 2 if _WRONG in said else 9 for name, said in answers.items()}


def reasoning(prompt: str, rng: Random, effort: str | None) -> str:
    """Thoughts of a reasoning model; more of them at higher effort."""
    rounds = {"none": 0, "minimal": 1, "low": 1, "high": 6, "xhigh": 8, "max": 8}.get(
        effort or "", 3
    )
    words = topics(prompt, 4)
    steps = ("consider", "weigh", "check", "doubt", "confirm")
    thoughts = (f"I {rng.choice(steps)} {rng.choice(words)}." for _ in range(rounds))
    return " ".join(("[simulated thoughts]", *thoughts)) if rounds else ""


def huge(model: str, tokens: int, rng: Random) -> list[str]:
    """``tokens`` pieces of text, each one token."""
    words = [f" {word}" for word in ("fleet", "route", "cost", "model", "token", "line")]
    return [f"[simulated {model}]", *rng.choices(words, k=max(tokens - 1, 0))]


_LABELS = ("cat", "street", "tree", "person", "table", "sky", "car", "text", "food", "building")


def labels(rng: Random, most: int = 3) -> list[str]:
    return rng.sample(_LABELS, k=min(most, len(_LABELS)))


def json_text(schema: Mapping[str, Any] | None, model: str, prompt: str, rng: Random) -> str:
    """JSON that the schema allows; without one, an object that says it is simulated."""
    if schema:
        points = _points(schema, prompt)
        return json.dumps(sample(schema, prompt, rng, schema) if points is None else points)
    plain = answer(model, prompt, 0, rng)
    return json.dumps({"simulated": True, "model": model, "answer": plain}, ensure_ascii=False)


def sample(schema: Any, prompt: str, rng: Random, root: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that fits a JSON Schema, taken from the prompt where that is possible.

    Reads type, properties, items, enum, const, anyOf/oneOf/allOf, $ref, minimum, maximum,
    minItems, minLength and format; other keywords are ignored.
    """
    if not isinstance(schema, Mapping) or depth > 12:
        return None
    if "$ref" in schema:
        target: Any = root
        for key in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target.get(key, {}) if isinstance(target, Mapping) else {}
        return sample(target, prompt, rng, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        named = [v for v in schema["enum"] if isinstance(v, str) and v.lower() in prompt.lower()]
        return named[0] if named else rng.choice(list(schema["enum"]))
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return sample(schema[key][0], prompt, rng, root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    kind = str(kind).lower()  # Gemini writes STRING, OBJECT ...
    if kind == "object":
        properties: Mapping[str, Any] = schema.get("properties") or {}
        return {k: sample(v, prompt, rng, root, depth + 1) for k, v in properties.items()}
    if kind == "array":
        size = max(int(schema.get("minItems", 1)), 1)
        return [sample(schema.get("items", {}), prompt, rng, root, depth + 1) for _ in range(size)]
    if kind in ("integer", "number"):
        return _number(schema, prompt, integer=kind == "integer")
    if kind == "boolean":
        return rng.random() < 0.5
    return None if kind == "null" else _string(schema, prompt)


def _number(schema: Mapping[str, Any], prompt: str, *, integer: bool) -> float:
    match = re.search(r"-?\d{1,9}(?:\.\d+)?", prompt)
    value = float(match[0]) if match else 1.0
    value = max(value, float(schema.get("minimum", value)))
    value = min(value, float(schema.get("maximum", value)))
    return int(value) if integer else value


def _string(schema: Mapping[str, Any], prompt: str) -> str:
    formats = {"date": "2026-01-31", "date-time": "2026-01-31T12:00:00Z", "email": "a@example.com"}
    if schema.get("format") in formats:
        return formats[str(schema["format"])]
    # A capitalised word inside a sentence is most likely the name that a tool is asked about.
    names = re.findall(r"(?<=[a-z,] )[A-Z][\w-]+", prompt)
    text = names[-1] if names else topics(prompt, 1)[0]
    return str(text.ljust(int(schema.get("minLength", 0)), "."))

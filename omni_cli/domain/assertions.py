"""Checks on a comparison's figures: ``accuracy >= 0.9 && costPerRequest < 0.01`` (D2).

``[MODEL:] expression``; comparisons of a figure with a number, ``&&``, ``||``, ``!`` and
parentheses. Without a model every one compared must fulfil it. A figure that is unknown fulfils
no comparison.
"""

import operator
import re
from collections.abc import Callable, Mapping

from msgspec import Struct

from omni_cli.domain.errors import UsageError

#: Figure as written, to its place in a model's results.
FIGURES: Mapping[str, tuple[str, str]] = {
    "accuracy": ("performance", "accuracyScore"),
    "accuracyScore": ("performance", "accuracyScore"),
    "successRate": ("performance", "successRate"),
    "success": ("performance", "successRate"),
    "avgResponseTime": ("performance", "avgResponseTime"),
    "consistency": ("performance", "consistencyScore"),
    "consistencyScore": ("performance", "consistencyScore"),
    "totalCost": ("cost", "totalCost"),
    "costPerRequest": ("cost", "costPerRequest"),
    "costPerAccurateResult": ("cost", "costPerAccurateResult"),
    "accurateResults": ("quality", "accurateResults"),
    "partialResults": ("quality", "partialResults"),
    "failedResults": ("quality", "failedResults"),
}
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_TOKEN = re.compile(
    r"\s*(?:(&&|\|\||>=|<=|==|!=|[<>!()])|([A-Za-z]\w*)|([-+]?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?))"
)

Figures = Mapping[str, float | None]
Test = Callable[[Figures], bool]


class Assertion(Struct, frozen=True):
    """``model`` None: all of them. ``test`` takes figures by the names in FIGURES."""

    text: str
    model: str | None
    test: Test
    names: frozenset[str]


def parse(text: str) -> Assertion:
    """Raises UsageError that shows where it does not fit."""
    model, expression = _split(text)
    parser = _Parser(expression, text)
    test = parser.either()
    parser.end()
    return Assertion(text.strip(), model, test, frozenset(parser.names))


def _split(text: str) -> tuple[str | None, str]:
    """The model before a colon followed by a space: ids themselves may hold colons."""
    head, colon, rest = text.partition(": ")
    if colon and not re.search(r"[<>=&|()]", head):
        return head.strip(), rest
    return None, text


class _Parser:
    def __init__(self, expression: str, whole: str) -> None:
        self._whole = whole
        self._tokens: list[str] = []
        self.names: set[str] = set()
        place = 0
        while expression[place:].strip():
            match = _TOKEN.match(expression, place)
            if match is None:
                raise self._fault(expression[place:].strip()[:12])
            self._tokens.append(match[0].strip())
            place = match.end()
        self._at = 0

    def either(self) -> Test:
        tests = [self._both()]
        while self._take("||"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda f: any(test(f) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._take("&&"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda f: all(test(f) for test in tests)

    def _one(self) -> Test:
        if self._take("!"):
            inner = self._one()
            return lambda f: not inner(f)
        if self._take("("):
            inner = self.either()
            if not self._take(")"):
                raise self._fault(self._next())
            return inner
        return self._comparison()

    def _comparison(self) -> Test:
        name, word, number = self._next(), self._next(1), self._next(2)
        if name not in FIGURES:
            raise self._fault(name)
        compare = _OPERATORS.get(word)
        if compare is None:
            raise self._fault(word)
        try:
            limit = float(number)
        except ValueError:
            raise self._fault(number) from None
        self._at += 3
        self.names.add(name)

        def test(figures: Figures) -> bool:
            value = figures[name]
            return value is not None and compare(value, limit)

        return test

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self._fault(self._next())

    def _next(self, ahead: int = 0) -> str:
        place = self._at + ahead
        return self._tokens[place] if place < len(self._tokens) else "the end"

    def _take(self, token: str) -> bool:
        if self._next() == token:
            self._at += 1
            return True
        return False

    def _fault(self, near: str) -> UsageError:
        return UsageError(
            f"--assert {self._whole!r} does not fit at {near!r}",
            hint=f"for example 'accuracy >= 0.9 && costPerRequest < 0.01'; figures: "
            f"{', '.join(FIGURES)}",
        )

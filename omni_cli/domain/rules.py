"""Routing rules: the specs' conditions, read into a small tree and asked about a request.

Syntax, loosest first::

    or        a || b          a or b
    and       a && b          a and b
    not       not a           !a  (of a name or a parenthesis)
    compare   taskType == 'coding'      == != < <= > >=   (=== and !== are accepted)
    member    complexity in ['low', 'medium']             not in
    text      prompt contains 'invoice'                   contains('invoice') means the prompt
    flag      hasImages       true       false       ( ... )

Texts stand in single or double quotes; ``\\'``, ``\\"`` and ``\\\\`` are the only escapes.
``contains`` ignores case, all other comparisons of text heed it. There are no regular
expressions and no arithmetic, so a rule's cost is bounded by its own length and the prompt's.

A fact that is missing (None) makes its comparison false, ``!=`` and ``not in`` included; only
an outer ``!`` turns that round. Nothing is ever given to ``eval``.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from omni_cli.domain.errors import RuleSyntaxError
from omni_cli.domain.rule_tree import (
    COMPARE,
    VARIABLES,
    And,
    Compare,
    Constant,
    Contains,
    Flag,
    Kind,
    Member,
    Node,
    Not,
    Or,
    Value,
    evaluate,
    unparse,
    variables,
)

__all__ = [
    "MAX_CHARS",
    "MAX_DEPTH",
    "VARIABLES",
    "Node",
    "evaluate",
    "parse",
    "unparse",
    "variables",
]

MAX_CHARS = 1_000
MAX_DEPTH = 40
_KEYS = {v.name: key for key, v in VARIABLES.items()} | {key: key for key in VARIABLES}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ORDERED_KINDS: tuple[Kind, ...] = ("ordered", "count", "share", "money")
_EXPECTS: Mapping[Kind, str] = {
    "choice": "a text in quotes",
    "ordered": "a text in quotes",
    "text": "a text in quotes",
    "count": "a whole number",
    "share": "a number from 0 to 1",
    "money": "an amount in US dollars, such as 0.05",
    "flag": "true or false",
}


def parse(source: str) -> Node:
    """Read a condition.

    Raises:
        RuleSyntaxError: it does not parse, names an unknown variable, or compares one with a
            value it can never have; ``column`` is that of the first character at fault.
    """
    if len(source) > MAX_CHARS:
        raise RuleSyntaxError(
            f"the rule is longer than {MAX_CHARS} characters",
            source=source,
            column=MAX_CHARS + 1,
            hint="split it into several rules",
        )
    return _Parser(source).rule()


class _Token(Struct, frozen=True):
    """``kind`` is name, text, number, end, or the operator itself; ``at`` counts from 0."""

    kind: str
    text: str
    at: int


_SPACE = re.compile(r"\s+")
_TOKEN = re.compile(
    r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?![A-Za-z0-9_.])"
    r"|(?P<text>'(?:[^'\\]|\\['\"\\])*'|\"(?:[^\"\\]|\\['\"\\])*\")"
    r"|(?P<op>===|!==|==|!=|<=|>=|&&|\|\||[<>!()\[\],])"
)
_WORDS = {"and": "&&", "or": "||", "not": "not", "in": "in", "contains": "contains"}
_OPEN = "this text has no closing quote, or a backslash before an ordinary character"
_STRANGE = {
    "=": "write == to compare",
    "&": "write && for and",
    "|": "write || for or",
    "-": "no variable is ever negative, and rules do no arithmetic",
    "'": _OPEN,
    '"': _OPEN,
}


def _tokens(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(source):
        if space := _SPACE.match(source, at):
            at = space.end()
            continue
        found = _TOKEN.match(source, at)
        if found is None:
            char = source[at]
            digit = char.isdigit() or char == "."
            message = "this number cannot be read" if digit else f"unexpected {char!r}"
            raise RuleSyntaxError(
                message, source=source, column=at + 1, hint=_STRANGE.get(char, "")
            )
        text = found.group()
        match found.lastgroup:
            case "name":
                kind = _WORDS.get(text.lower(), "name")
            case "op":
                kind = {"===": "==", "!==": "!="}.get(text, text)
            case group:
                kind = str(group)
        tokens.append(_Token(kind, text, at))
        at = found.end()
    tokens.append(_Token("end", "", len(source)))
    return tokens


class _Parser:
    """Recursive descent, one token of lookahead. Depth is capped, so is the Python stack."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = _tokens(source)
        self.next = 0
        self.depth = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def error(self, message: str, token: _Token | None = None, hint: str = "") -> RuleSyntaxError:
        column = (token or self.token).at + 1
        return RuleSyntaxError(message, source=self.source, column=column, hint=hint)

    def take(self, kind: str) -> bool:
        if self.token.kind != kind:
            return False
        self.next += 1
        return True

    def expect(self, kind: str, why: str) -> None:
        if not self.take(kind):
            raise self.error(f"expected {kind!r} {why}, found {self.found()}")

    def found(self) -> str:
        return "the end of the rule" if self.token.kind == "end" else repr(self.token.text)

    def rule(self) -> Node:
        if self.token.kind == "end":
            raise self.error("the rule is empty", hint="for example: taskType == 'coding'")
        tree = self.any_of()
        if self.token.kind != "end":
            raise self.error(f"unexpected {self.found()}", hint="join conditions with && or ||")
        return tree

    def any_of(self) -> Node:
        items = [self.all_of()]
        while self.take("||"):
            items.append(self.all_of())
        return Or(tuple(items)) if len(items) > 1 else items[0]

    def all_of(self) -> Node:
        items = [self.unary()]
        while self.take("&&"):
            items.append(self.unary())
        return And(tuple(items)) if len(items) > 1 else items[0]

    def unary(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"more than {MAX_DEPTH} levels of parentheses and negations")
        bang = self.token
        if self.take("!"):
            word = self.token.kind in ("name", "contains")
            item = self.operand() if word else self.unary()
            if self.compares():
                # JavaScript reads this as (!a) == b, Python's not as !(a == b).
                raise self.error(
                    "! before a comparison is ambiguous", bang, "write !(a == b) or a != b"
                )
            tree: Node = Not(item)
        elif self.take("not"):
            tree = Not(self.unary())
        elif self.take("("):
            tree = self.any_of()
            self.expect(")", "to close the parenthesis")
            if self.compares():
                raise self.error("a condition in parentheses cannot be compared")
        else:
            tree = self.comparison()
        self.depth -= 1
        return tree

    def compares(self) -> bool:
        """Does a comparison follow?"""
        kind = self.token.kind
        if kind == "not":
            return self.tokens[self.next + 1].kind == "in"
        return kind in COMPARE or kind in ("in", "contains")

    def operand(self) -> Node:
        """A word that is a condition by itself: true, false, a flag, contains('...')."""
        if self.take("contains"):
            self.expect("(", "after contains")
            text = self.text_value("contains")
            self.expect(")", "after the text")
            return Contains("prompt", text)
        token = self.token
        if token.kind == "name" and token.text.lower() in ("true", "false"):
            self.next += 1
            return Constant(token.text.lower() == "true")
        key = self.variable()
        if VARIABLES[key].kind != "flag" and not self.compares():
            name = VARIABLES[key].name
            raise self.error(
                f"{name} is not true or false by itself",
                token,
                f"compare it: {VARIABLES[key].example}",
            )
        return Flag(key)

    def comparison(self) -> Node:
        first = self.token
        if first.kind in ("text", "number"):
            return self.flipped()
        condition = self.operand()
        if not self.compares():
            return condition
        if not isinstance(condition, Flag):
            raise self.error("a condition cannot be compared")
        key = condition.variable
        if self.take("contains"):
            self.need_text(key, first)
            tree: Node = Contains(key, self.text_value("contains"))
        elif (negated := self.take("not")) or self.token.kind == "in":
            self.next += 1
            tree = self.member(key, negated)
        else:
            op = self.token
            self.next += 1
            tree = self.compare(key, op, self.token, self.value())
        return self.unchained(tree)

    def flipped(self) -> Node:
        """The value comes first: 3 < turns, 'invoice' in prompt."""
        value_token, value = self.token, self.value()
        op = self.token
        if not self.compares() or op.kind == "contains":
            raise self.error(
                f"expected a comparison after {value_token.text}, found {self.found()}"
            )
        self.next += 2 if op.kind == "not" else 1
        name_token, key = self.token, self.variable()
        if op.kind in ("in", "not"):
            self.need_text(key, name_token)
            if not isinstance(value, str) or not value:
                raise self.error("only a text can be looked for", value_token)
            found = Contains(key, value)
            return self.unchained(Not(found) if op.kind == "not" else found)
        flipped = _Token(_FLIPPED.get(op.kind, op.kind), op.text, op.at)
        return self.unchained(self.compare(key, flipped, value_token, value))

    def unchained(self, tree: Node) -> Node:
        if self.compares():
            raise self.error(
                "comparisons cannot be chained",
                hint="write each one in full and join them with &&",
            )
        return tree

    def compare(self, key: str, op: _Token, at: _Token, value: object) -> Compare:
        if op.kind not in ("==", "!=") and VARIABLES[key].kind not in _ORDERED_KINDS:
            name = VARIABLES[key].name
            raise self.error(
                f"{name} has no order, so {op.text} cannot be asked", op, VARIABLES[key].example
            )
        return Compare(key, op.kind, self.checked(key, at, value))

    def member(self, key: str, negated: bool) -> Member:
        close = "]"
        if not self.take("["):
            self.expect("(", "or '[' to open the list")
            close = ")"
        values = []
        while True:
            values.append(self.checked(key, self.token, self.value()))
            if not self.take(","):
                break
        self.expect(close, "to close the list")
        return Member(key, tuple(values), negated)

    def variable(self) -> str:
        token = self.token
        if token.kind != "name":
            raise self.error(f"expected a condition, found {self.found()}")
        key = _KEYS.get(token.text)
        if key is None:
            near = _nearest(token.text, [v.name for v in VARIABLES.values()])
            known = ", ".join(v.name for v in VARIABLES.values())
            raise self.error(f"unknown variable {token.text!r}{near}", token, f"known: {known}")
        self.next += 1
        return key

    def value(self) -> str | bool | Decimal:
        token = self.token
        self.next += token.kind != "end"
        if token.kind == "text":
            return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
        if token.kind == "number":
            return Decimal(token.text)
        if token.kind == "name" and token.text.lower() in ("true", "false"):
            return token.text.lower() == "true"
        found = "the end of the rule" if token.kind == "end" else repr(token.text)
        hint = f"put a text in quotes: '{token.text}'" if token.kind == "name" else ""
        raise self.error(f"expected a value, found {found}", token, hint)

    def text_value(self, word: str) -> str:
        token, value = self.token, self.value()
        if not isinstance(value, str) or not value:
            raise self.error(f"{word} needs a text in quotes that is not empty", token)
        return value

    def need_text(self, key: str, token: _Token) -> None:
        if VARIABLES[key].kind != "text":
            name = VARIABLES[key].name
            raise self.error(
                f"{name} is not free text", token, f"compare it: {VARIABLES[key].example}"
            )

    def checked(self, key: str, token: _Token, value: object) -> Value:
        """The value as the variable's facts have it. Fails where it can never be one of them."""
        variable = VARIABLES[key]
        match variable.kind, value:
            case (("choice" | "ordered"), str()):
                if value in variable.values:
                    return value
                near = _nearest(value, variable.values)
                raise self.error(
                    f"{variable.name} is never {value!r}{near}",
                    token,
                    f"valid: {', '.join(variable.values)}",
                )
            case "text", str():
                return value
            case "flag", bool():
                return value
            case "count", Decimal() if value == value.to_integral_value():
                return int(value)
            case "share", Decimal() if value <= 1:
                return float(value)
            case "money", Decimal():
                return value
        raise self.error(
            f"{variable.name} is compared with {_EXPECTS[variable.kind]}, not {token.text}",
            token,
            f"for example: {VARIABLES[key].example}",
        )


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word.lower(), [k.lower() for k in known], 1)
    return "".join(f"; did you mean {k!r}?" for k in known if [k.lower()] == near)

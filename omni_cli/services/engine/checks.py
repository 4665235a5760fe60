"""Checks that an answer can fail, so that a cheaper model may be tried first (cascade).

A check looks at what came back, never at what was asked: checkable failure escalates, not a
prediction of difficulty.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omni_cli.domain.chat import ChatRequest, Completion
from omni_cli.domain.patterns import Pattern
from omni_cli.services.engine.attempts import AttemptSummary

if TYPE_CHECKING:
    from omni_cli.repositories import Learning

#: "" when the answer passes, else why it does not, in a few words.
Check = Callable[[Completion], str]

#: Longest that a user's own check may run, seconds.
COMMAND_TIMEOUT_S = 120.0
#: Refusals stand at the head of an answer; further in, the same words are often quotations.
_REFUSAL_HEAD = 160
_REFUSALS = Pattern(
    r"\b(?:i(?:'|’)?m sorry,? (?:but )?i (?:can(?:'|’)?t|cannot|am unable)"
    r"|i (?:can(?:'|’)?t|cannot|am unable to|am not able to) (?:help|assist|comply|do that|answer)"
    r"|as an ai(?: language model)?,? i (?:can(?:'|’)?t|cannot|do not|don(?:'|’)?t)"
    r"|es tut mir leid,? (?:aber )?ich kann"
    r"|je suis désolée?,? (?:mais )?je ne (?:peux|puis)"
    r"|lo siento,? (?:pero )?no puedo)",
    re.IGNORECASE,
)


def not_empty(answer: Completion) -> str:
    """Some text, tool call or image must be there."""
    return "" if answer.text.strip() or answer.tool_calls or answer.images else "empty answer"


def not_cut_off(answer: Completion) -> str:
    return "cut off by the length limit" if answer.finish_reason == "length" else ""


def not_refused(answer: Completion) -> str:
    """The provider's own word for a refusal, or a refusal's usual opening."""
    if answer.finish_reason in ("refusal", "content_filter"):
        return f"refused ({answer.finish_reason})"
    return "refused" if _REFUSALS.search(answer.text[:_REFUSAL_HEAD]) else ""


def tool_calls_parse(names: frozenset[str]) -> Check:
    """Arguments are JSON objects, and the tools are among those that were offered."""

    def check(answer: Completion) -> str:
        for call in answer.tool_calls:
            if call.name not in names:
                return f"called a tool that was not offered: {call.name[:60]}"
            try:
                parsed = json.loads(call.arguments or "{}")
            except ValueError:
                return f"the arguments of {call.name} do not parse"
            if not isinstance(parsed, dict):
                return f"the arguments of {call.name} are no object"
        return ""

    return check


def is_json(schema: Mapping[str, Any] | None) -> Check:
    """The text is JSON, and fits the schema where there is one. A code fence around it is let
    pass: the text is not changed."""

    def check(answer: Completion) -> str:
        if answer.tool_calls:
            return ""
        try:
            value = json.loads(unfenced(answer.text))
        except ValueError as exc:
            return f"no JSON: {exc}"
        if schema is None:
            return ""
        import jsonschema

        try:
            jsonschema.validate(value, schema)
        except jsonschema.ValidationError as exc:
            where = "/".join(str(part) for part in exc.absolute_path) or "the top"
            return f"does not fit the schema at {where}: {exc.message[:120]}"
        return ""

    return check


def command(words: Sequence[str] | str) -> Check:
    """The user's own test: the answer on its stdin, exit status 0 passes.

    A text is given to the shell, as the user typed it for the shell.
    """

    def check(answer: Completion) -> str:
        try:
            done = subprocess.run(  # noqa: S603  # the user's own command, as typed
                words,
                shell=isinstance(words, str),
                input=answer.text,
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"the check ran longer than {COMMAND_TIMEOUT_S:.0f} s"
        if done.returncode == 0:
            return ""
        said = (done.stderr or done.stdout).strip().splitlines()
        return f"the check exited with {done.returncode}" + (f": {said[-1][:120]}" if said else "")

    return check


def checks_for(request: ChatRequest, extra: Sequence[Check] = ()) -> Check:
    """Every check that fits a request, as one; the first failure counts."""
    checks: list[Check] = [not_empty, not_refused, not_cut_off]
    if request.tools:
        checks.append(tool_calls_parse(frozenset(tool.name for tool in request.tools)))
    if request.json_schema is not None or request.json_mode:
        checks.append(is_json(request.json_schema))
    checks.extend(extra)

    def check(answer: Completion) -> str:
        return next((verdict for one in checks if (verdict := one(answer))), "")

    return check


def learn(
    learning: Learning,
    attempts: Sequence[AttemptSummary],
    *,
    request: int,
    at_ms: int,
    task: str,
    form: str,
) -> None:
    """A check's verdict is an outcome that routing learns from."""
    for attempt in attempts:
        if attempt.outcome in ("ok", "rejected"):
            learning.add_outcome(
                request=request,
                at_ms=at_ms,
                model=attempt.model,
                task=task,
                form=form,
                kind="test",
                value=1.0 if attempt.outcome == "ok" else 0.0,
                note=attempt.message,
            )


def unfenced(text: str) -> str:
    """The inside of a text that is one code block, else the text."""
    match = re.fullmatch(r"\s*```[\w-]*\n(.*?)\n?```\s*", text, re.DOTALL)
    return match[1] if match else text

"""Prompts that one keeps: TOML files in the user's folder, in a project's, or anywhere by path.

A role's own file says its system prompt and defaults for whoever asks the role on the command line.
The user's own files win over a project's of the same name, and only the user's speak for roles: a
folder that was cloned does not speak unasked.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template as Text
from typing import Annotated

from omni_cli.domain.errors import NotFound, UsageError, file_errors
from omni_cli.domain.tasks import Priority
from omni_cli.domain.words import meant
from omni_cli.written import Field, Written, read

#: Below the user's settings, and below a project's folder.
FOLDER, PROJECT = "templates", ".omni/templates"
ROLES = "roles"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: What was typed, piped, or read from files.
INPUT = "input"


class Template(Written):
    """``prompt`` and ``system`` may have ``$name`` and ``${name}``, of ``params`` or given with
    ``-p``; ``$input`` is what was asked, ``$$`` a dollar sign."""

    description: str = ""
    model: str | None = None
    system: str | None = None
    prompt: str | None = None
    params: dict[str, str | int | float] = Field(default_factory=dict)
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    json_mode: bool = False
    priority: Priority | None = None
    max_cost: Annotated[str, Field(pattern=r"^\d+(\.\d+)?$")] | None = None

    def system_text(self, given: Mapping[str, str]) -> str | None:
        """Raises UsageError: a value is missing, or one was given that it does not know."""
        self._check(given)
        return None if self.system is None else self._filled(self.system, given)

    def prompt_text(self, given: Mapping[str, str], asked: str) -> str:
        """The question; ``asked`` comes behind where the prompt has no place for it.

        Raises UsageError: as ``system_text``.
        """
        self._check(given)
        if self.prompt is None:
            return asked
        if INPUT in Text(self.prompt).get_identifiers():
            return self._filled(self.prompt, {**given, INPUT: asked})
        return "\n\n".join(filter(None, (self._filled(self.prompt, given), asked)))

    def wanted(self) -> list[str]:
        """Names that it has a place for, but what was asked."""
        found = Text(f"{self.system or ''}\n{self.prompt or ''}").get_identifiers()
        return [name for name in found if name != INPUT]

    def _check(self, given: Mapping[str, str]) -> None:
        wanted = self.wanted()
        if missing := [name for name in wanted if name not in {**self.params, **given}]:
            raise UsageError(
                f"the template wants {', '.join(missing)}",
                hint=" ".join(f"-p {name}=..." for name in missing),
            )
        for name in given:
            if name not in wanted:
                known = [*wanted, *self.params]
                raise UsageError(
                    f"the template has no place for {name!r}",
                    hint=meant(name, known) or f"it has {', '.join(wanted) or 'none'}",
                )

    def _filled(self, text: str, given: Mapping[str, str]) -> str:
        try:
            return Text(text).substitute({**self.params, **given})
        except ValueError as exc:
            raise UsageError(
                f"the template's text has a $ that names nothing: {exc}", hint="write $$ for a $"
            ) from exc


def file_of(text: str, config: Path, cwd: Path) -> Path:
    """The file of a template, by its name or its path. Raises NotFound: there is none."""
    known = dict(kept(config, cwd))
    if text in known:
        return known[text]
    if "/" in text or text.endswith(".toml"):
        return Path(text).expanduser()
    raise NotFound(
        f"no template {text!r}", hint=meant(text, known) or "omni templates lists what there is"
    )


def kept(config: Path, cwd: Path) -> Iterator[tuple[str, Path]]:
    """Names and files, the user's own first; of two with one name the first counts."""
    seen = set()
    for folder in (config / FOLDER, *(place / PROJECT for place in (cwd, *cwd.parents))):
        for file in sorted(folder.glob("*.toml")):
            if file.stem not in seen:
                seen.add(file.stem)
                yield file.stem, file
    for file in sorted((config / FOLDER / ROLES).glob("*.toml")):
        yield f"{ROLES}/{file.stem}", file


def place_of(name: str, config: Path) -> Path:
    """Where the user's own template of this name is kept. Raises UsageError: it is no name."""
    head, _, tail = name.rpartition("/")
    if head not in ("", ROLES) or not _NAME.fullmatch(tail):
        raise UsageError(
            f"{name!r} is no template's name",
            hint=f"letters, digits, '.', '_' and '-'; {ROLES}/NAME for a role's own",
        )
    return config / FOLDER / f"{name}.toml"


def template_in(file: Path) -> Template:
    """Raises UsageError: it cannot be read, or does not fit; the place of the fault is named."""
    with file_errors("read", file):
        return template_of(file.read_text("utf-8"), str(file))


def template_of(text: str, where: str) -> Template:
    """Raises UsageError: as ``template_in``."""
    try:
        return read(Template, tomllib.loads(text), within=where)
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"{where} is no TOML: {exc}") from exc

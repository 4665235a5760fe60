"""What a suite's file may hold, as pydantic models; ``omni suite schema`` prints them."""

from typing import Annotated, Any, Literal

from omni_cli.domain.scoring import KINDS
from omni_cli.plugins import plugins
from omni_cli.written import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    Written,
    one_of,
    said,
)


def _scalar(value: object) -> object:
    if value is None or isinstance(value, dict | list):
        raise ValueError("no text")
    return value


#: A text, or what YAML and TOML read of one that stands without quotes: a number, a date.
Scalar = Annotated[
    Any,
    AfterValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
    said("a text or a number"),
]


def _many(value: object) -> str:
    return "#list" if isinstance(value, list) else "#one"


Scalars = Annotated[
    Annotated[Scalar, Tag("#one")] | Annotated[list[Scalar], Tag("#list")],
    Discriminator(_many),
    said("a text, or a list of texts"),
]


def _scorers() -> list[str]:
    known = [*KINDS, *plugins("omni.scorers")]
    return known + [f"not-{name}" for name in known]


Scorers = Annotated[
    Annotated[str, one_of(_scorers), Tag("#one")]
    | Annotated[list[Annotated[str, one_of(_scorers)]], Tag("#list")],
    Discriminator(_many),
]


class MessageTable(Written):
    role: Literal["system", "user", "assistant"]
    content: str


class Defaults(Written):
    """What may stand in a case, or at the top for all cases."""

    system: str | None = None
    images: Scalars | None = None
    expect: Scalars | None = None
    scorer: Scorers | None = None
    scorers: Scorers | None = None
    schema_: Annotated[dict[str, Any] | str | None, said("a JSON Schema or its file")] = Field(
        default=None, alias="schema"
    )
    command: str | None = None
    rubric: str | None = None
    tolerance: Annotated[float, Field(ge=0)] | None = None


class CaseTable(Defaults):
    """One thing to ask: ``prompt`` or ``messages``."""

    prompt: str | None = None
    messages: list[MessageTable] | None = None
    name: Scalar = ""


def _case(value: object) -> str | None:
    return (
        "#text"
        if isinstance(value, str)
        else "#table"
        if isinstance(value, dict | Written)
        else None
    )


class SuiteFile(Defaults):
    """``cases``: tables, or texts that are prompts."""

    name: Scalar = ""
    models: Scalars | None = None
    cases: Annotated[
        list[
            Annotated[
                Annotated[str, Tag("#text")] | Annotated[CaseTable, Tag("#table")],
                Discriminator(_case),
                said("a text or a table"),
            ]
        ],
        Field(min_length=1),
        said("a list of one case or more"),
    ]

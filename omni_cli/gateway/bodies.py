"""What the management API takes, as pydantic models; the OpenAPI document prints their schemas.

Imported at the first such body, in a thread: pydantic takes longer to import than a request.
"""

from decimal import Decimal
from typing import Annotated, Any

from pydantic.json_schema import models_json_schema

from omni_cli.domain.models import ModelStatus
from omni_cli.domain.scoring import KINDS
from omni_cli.plugins import plugins
from omni_cli.written import Field, Written, clean, one_of, said
from omni_cli.written import read as read

MOST_MODELS, MOST_PROMPTS, MOST_ITERATIONS = 10, 200, 20


def _scorers() -> list[str]:
    """Those that name no file and no command of this machine."""
    known = [*KINDS, *plugins("omni.scorers")]
    known = [kind for kind in known if kind not in ("command", "json-schema")]
    return ["", *known, *(f"not-{kind}" for kind in known)]


#: US dollars per 1,000,000 tokens.
Rate = Annotated[
    Decimal, Field(ge=0, strict=False), said('a number of 0 or more, or the same in quotes ("2.5")')
]
Texts = Annotated[str | list[str], said("a text or a list of texts")]


class Rates(Written):
    input: Rate | None = None
    cached: Rate | None = None
    output: Rate | None = None


class ModelChange(Written):
    """``sure``: take a model that its provider stops serving, or a price that looks wrong."""

    status: ModelStatus | None = None
    price: Rates | None = None
    sure: bool = False


class ModelRoles(Written):
    """Roles in which the model is put first."""

    roles: list[str]
    sure: bool = False


class RoleFirst(Written):
    """``model`` is put first in the role."""

    model: str
    sure: bool = False


class ProviderChange(Written):
    """``max_concurrency`` null: no limit."""

    enabled: bool | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None


class Discovery(Written):
    provider: str | None = None


class Optimizing(Written):
    """The past ``days``, and how many points of quality another setting may ``lose``."""

    days: Annotated[int, Field(ge=1, le=366)] | None = None
    lose: Annotated[float, Field(ge=0, le=100)] | None = None


class Comparison(Written):
    """``max_cost``: US dollars."""

    models: Texts = []
    prompts: Texts
    iterations: Annotated[int, Field(ge=1, le=MOST_ITERATIONS)] = 1
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    max_cost: Annotated[float, Field(ge=0)] | None = None
    expect: Texts = []
    scorer: Annotated[str, one_of(_scorers)] = ""
    judge: str = ""
    name: str = ""


_BODIES: tuple[type[Written], ...] = (
    ModelChange, ModelRoles, RoleFirst, ProviderChange, Discovery, Optimizing, Comparison
)  # fmt: skip


def schemas() -> dict[str, Any]:
    """By name, for an OpenAPI document's components."""
    _, found = models_json_schema(
        [(body, "validation") for body in _BODIES], ref_template="#/components/schemas/{model}"
    )
    named = clean(found)
    assert isinstance(named, dict)
    return dict(named["$defs"])

"""The published schema of the settings file agrees with what omni reads."""

import json
import tomllib
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest


def test_the_schema_takes_what_omni_takes(omni: Callable[..., Any]) -> None:
    schema = json.loads(omni("config", "schema").out)
    good = tomllib.loads('[general]\npremium_model = "x"\n[routing]\ncost_weight = 0.5\n')
    jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"routing": {"priority": "cheapest"}}, schema)

"""The published schema of the settings file agrees with what omni reads."""

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.test_imports import loaded


def test_the_schema_takes_what_omni_takes(omni: Callable[..., Any]) -> None:
    schema = json.loads(omni("config", "schema").out)
    good = tomllib.loads('[general]\npremium_model = "x"\n[routing]\ncost_weight = 0.5\n')
    jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"routing": {"priority": "cheapest"}}, schema)


def test_the_schema_refuses_what_omni_refuses(omni: Callable[..., Any]) -> None:
    schema = json.loads(omni("config", "schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    for wrong in (
        {"rooting": {}},
        {"chat": {"timeout_s": 0}},
        {"general": {"month_day": 32}},
        {"general": {"zone": 3}},
        {"alerts": {"desktp": True}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_check_names_the_place_in_a_file(omni: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "draft.toml"
    file.write_text("[chat]\ntimeout_s = 5\n")
    assert omni("config", "check", str(file)).out == f"{file} fits\n"
    file.write_text("[chat]\ntimout_s = 5\n[general]\nmonth_day = 0\n")
    ran = omni("config", "check", str(file))
    assert ran.code == 3
    assert f"{file}: general.month_day is a whole number from 1 to 31, not 0" in ran.err
    assert "1 more value does not fit" in ran.err
    assert omni("config", "check", str(tmp_path / "none.toml")).code == 3


def test_settings_that_fit_are_read_without_pydantic(fleet_template: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(fleet_template, home)
    (home / "config.toml").write_text('[routing]\npriority = "best"\n')
    packages, _ = loaded({"OMNI_HOME": str(home)}, "route", "x")
    assert "msgspec" in packages
    assert "pydantic" not in packages

"""A hand-written fleet file: errors name the place, the page tells the format, drift has a code."""

import json
import re
import tomllib
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from omni_cli.services.fleet.describe import MODEL_FIELDS
from omni_cli.services.fleet.fleet_file import FleetFile, ModelTable
from omni_cli.written import Written
from tests.integration.cli.conftest import Omni
from tests.paths import REPO

PAGE = (REPO / "docs" / "fleet.md").read_text("utf-8")
P = '[providers.openai]\nname = "x"\nprotocol = "openai"\nbase_url = "https://x.example/v1"\n'
M = '[models."openai/m"]\n'
C = P + M + "[models.'openai/m'.price]\nstate='priced'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[models]]\nname = 'x'", 'models is written [models."PROVIDER/MODEL"], not a list'),
        ("[providers.openai]\nprotocol = 'openai'", "providers.openai.name is missing"),
        ("providers = 3", "providers is written [providers.NAME], not 3"),
        ("[provider.x]\n", "provider is no section: did you mean providers?"),
        (P + "enabled = 'yes'", "providers.openai.enabled is true or false, not 'yes'"),
        (P + "enabld = true", "providers.openai.enabld is no field: did you mean enabled?"),
        (P.replace('"openai"\nb', '"opnai"\nb'), "providers.openai.protocol is one of openai"),
        (P + "headers = ['a']", "providers.openai.headers is a table of texts, not a list"),
        (P + M + "context_window = '1k'", 'models."openai/m".context_window is a whole number'),
        (P + M + "badges = 'vision'", 'models."openai/m".badges is a list of texts'),
        (P + M + "scores = [1]", 'models."openai/m".scores is a table of numbers'),
        (P + M + "price = 5", 'models."openai/m".price is a table, not 5'),
        (
            C + "output = 10",
            "price.output is an amo",
        ),
        (
            C + "input = '-1'",
            "price.input is an amou",
        ),
        (C + "input = 'nan'", "price.input is an"),
        (P + M + "[models.'openai/m'.price]\ninput = '1'", "price.state is missing"),
        (
            C + "input={base='1',tiers=[[1]]}",
            "input.t",
        ),
        ("[roles.w]\nmodels = ['a']", "roles.w.models[1] is a table, not 'a'"),
        ("[roles.w]\nmodels = [{model='a'}]", "roles.w.models[1].priority is missing"),
        ("[chains.c]\n", "chains.c.links is missing"),
        (
            "[chains.c]\nlinks = [{model='a'}, {model=2}]",
            "chains.c.links[2].model is a text",
        ),
        ("[rules]\na = 1", "rules is a list of tables, not a table"),
        ("[[rules]]\nmodel='x'\npriority=1", "rules[1].condition is missing"),
        ("[budgets.'month all']\nlimit_usd = 100", 'budgets."month all".limit_usd is an amount'),
        (
            "[budgets.'month all']\nlimit_usd='1'\nalerts_percent='50'",
            "alerts_percent is a list",
        ),
        (P + "max_concurrency = 0", "openai.max_concurrency is a whole number of 1 or more, not 0"),
        (
            P + M + "badges = ['vision', 3]",
            'models."openai/m".badges[2] is a text in quotes, not 3',
        ),
        (
            P + M + "scores = {coding = true}",
            'models."openai/m".scores.coding is a number, not true',
        ),
        (
            "[chains.c]\nlinks = [{model='a', max_retries=11}]",
            "chains.c.links[1].max_retries is a whole number from 0 to 10, not 11",
        ),
        ("[chains.c]\nlinks = []", "chains.c.links is a list of one table or more, not a list"),
        (
            "[[rules]]\ncondition = 'taskType =='\nmodel = 'x'\npriority = 1",
            "rules[1].condition: ",
        ),
    ],
)
def test_an_error_names_the_place(omni: Omni, text: str, said: str) -> None:
    for command in (("apply", "-", "--yes"), ("apply", "-", "--plan"), ("diff", "-")):
        ran = omni(*command, stdin=text)
        assert ran.code == 2, ran.err
        assert said in ran.err
        assert not re.search(r"object has no|__init__|argument|NoneType|KeyError", ran.err)


def test_the_page_names_every_field_and_its_example_applies(omni: Omni, tmp_path: Path) -> None:
    for section, field in FleetFile.model_fields.items():
        table = get_args(field.annotation)[-1]
        assert issubclass(table, Written)
        heads = (f"| `[{section}", f"| `[[{section}")
        row = next(line for line in PAGE.splitlines() if line.startswith(heads))
        assert {f"`{name}`" for name in table.model_fields} <= set(re.findall(r"`[^`]+`", row))
    assert set(MODEL_FIELDS) | {"aliases", "price"} == set(ModelTable.model_fields)
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    file = tmp_path / "fleet.toml"
    file.write_text(example[1])
    assert omni("diff", str(file), "--exit-code").code == 7
    assert omni("apply", str(file), "--plan", "--exit-code").code == 7
    applied = omni("apply", str(file), "--yes")
    assert applied.code == 0
    assert "applied as revision 1" in applied.err
    assert "rollback" not in applied.err  # there is no revision 0
    # What it leaves out has the defaults: that is no drift.
    for command in (("diff", str(file)), ("apply", str(file), "--plan")):
        ran = omni(*command, "--exit-code")
        assert ran.code == 0, ran.out
    exported = omni("fleet", "export").out
    file.write_text(exported)
    for command in (("diff", str(file)), ("apply", str(file), "--plan")):
        assert omni(*command, "--exit-code").code == 0
    assert omni("apply", "-", "--yes", stdin=exported).code == 0


def test_a_price_with_tiers_comes_back_as_it_was_written(omni: Omni) -> None:
    tiers = "input = {base = '3', tiers = [[200000, '6']]}\noutput = {base = '15'}\n"
    assert omni("apply", "-", "--yes", stdin=C + tiers).code == 0
    price = tomllib.loads(omni("fleet", "export").out)["models"]["openai/m"]["price"]
    assert price["input"] == {"base": "3", "tiers": [[200000, "6"]]}
    assert price["output"] == "15"


def test_the_schema_takes_what_apply_takes_and_nothing_else(omni: Omni) -> None:
    schema = json.loads(omni("fleet", "schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    document = tomllib.loads(example[1])
    jsonschema.validate(document, schema)
    for wrong in ({"provider": {}}, {"rules": [{"model": "x"}]}, {"roles": {"w": {"models": 1}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document | wrong, schema)
    jsonschema.validate({"providers": {"x": {**document["providers"]["openai"]}}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {"providers": {"x": {**document["providers"]["openai"], "protocol": "opnai"}}}, schema
        )


def test_fleet_init_writes_a_commented_file_that_is_the_fleet(omni: Omni, tmp_path: Path) -> None:
    begun = tmp_path / "begun.toml"
    assert omni("fleet", "init", str(begun)).code == 0
    assert omni("diff", str(begun), "--exit-code").code == 0  # all of it is comments
    assert omni("fleet", "init", str(begun)).code == 2
    lines = begun.read_text().splitlines()
    first = lines.index("# [providers.openai]")
    bare = [
        line.removeprefix("# ") for line in lines[first:] if re.match(r"# [\[\w]+.*[=\]]", line)
    ]
    begun.write_text("\n".join(bare))
    assert omni("apply", str(begun), "--yes").code == 0
    assert omni("rules", "edit", "1", "--condition", "hasTools").code == 0  # fits into one line
    written = tmp_path / "written.toml"
    assert omni("fleet", "init", str(written)).code == 0
    assert tomllib.loads(written.read_text()) == tomllib.loads(omni("fleet", "export").out)
    assert omni("diff", str(written), "--exit-code").code == 0
    for kind in ("providers", "models", "roles", "chains", "rules", "budgets"):
        assert re.search(rf"^# .*\n(#.*\n)*\[+{kind}\b", written.read_text(), re.MULTILINE), kind

"""How the source's patterns become names, and its conditional prices rows by date."""

from typing import Any

import pytest

from omni_cli.catalog.convert import base_name, is_snapshot, matches, wire_names
from omni_cli.catalog.timeline import price_rows


@pytest.mark.parametrize(
    ("clause", "yes", "no"),
    [
        ({"equals": "GPT-4"}, "gpt-4", "gpt-4o"),
        ({"starts_with": "gpt-4"}, "GPT-4o", "my-gpt-4"),
        ({"ends_with": "-latest"}, "x-latest", "x-latest-1"),
        ({"contains": "turbo"}, "gpt-4-turbo-x", "gpt-4"),
        ({"regex": r"^o\d$"}, "o3", "o3-mini"),
        ({"or": [{"equals": "a"}, {"equals": "b"}]}, "b", "c"),
        ({"and": [{"starts_with": "a"}, {"ends_with": "b"}]}, "a-b", "a-c"),
    ],
)
def test_clauses(clause: dict[str, Any], yes: str, no: str) -> None:
    assert matches(clause, yes)
    assert not matches(clause, no)


def test_unknown_clauses_are_refused() -> None:
    for clause in ({"sounds_like": "x"}, {"equals": "x", "contains": "x"}):
        with pytest.raises(ValueError, match="clause"):
            matches(clause, "x")


def test_only_names_that_are_written_out_become_models() -> None:
    family = {"id": "fam", "match": {"or": [{"equals": "fam-pro"}, {"starts_with": "fam-"}]}}
    earlier = {"id": "fam-pro-2", "match": {"starts_with": "fam-pro-2"}}
    mini = {"id": "mini", "match": {"or": [{"equals": "mini"}, {"equals": "fam-pro-2-mini"}]}}
    models = [earlier, family, mini]
    assert wire_names(family, models) == ({"fam-pro": ()}, "fam-pro")  # "fam" matches nothing
    assert wire_names(mini, models) == ({"mini": ()}, "mini")  # the source prices it as earlier
    pattern = {"id": "x", "match": {"starts_with": "x-"}}
    assert wire_names(pattern, [pattern]) == ({}, None)


def test_spellings_of_one_name_are_one_model() -> None:
    model = {"id": "GLM-5.1", "match": {"or": [{"equals": "GLM-5.1"}, {"equals": "glm-5.1"}]}}
    assert wire_names(model, [model]) == ({"glm-5.1": ()}, "glm-5.1")
    names = [{"equals": n} for n in ("gpt-5.1", "gpt-5-1", "gpt-5.1-codex")]
    model = {"id": "gpt-5.1", "match": {"or": names}}
    assert wire_names(model, [model])[0] == {"gpt-5.1": ("gpt-5-1",), "gpt-5.1-codex": ()}


def test_snapshots_are_told_from_other_models() -> None:
    assert base_name("gpt-4o-2024-08-06") == "gpt-4o"
    assert base_name("claude-3-opus-20240229") == "claude-3-opus"
    assert is_snapshot("mistral-large-2512", "mistral-large-latest")
    assert not is_snapshot("gpt-5-codex", "gpt-5")


def rows(prices: Any, **fields: Any) -> list[dict[str, Any]]:
    return price_rows({"id": "m", "prices": prices, **fields})


def at(prices: dict[str, Any], **constraint: str) -> dict[str, Any]:
    return {"prices": prices, "constraint": constraint} if constraint else {"prices": prices}


def test_start_dates_become_rows_in_order() -> None:
    found = rows(
        [
            at({"input_mtok": 1, "output_mtok": 5}),
            at({"input_mtok": 2, "output_mtok": 6}, start_date="2026-03-01"),
            at({"input_mtok": 2, "output_mtok": 6}, start_date="2026-04-01"),
        ]
    )
    assert found == [
        {"state": "priced", "input": "1", "output": "5"},
        {"state": "priced", "input": "2", "output": "6", "effective_from": "2026-03-01"},
    ]


def test_the_dearest_hour_is_taken_and_said() -> None:
    (row,) = rows(
        [
            at({"input_mtok": "0.135", "output_mtok": "2"}),
            at({"input_mtok": "0.27"}, start_time="00:30:00Z", end_time="16:30:00Z"),
        ]
    )
    assert row["input"] == "0.27"
    assert row["output"] == "2"
    assert "dearest" in row["note"]


def test_units_tiers_and_fees() -> None:
    tiers = [{"start": 200_000, "price": "6.0"}, {"start": 32_000, "price": 4}]
    (row,) = rows(
        {
            "input_mtok": {"base": "3.00", "tiers": tiers},
            "output_mtok": 1e1,
            "requests_kcount": 12,
            "web_searches_kcount": 10,
        }
    )
    assert row == {
        "state": "priced",
        "input": {"base": "3", "tiers": [[32_000, "4"], [200_000, "6"]]},
        "output": "10",
        "per_request_usd": "0.012",
        "note": "not counted: web searches (per 1,000)",
    }


def test_free_and_unknown_are_told_apart() -> None:
    assert rows({})[0] == {"state": "unknown", "note": "the source lists no price"}
    assert rows([])[0]["state"] == "unknown"
    assert rows({}, name="Gemma 3 (free)")[0] == {"state": "free"}
    assert rows({}, price_comments="Free of charge.")[0] == {"state": "free"}
    assert price_rows({"id": "a/b:free", "prices": {}})[0] == {"state": "free"}
    assert rows({"input_mtok": 0, "output_mtok": 0})[0] == {"state": "free"}
    (pages,) = rows({"input_document_kpages": "1"})
    assert pages["state"] == "unknown"
    assert "pages (per 1,000)" in pages["note"]


def test_units_that_endpoints_count_are_prices() -> None:
    hours = rows({"audio_hours": "0.36", "input_audio_hours": "0.3"})
    assert hours == [{"state": "priced", "per_audio_hour_usd": "0.36"}]
    (spoken,) = rows({"input_mchars": "15"})
    assert spoken == {"state": "priced", "per_million_characters_usd": "15"}
    # Beside a chat's tokens the hours are not counted, and the note says so.
    (both,) = rows({"input_mtok": 1, "output_mtok": 2, "audio_hours": "0.36"})
    assert both["per_audio_hour_usd"] == "0.36"
    assert both["note"] == "not counted: audio (per hour)"


def test_bad_amounts_and_conditions_are_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        rows({"input_mtok": -1})
    with pytest.raises(ValueError, match="unknown price condition"):
        rows([at({"input_mtok": 1}, weekday="monday")])

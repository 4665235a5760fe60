"""What counts as new, updated, deprecated and gone (A7)."""

from omni_cli.domain.discovery import Facts, Known, findings

PLAIN = Facts()


def test_first_look_reports_only_what_omni_does_not_know() -> None:
    found = findings({"a": PLAIN, "b": PLAIN}, None, {"a": Known(PLAIN)})
    assert [(f.kind, f.wire_name, f.known) for f in found] == [("new", "b", False)]


def test_a_known_model_listed_for_the_first_time_is_new() -> None:
    found = findings({"a": PLAIN, "b": PLAIN}, {"a": PLAIN}, {"a": Known(PLAIN), "b": Known(PLAIN)})
    assert [(f.kind, f.wire_name, f.known) for f in found] == [("new", "b", True)]


def test_gone_needs_to_have_been_listed() -> None:
    known = {"a": Known(PLAIN, active=True), "alias": Known(PLAIN, active=True)}
    assert findings({"b": PLAIN}, {"a": PLAIN, "b": PLAIN}, known)[-1].kind == "gone"
    names = [f.wire_name for f in findings({}, {"a": PLAIN}, known) if f.kind == "gone"]
    assert names == ["a"]


def test_updates_of_models_at_work_are_against_what_omni_holds() -> None:
    held = Facts(context_window=8_000, prices={"input": "1", "output": "2"})
    says = Facts(context_window=16_000, prices={"input": "0.5", "output": "2", "cached": "0.1"})
    (update,) = findings({"a": says}, {"a": says}, {"a": Known(held, active=True)})
    assert [(c.field, c.before, c.after) for c in update.changes] == [
        ("context_window", "8000", "16000"),
        ("price input", "1", "0.5"),
    ]
    assert findings({"a": says}, {"a": says}, {"a": Known(held)}) == []
    (update,) = findings({"a": says}, {"a": held}, {"a": Known(held)})
    assert update.kind == "updated"


def test_a_silent_listing_changes_nothing_and_the_users_fields_hold() -> None:
    held = Facts(context_window=8_000, badges=frozenset({"vision"}), prices={"input": "1"})
    assert findings({"a": PLAIN}, {"a": PLAIN}, {"a": Known(held, active=True)}) == []
    says = Facts(context_window=9, prices={"input": "9", "output": "9"})
    fixed = Known(held, active=True, fixed=frozenset({"context_window", "price"}))
    assert findings({"a": says}, None, {"a": fixed}) == []


def test_retirement_of_a_model_at_work() -> None:
    known = {
        "a": Known(PLAIN, active=True, retired_on="2026-12-01"),
        "b": Known(PLAIN, retired_on="2026-12-01"),
    }
    found = findings({"a": PLAIN, "b": PLAIN}, None, known)
    assert [(f.kind, f.wire_name, f.day) for f in found] == [("deprecated", "a", "2026-12-01")]


def test_what_does_not_chat() -> None:
    listed = {
        "text-embedding-9": PLAIN,
        "gpt-9": PLAIN,
        "draws": Facts(output_types=("image",)),
        "whisper-to-text": Facts(output_types=("text",)),
    }
    chats = {f.wire_name: f.chats for f in findings(listed, None, {})}
    assert chats == {
        "text-embedding-9": False,
        "gpt-9": True,
        "draws": False,
        "whisper-to-text": True,
    }

"""Models that answer images: the catalogue's recognisers, and models nobody knows to see."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omni_cli.simulator import Simulator
from tests.image_vendors import KEY, PIXEL, Vendors, vendors
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import connect

TAGS = "clarifai/general-image-recognition"
SAFE = "google-vision/SAFE_SEARCH_DETECTION"
#: A model, the answer's words, and the path that its call takes.
EVERY = (
    (TAGS, ("train", "0.9994"), "/v2/users/clarifai/apps/main/models/general-image-recognition"),
    ("clarifai/nsfw-recognition", ("nsfw", "0.0129"), "/models/nsfw-recognition/outputs"),
    ("google-vision/LABEL_DETECTION", ("Train", "0.97"), "/v1/images:annotate"),
    (SAFE, ("VERY_UNLIKELY", "POSSIBLE"), "/v1/images:annotate"),
)


@pytest.fixture
def seen() -> Iterator[Vendors]:
    with vendors() as found:
        yield found


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    path.write_bytes(PIXEL)
    return str(path)


@pytest.fixture
def recognisers(omni: Omni, seen: Vendors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARIFAI_PAT", KEY)
    monkeypatch.setenv("GOOGLE_VISION_API_KEY", KEY)
    assert omni("providers", "add", "clarifai", "--base-url", seen.url).code == 0
    assert omni("providers", "add", "google-vision", "--base-url", f"{seen.url}/v1").code == 0
    for model, _, _ in EVERY:
        assert omni("models", "activate", model).code == 0


@pytest.mark.usefixtures("recognisers")
@pytest.mark.parametrize(("model", "words", "path"), EVERY)
def test_a_recogniser_answers_a_picture(
    omni: Omni, seen: Vendors, photo: str, model: str, words: tuple[str, ...], path: str
) -> None:
    done = omni("chat", "-m", model, "-i", photo, "tags")
    assert done.code == 0, done.err
    assert all(word in done.out for word in words)
    json.loads(done.out)
    assert path in seen.asked[-1][0]
    document = omni("chat", "--json", "-m", model, "-i", photo, "tags").data
    assert document["model_used"] == model
    # $0.0015 an image, of which Google gives 1,000 a month; Clarifai publishes no price.
    state = "unknown" if model.startswith("clarifai") else "priced"
    assert document["price_state"] == state


@pytest.mark.usefixtures("recognisers")
def test_a_role_of_recognisers_works(omni: Omni, photo: str) -> None:
    assert omni("roles", "assign", "photo_tags", TAGS).code == 0
    assert omni("roles", "assign", "photo_tags", SAFE, "--priority", "2").code == 0
    document = omni("chat", "--json", "-m", "photo_tags", "-i", photo, "tags").data
    assert document["model_used"] == TAGS
    assert "railway" in document["output"]
    text = omni("chat", "-m", "photo_tags", "what do you see?")
    assert text.code == 2
    assert "answers images only" in text.err


@pytest.mark.usefixtures("recognisers")
def test_a_question_without_a_picture_says_what_to_do(omni: Omni, seen: Vendors) -> None:
    done = omni("chat", "-m", TAGS, "what do you see?")
    assert done.code == 2
    assert f"{TAGS}: answers images only" in done.err
    assert "-i FILE" in done.err
    assert not seen.asked


@pytest.mark.usefixtures("recognisers")
def test_auto_never_takes_labels_for_an_answer(
    omni: Omni, home: Path, sim: Simulator, photo: str
) -> None:
    connect(home, sim)
    for prompt in (("hello there",), ("-i", photo, "tags of this picture")):
        document = omni("chat", "--json", *prompt).data
        assert document["model_used"].partition("/")[0] not in ("clarifai", "google-vision")
    (reason,) = {c["reason"] for c in _route(omni, photo)["candidates"] if c["model"] == TAGS}
    assert reason == "writes labels, not text"


@pytest.mark.usefixtures("recognisers")
def test_a_wrong_key_exits_3(omni: Omni, photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARIFAI_PAT", "planted-wrong-key-98765")
    done = omni("chat", "-m", TAGS, "-i", photo, "tags")
    assert done.code == 3
    assert "API key not found" in done.err


def _route(omni: Omni, photo: str, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = omni("route", "--json", *options, "--image", photo, "tags").data
    return found


# --- models nobody knows to see -------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["openai/gpt-4-vision-preview", "groq/llama-3.2-11b-vision-preview"]
)
def test_a_model_named_vision_has_the_badge(omni: Omni, model: str) -> None:
    assert "vision" in omni("models", "show", model, "--json").data["badges"]


def test_a_model_that_is_named_is_asked(omni: Omni, home: Path, sim: Simulator, photo: str) -> None:
    connect(home, sim)
    assert omni("models", "add", "openai/house-model", "--free").code == 0
    done = omni("chat", "--json", "-m", "openai/house-model", "-i", photo, "what is this?").data
    assert done["model_used"] == "openai/house-model"


def test_auto_tries_an_unknown_one_last_and_a_blind_one_never(
    omni: Omni, home: Path, sim: Simulator, photo: str
) -> None:
    connect(home, sim)
    assert omni("models", "add", "openai/house-model", "--free").code == 0
    assert omni("models", "add", "openai/blind", "--free", "--type", "text").code == 0
    for name in ("house-model", "blind"):
        omni("models", "activate", f"openai/{name}")
    rows = {c["model"]: c for c in _route(omni, photo)["candidates"]}
    order = [c["model"] for c in _route(omni, photo)["candidates"] if c["eligible"]]
    assert order[-1] == "openai/house-model"
    assert len(order) > 2
    assert rows["openai/house-model"]["not_known_to_have"] == "vision"
    assert rows["openai/blind"]["reason"] == "takes no images"
    refused = omni("chat", "-m", "openai/blind", "-i", photo, "what is this?")
    assert refused.code == 1
    assert "omni models edit MODEL --badge vision" in refused.err
    # The user knows better than a type.
    assert omni("models", "edit", "openai/blind", "--badge", "vision").code == 0
    assert _route(omni, photo, "-m", "openai/blind")["model"] == "openai/blind"

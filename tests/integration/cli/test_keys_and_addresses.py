"""A corrected key or address works at once; a wrong one is exit 3 and says what to type."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.record import replace
from omni_cli.keys import store_key
from tests.gateway_server import serving
from tests.integration.cli.conftest import Omni
from tests.lab import Lab, laboratory

GOOD, BAD = "sk-good-0123456789abcdef", "sk-bad-0123456789abcdef"
MODEL = "openai/gpt-4o-mini"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory(GOOD) as made:
        yield made


@pytest.fixture
def fleet(omni: Omni, lab: Lab) -> Omni:
    where = ("--base-url", lab.base_url, "--key-env", "OPENAI_API_KEY")
    assert omni("providers", "add", "openai", *where).code == 0
    assert omni("models", "activate", MODEL).code == 0
    return omni


def _by_env(omni: Omni, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)


def _by_file(omni: Omni, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with App() as app:  # as another machine's sync would: nobody forgives the breaker
        store_key("openai", key, env=app.env, home=app.paths.data)


def _breakers(omni: Omni) -> str:
    checks = omni("doctor", "--json").data["checks"]
    return next(str(check["message"]) for check in checks if check["name"] == "breakers")


@pytest.mark.parametrize("give", [_by_env, _by_file])
def test_a_corrected_key_works_at_once(
    fleet: Omni, lab: Lab, give: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if give is _by_file:
        fleet("providers", "edit", "openai", "--key-env", "MY_OWN")
        monkeypatch.delenv("MY_OWN", raising=False)
    give(fleet, BAD, monkeypatch)
    for again in range(2):  # refused by the provider, then by the breaker
        ran = fleet("chat", "hi")
        assert ran.code == 3, ran.err
        assert "omni providers test openai" in ran.err
        asked = len(lab.asked)
        assert again == 0 or asked == 1
    assert fleet("chat", "-m", "auto:cheap", "hi").code == 3
    assert _breakers(fleet) == "open: openai"
    give(fleet, GOOD, monkeypatch)
    assert _breakers(fleet) == "all closed"
    ran = fleet("chat", "hi")
    assert (ran.code, ran.out.strip()) == (0, "from the lab"), ran.err
    assert GOOD not in ran.err
    with App() as app:
        assert not any(GOOD in text or BAD in text for text in app.breakers.all().values())


def test_a_corrected_address_works_at_once(
    fleet: Omni, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", GOOD)
    fleet("providers", "edit", "openai", "--base-url", "http://127.0.0.1:9/v1")
    for _ in range(9):  # until the breaker is open
        ran = fleet("chat", "hi")
        if "breaker" in ran.err:
            break
    assert "circuit breaker of openai is open" in ran.err
    fleet("providers", "edit", "openai", "--base-url", lab.base_url)
    assert fleet("chat", "hi").code == 0


def test_a_missing_key_is_exit_3_however_it_is_asked_for(fleet: Omni) -> None:
    for selector in ("auto", "auto:best", MODEL):
        ran = fleet("chat", "-m", selector, "hi")
        assert ran.code == 3, ran.err
        assert "no key for openai" in ran.err
        assert "set OPENAI_API_KEY, or: omni keys set openai" in ran.err
        assert "omni providers test openai" in ran.err


def test_the_gateway_takes_a_corrected_key_at_once(tmp_path: Path, sim: object, lab: Lab) -> None:
    home = tmp_path / "gateway"
    home.mkdir()
    with serving(home, sim) as served:
        app = served.app
        with app.fleet.change("test", "lab", None, "lab"):
            for provider in app.providers.all():
                mine = provider.slug == "openai"
                app.fleet.put_provider(replace(provider, enabled=mine))
            openai = app.fleet.provider("openai")
            app.fleet.put_provider(
                replace(openai, base_url=lab.base_url, auth_method="api_key", key_env="MINE")
            )
        app.keys.keep("openai", BAD)
        body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
        with httpx.Client(base_url=served.url, timeout=20) as http:
            codes = [http.post("/v1/chat/completions", json=body).status_code for _ in range(3)]
            assert set(codes) == {502}
            refused = len(lab.asked)
            store_key("openai", GOOD, env=app.env, home=home)
            answer = _until_ok(http, body)
        assert answer["choices"][0]["message"]["content"] == "from the lab"
        assert refused < 4


def _until_ok(http: httpx.Client, body: object) -> dict[str, list[dict[str, dict[str, str]]]]:
    """The gateway looks twice a second for what others have changed."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        answer = http.post("/v1/chat/completions", json=body)
        if answer.status_code == 200:
            return answer.json()
        time.sleep(0.1)
    raise AssertionError(answer.text)


# --- addresses that the environment names -------------------------------------------------------

#: Slug, variable, what is in it, the base URL that omni makes of it.
GIVEN = [
    ("openai", "OPENAI_BASE_URL", "https://lab.example/v1/", "https://lab.example/v1"),
    ("openai", "OPENAI_API_BASE", ' "https://lab.example/x"\r\n', "https://lab.example/x"),
    ("anthropic", "ANTHROPIC_BASE_URL", "https://lab.example", "https://lab.example"),
    ("anthropic", "ANTHROPIC_BASE_URL", "https://lab.example/a/v1", "https://lab.example/a"),
    ("google", "GOOGLE_GEMINI_BASE_URL", "https://lab.example", "https://lab.example/v1beta"),
    ("groq", "GROQ_BASE_URL", "https://lab.example", "https://lab.example/openai/v1"),
    ("mistral", "MISTRAL_API_BASE", "https://lab.example/v1", "https://lab.example/v1"),
    ("xai", "XAI_BASE_URL", "https://lab.example", "https://lab.example/v1"),
    ("deepseek", "DEEPSEEK_BASE_URL", "https://lab.example", "https://lab.example"),
    ("openrouter", "OPENROUTER_BASE_URL", "https://lab.example/v1", "https://lab.example/v1"),
    ("perplexity", "PERPLEXITY_BASE_URL", "https://lab.example", "https://lab.example"),
]


@pytest.mark.parametrize(("slug", "variable", "text", "url"), GIVEN)
def test_a_vendors_address_variable_is_read_shown_and_said(
    omni: Omni, monkeypatch: pytest.MonkeyPatch, slug: str, variable: str, text: str, url: str
) -> None:
    with App() as app:
        key_env = app.presets[slug].key_envs[0]
    monkeypatch.setenv(key_env, GOOD)
    monkeypatch.setenv(variable, text)
    shown = omni("init", "--no-local", "--dry-run")
    assert f"{url} ({variable})" in shown.out
    ran = omni("init", "--no-local", "--yes", "--json")
    mine = next(item for item in ran.data["found"] if item["provider"] == slug)
    assert (mine["base_url"], mine["base_url_from"]) == (url, f"env:{variable}")
    assert f"{slug} is at {url}, as {variable} says" in ran.err
    row = omni("providers", "show", slug, "--json").data
    assert (row["base_url"], row["base_url_from"]) == (url, f"env:{variable}")
    assert f"{url} ({variable})" in omni("providers", "show", slug).out
    assert f"{url} ({variable})" in omni("providers", "list").out.replace("\n", "")
    assert f"{url} ({variable})" in omni("doctor").out


def test_providers_add_follows_the_variable_too(
    omni: Omni, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", GOOD)
    monkeypatch.setenv("OPENAI_BASE_URL", lab.base_url)
    assert "as OPENAI_BASE_URL says" in omni("providers", "add", "openai").out
    omni("models", "activate", MODEL)
    assert omni("chat", "hi").out.strip() == "from the lab"
    assert lab.asked == [("/v1/chat/completions", GOOD)]


def test_a_key_does_not_go_where_its_variable_did_not_mean_it_to(
    omni: Omni, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", GOOD)
    omni("providers", "add", "openai")
    omni("models", "activate", MODEL)
    monkeypatch.setenv("OPENAI_BASE_URL", lab.base_url)
    ran = omni("chat", "hi")
    assert ran.code == 3
    assert f"OPENAI_BASE_URL says that openai is at {lab.base_url}" in ran.err
    assert "address of openai" in omni("doctor").out
    assert f"OPENAI_BASE_URL says {lab.base_url}" in omni("init", "--no-local", "--yes").err
    # The user's own word ends it, either way.
    usual = "https://api.openai.com/v1"
    omni("providers", "edit", "openai", "--base-url", usual)
    assert "address of openai" not in omni("doctor").out
    omni("providers", "edit", "openai", "--base-url", lab.base_url)
    assert omni("chat", "hi").out.strip() == "from the lab"


def test_another_vendors_key_never_goes_there(
    omni: Omni, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789abcdef")
    monkeypatch.setenv("OPENAI_BASE_URL", lab.base_url)
    data = omni("init", "--no-local", "--yes", "--json").data
    assert [item["base_url"] for item in data["found"]] == ["https://api.anthropic.com"]
    assert lab.asked == []


@pytest.mark.parametrize("text", ["lab.example/v1", "https://u:p@lab.example", "https://x/?k=1"])
def test_what_is_no_address_is_an_error(
    omni: Omni, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", GOOD)
    monkeypatch.setenv("OPENAI_BASE_URL", text)
    ran = omni("init", "--no-local", "--yes")
    assert ran.code == 3
    assert "OPENAI_BASE_URL names no base URL" in ran.err
    assert text not in ran.err


def test_omnis_own_gateway_is_no_provider(
    omni: Omni, tmp_path: Path, sim: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "gateway"
    home.mkdir()
    monkeypatch.setenv("OPENAI_API_KEY", GOOD)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "omni-key")  # as docs/clients.md has it
    with serving(home, sim) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{served.url}/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", served.url)
        monkeypatch.setenv("OLLAMA_HOST", served.url)
        ran = omni("init", "--yes", "--json")
        assert "OPENAI_BASE_URL is the address of omni's own gateway" in ran.err
        found = {item["provider"]: item["base_url"] for item in ran.data["found"]}
        assert found["openai"] == "https://api.openai.com/v1"
        assert not {"anthropic", "ollama"} & set(found)
        assert "address of openai" not in omni("doctor").out


def test_a_port_that_omni_served_is_its_own(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    with App() as app:
        app.addresses.note_served(4321)
    monkeypatch.setenv("OPENAI_API_KEY", GOOD)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:4321/v1")
    assert omni("providers", "add", "openai", "--json").data["base_url_from"] == "usual"


def test_a_key_in_quotes_works_and_doctor_says_so(
    fleet: Omni, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f'"{GOOD}"\r\n')
    assert fleet("chat", "hi").code == 0
    assert lab.asked[-1][1] == GOOD
    said = fleet("doctor").out
    assert "variable OPENAI_API_KEY: its key stands in quotes" in said
    assert GOOD not in said

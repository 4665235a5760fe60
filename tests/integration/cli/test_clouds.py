"""Azure, Bedrock and Vertex AI at the command line and the gateway: what each asks for, and what is
said where it is refused. The simulator works every signature and token out again."""

from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from omni_cli.simulator import Simulator
from omni_cli.simulator.clouds import KEY_ID, SECRET
from tests.gateway_server import serving
from tests.integration.cli.conftest import Omni
from tests.unit.wire.test_access import account, public_of

HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
SAY = "Reply with exactly: clouds"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def google(sim: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    sim.tokens.public = public_of(key)
    file = tmp_path / "account.json"
    file.write_text(account(key, f"{sim.url}/token"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return file


def chats(omni: Omni, model: str) -> None:
    for how in ((), ("--no-stream",)):
        said = omni("chat", "-m", model, *how, SAY)
        assert said.code == 0, said.err
        assert said.out.strip().endswith("clouds")
    why = omni("why", "--json")
    assert why.code == 0, why.err
    assert SECRET not in why.out


def test_bedrock(
    omni: Omni, sim: Simulator, aws: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = omni("providers", "add", "bedrock", "--base-url", sim.url)
    assert added.code == 0, added.err
    assert omni("providers", "show", "bedrock", "--json").data["key"] == "env:AWS_ACCESS_KEY_ID"
    tested = omni("providers", "test", "bedrock")
    assert tested.code == 0, tested.err
    model = omni("models", "add", f"bedrock/{HAIKU}", "--json")
    assert model.code == 0, model.err
    assert model.data["price"]["state"] == "priced"
    chats(omni, f"bedrock/{HAIKU}")
    # From a profile, of whose region is no word in this address.
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "work")
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "config").write_text("[profile work]\nregion = eu-central-1\n")
    (folder / "credentials").write_text(
        f"[work]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"
    )
    assert omni("providers", "show", "bedrock", "--json").data["key"] == "profile"
    chats(omni, f"bedrock/{HAIKU}")
    (folder / "credentials").write_text(
        f"[work]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = wrong-secret\n"
    )
    refused = omni("chat", "-m", f"bedrock/{HAIKU}", SAY)
    assert refused.code == 3
    assert "does not match" in refused.err
    assert "does not belong to AWS_ACCESS_KEY_ID" in refused.err
    assert "wrong-secret" not in refused.err
    (folder / "credentials").unlink()
    (folder / "config").write_text("[profile work]\nsso_session = corp\n")
    signs_in = omni("chat", "-m", f"bedrock/{HAIKU}", SAY)
    assert signs_in.code == 3
    assert "export-credentials" in signs_in.err


def test_vertex(omni: Omni, sim: Simulator, google: Path) -> None:
    base = f"{sim.url}/v1/projects/p-1/locations/us-east5"
    for slug, model in (
        ("vertex", "gemini-2.5-flash"),
        ("vertex-anthropic", "claude-haiku-4-5@20251001"),
    ):
        added = omni("providers", "add", slug, "--base-url", base)
        assert added.code == 0, added.err
        tested = omni("providers", "test", slug)
        assert tested.code == 0, tested.err
        assert omni("models", "add", f"{slug}/{model}", "--json").data["price"]["input"]
        chats(omni, f"{slug}/{model}")
    google.write_text(google.read_text().replace("BEGIN", "B"))
    broken = omni("chat", "-m", "vertex/gemini-2.5-flash", SAY)
    assert broken.code == 3
    assert "private key" in broken.err


def test_azure(omni: Omni, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key-of-a-test")
    pasted = f"{sim.url}/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    added = omni("providers", "add", "azure", "--base-url", pasted)
    assert added.code == 0, added.err
    shown = omni("providers", "show", "azure", "--json").data
    assert shown["base_url"] == f"{sim.url}/openai?api-version=2024-10-21"
    assert shown["key"] == "env:AZURE_OPENAI_API_KEY"
    assert omni("providers", "test", "azure").code == 0
    like = omni("models", "add", "azure/mine", "--like", "openai/gpt-5.5", "--json")
    assert like.code == 0, like.err
    theirs = omni("models", "show", "openai/gpt-5.5", "--json").data["price"]
    assert like.data["price"]["input"] == theirs["input"]
    chats(omni, "azure/mine")
    # An application of Microsoft Entra instead of a key.
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID"):
        monkeypatch.setenv(name, "a-name")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "a-secret-of-entra")
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", sim.url)
    edited = omni("providers", "edit", "azure", "--key-env", "AZURE_CLIENT_SECRET")
    assert edited.code == 0, edited.err
    chats(omni, "azure/mine")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    refused = omni("chat", "-m", "azure/mine", SAY)
    assert refused.code == 3
    assert "Entra gives no token" in refused.err


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ("azure --resource acme", "https://acme.openai.azure.com/openai/v1"),
        (
            "azure --resource acme --api-version 2024-10-21",
            "https://acme.openai.azure.com/openai?api-version=2024-10-21",
        ),
        (
            "azure --base-url https://acme.openai.azure.com/",
            "https://acme.openai.azure.com/openai/v1",
        ),
        ("bedrock --region eu-west-1", "https://bedrock-runtime.eu-west-1.amazonaws.com"),
        (
            "vertex --project p-1",
            "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global",
        ),
        (
            "vertex-anthropic --project p-1 --location eu",
            "https://aiplatform.eu.rep.googleapis.com/v1/projects/p-1/locations/eu",
        ),
        ("bedrock", "needs region of AWS"),
        ("vertex --region us-east5", "needs project"),
        ("bedrock --region a/b", "is no region"),
        ("openai --region us-east-1", "makes the address of azure"),
    ],
)
def test_what_each_is_asked_for(
    omni: Omni, monkeypatch: pytest.MonkeyPatch, line: str, url: str
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    found = omni("providers", "add", *line.split(), "--json")
    if url.startswith("https:"):
        assert found.code == 0, found.err
        assert found.data["base_url"] == url
    else:
        assert found.code == 2
        assert url in found.out


def test_init_finds_what_leaves_no_doubt(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of AWS alone say nothing of Bedrock."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://acme.openai.azure.com/")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key-of-a-test")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    found = omni("init", "--yes", "--json")
    assert found.code == 0, found.err
    shown = {row["slug"]: row for row in omni("providers", "list", "--json").data}
    assert list(shown) == ["azure"]
    assert shown["azure"]["base_url"].endswith(".com/openai?api-version=2024-10-21")


def test_the_gateway(tmp_path: Path, sim: Simulator, aws: None, google: Path) -> None:
    """All three, whole and streamed, from callers of three protocols; the ledger has each."""
    (tmp_path / "served").mkdir()
    base = f"{sim.url}/v1/projects/p-1/locations/us-east5"
    env = {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "GOOGLE_APPLICATION_CREDENTIALS": str(google),
        "HOME": str(tmp_path),
    }
    claude = "claude-haiku-4-5@20251001"
    with serving(tmp_path / "served", sim, env=env) as served:
        from omni_cli.domain.models import ModelInfo, Provider

        for slug, protocol, url, name in (
            ("bedrock", "bedrock", sim.url, HAIKU),
            ("vertex", "gemini", base, "gemini-2.5-flash"),
            ("vertex-anthropic", "anthropic", base, claude),
        ):
            served.app.fleet.put_provider(Provider(slug, slug, protocol, url))
            model = ModelInfo(f"{slug}/{name}", slug, name, name, badges=frozenset({"reasoning"}))
            served.app.fleet.put_model(model, set_fields=())
        asked = 0
        with httpx.Client(base_url=served.url, trust_env=False, timeout=20) as http:
            for model in (
                f"bedrock/{HAIKU}",
                "vertex/gemini-2.5-flash",
                f"vertex-anthropic/{claude}",
            ):
                for stream in (False, True):
                    turn = {"role": "user", "content": SAY}
                    body = {"model": model, "messages": [turn], "stream": stream, "max_tokens": 50}
                    for path in ("/v1/chat/completions", "/v1/messages"):
                        said = http.post(path, json=body)
                        asked += 1
                        assert said.status_code == 200, said.text
                        assert "clouds" in said.text, said.text
                    contents = [{"role": "user", "parts": [{"text": SAY}]}]
                    how = "streamGenerateContent?alt=sse" if stream else "generateContent"
                    said = http.post(f"/v1beta/models/{model}:{how}", json={"contents": contents})
                    asked += 1
                    assert said.status_code == 200, said.text
                    assert "clouds" in said.text
            body["model"] = f"bedrock/{HAIKU}"
            sim.fault("403", HAIKU)
            refused = http.post("/v1/chat/completions", json=body)
            assert refused.status_code == 404, refused.text  # a model without access is none
            assert "very region" in refused.text
            for fault in ("error-in-stream", "cut", "truncate"):
                sim.heal()
                sim.fault(fault, HAIKU)
                broken = http.post("/v1/chat/completions", json=body)
                assert '"error"' in broken.text, (fault, broken.text)
        served.settle(asked + 4)
        rows = list(served.app.ledger.recent(limit=100))
        used = [row for row in rows if row.state == "ok"]
        assert len(used) == asked
        assert all(row.usage.output_tokens for row in used)
        assert len(sim.tokens.given) == 1  # one token served every call

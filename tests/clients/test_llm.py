"""Simon Willison's ``llm`` as people run it, with the gateway as one more model of its own (E3)."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway_server import Served

Llm = Callable[..., "subprocess.CompletedProcess[str]"]
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63"
    "64f8cf500f0003860180"
    "5a347d6b0000000049454e44ae426082"
)


@pytest.fixture
def llm(gateway: Served, tmp_path: Path) -> Llm:
    """``llm("-m", "fleet", "prompt")`` with the models fleet (the router's choice) and claude."""
    home = tmp_path / "llm"
    home.mkdir()
    names = {
        "fleet": "auto",
        "claude": "anthropic/claude-3-haiku-20240307",
        "nobody": "openai/no-such-model",
    }
    (home / "extra-openai-models.yaml").write_text(
        "".join(
            f"- model_id: {name}\n  model_name: {model}\n  api_base: {gateway.url}/v1\n"
            "  supports_tools: true\n  vision: true\n"
            for name, model in names.items()
        )
    )
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LLM_USER_PATH": str(home),
        "OPENAI_API_KEY": "none",
    }

    def run(*words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "llm", *words],
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_chat_with_usage(llm: Llm, gateway: Served) -> None:
    done = llm("-m", "claude", "--no-stream", "-u", "Is all well?")
    assert done.returncode == 0, done.stderr
    assert "[simulated claude-3-haiku-20240307]" in done.stdout
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert f"{row.usage.input_tokens} input, {row.usage.output_tokens} output" in done.stderr


def test_stream_from_a_pipe(llm: Llm, gateway: Served) -> None:
    done = llm("-m", "fleet", "Summarise this", stdin="one\ntwo\n")
    assert done.returncode == 0, done.stderr
    assert "[simulated" in done.stdout
    gateway.settle(1)
    assert next(iter(gateway.app.ledger.recent(limit=2))).task == "summarization"


def test_tools(llm: Llm, gateway: Served) -> None:
    function = 'def get_weather(city: str) -> str:\n    "Weather of a city"\n    return "sunny"\n'
    done = llm("-m", "claude", "--functions", function, "--td", "Use get_weather for Oslo.")
    assert done.returncode == 0, done.stderr
    assert "get_weather" in done.stderr
    assert "sunny" in done.stderr
    gateway.settle(2)


def test_image(llm: Llm, gateway: Served, tmp_path: Path) -> None:
    picture = tmp_path / "pixel.png"
    picture.write_bytes(PIXEL)
    done = llm("-m", "claude", "-a", str(picture), "What is this?")
    assert done.returncode == 0, done.stderr
    assert "I see 1 image" in done.stdout


def test_error(llm: Llm) -> None:
    done = llm("-m", "nobody", "x")
    assert done.returncode != 0
    assert "no-such-model" in done.stderr
    assert json.dumps("Traceback") not in done.stderr

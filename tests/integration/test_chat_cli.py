"""The stable interface of chat, route, why, logs and rate, as processes on the simulator."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.budgets import Budget
from tests import stable
from tests.conftest import CHEAP, FREE, GOOD, PREMIUM, Fleet
from tests.integration.cli_process import Done, omni

UNPRICED = "openai/tuned-model"
#: A PNG of one pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)


def chat(fleet: Fleet, *args: str, stdin: str | bytes = "") -> Done:
    return omni(fleet.env, "chat", *args, stdin=stdin)


def answered(fleet: Fleet, *args: str, stdin: str = "") -> dict[str, Any]:
    done = chat(fleet, "--json", *args, stdin=stdin)
    assert done.code == 0, done.everything
    document: dict[str, Any] = done.json
    return document


def sent(fleet: Fleet) -> list[dict[str, Any]]:
    """The turns of the newest conversation, as the store keeps them."""
    conversation = fleet.app.conversations.last()
    assert conversation is not None
    return [
        {"role": message.role, "text": message.text, "parts": len(message.parts)}
        for message in fleet.app.conversations.messages(conversation)
    ]


class TestChat:
    def test_json_has_exactly_the_stable_keys(self, fleet: Fleet) -> None:
        document = answered(fleet, "-m", CHEAP, "Say hello")
        assert list(document) == stable.CHAT
        assert list(document["usage"]) == stable.USAGE
        (attempt,) = document["attempts"]
        assert list(attempt) == stable.ATTEMPT
        assert document["model_used"] == CHEAP
        assert document["output"].startswith("[simulated gpt-4o-mini]")
        row = fleet.app.ledger.find(document["id"])
        # $0.15 in and $0.60 out per 1M tokens: 150 and 600 nano-dollars a token.
        usage = document["usage"]
        cost = 150 * usage["input_tokens"] + 600 * usage["output_tokens"]
        assert row.cost_nusd == cost
        assert float(document["cost_usd"]) == pytest.approx(cost / 1e9)
        assert document["price_state"] == "priced"
        assert document["finish_reason"] == "stop"
        saved = float(document["premium_cost_usd"]) - float(document["cost_usd"])
        assert float(document["savings_usd"]) == pytest.approx(saved)

    def test_auto_answers_and_stdout_holds_the_answer_alone(self, fleet: Fleet) -> None:
        done = chat(fleet, "Say hello")
        assert done.code == 0
        assert done.out.startswith("[simulated ")
        assert done.err == ""

    def test_pipe_file_and_words_in_this_order(self, fleet: Fleet, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("FROM A FILE")
        note = str(tmp_path / "notes.txt")
        answered(fleet, "-m", CHEAP, "-f", note, "what", "is", "this?", stdin="FROM A PIPE")
        text = sent(fleet)[0]["text"]
        assert text.index("FROM A PIPE") < text.index("FROM A FILE") < text.index("what is this?")

    def test_a_slow_pipe_is_read_to_its_end(self, fleet: Fleet) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "omni_cli", "chat", "-m", CHEAP, "-q", "sum it up"],
            env=fleet.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            time.sleep(0.8)  # longer than omni takes to start
            process.stdin.write(b"LATE BUT HERE")
            process.stdin.close()
            assert process.wait(30) == 0
        assert "LATE BUT HERE" in sent(fleet)[0]["text"]

    def test_an_image_goes_to_a_model_that_sees(self, fleet: Fleet, tmp_path: Path) -> None:
        (tmp_path / "pixel.png").write_bytes(PIXEL)
        document = answered(fleet, "-i", str(tmp_path / "pixel.png"), "What is on it?")
        assert document["model_used"] in (CHEAP, GOOD)
        assert sent(fleet)[0]["parts"] == 2

    def test_continue_sends_what_was_said(self, fleet: Fleet) -> None:
        first = answered(fleet, "-m", CHEAP, "-s", "Be brief", "My name is Ada")
        second = answered(fleet, "-m", CHEAP, "-c", "My name is Ada")
        assert [turn["role"] for turn in sent(fleet)] == [
            "system",
            "user",
            "assistant",
            "user",
            "assistant",
        ]
        assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
        rows = omni(fleet.env, "logs", "--json").json
        assert rows[0]["conversation"] == rows[1]["conversation"]

    def test_a_role_answers_by_its_models(self, fleet: Fleet) -> None:
        document = answered(fleet, "-m", "reviewer", "Look at this")
        assert document["model_used"] == GOOD
        assert fleet.app.ledger.find(document["id"]).role == "reviewer"

    def test_a_chain_falls_over_and_says_who_answered(self, fleet: Fleet) -> None:
        fleet.sim.fault("503", GOOD)
        document = answered(fleet, "-m", "safe", "Say hello")
        assert document["model_used"] == CHEAP
        assert [(a["model"], a["outcome"], a["error"]) for a in document["attempts"]] == [
            (GOOD, "failed", "overloaded"),
            (GOOD, "failed", "overloaded"),
            (CHEAP, "ok", None),
        ]
        assert [a["cost_usd"] for a in document["attempts"][:2]] == ["0", "0"]

    def test_every_answer_carries_its_attempts_name(self, fleet: Fleet) -> None:
        fleet.sim.fault("503", CHEAP, first=1)
        document = answered(fleet, "-m", CHEAP, "Say hello")
        (entry,) = fleet.sim.answered()
        assert entry["attempt"] == f"{document['id']}-2"

    def test_dry_run_sends_nothing(self, fleet: Fleet) -> None:
        done = chat(fleet, "--dry-run", "-m", "safe", "Say hello")
        assert done.code == 0
        assert "nothing was sent" in done.out
        would = chat(fleet, "--dry-run", "--json", "-m", "safe", "Say hello").json["would_try"]
        assert would[:2] == [GOOD, CHEAP]
        assert fleet.sim.stats()["requests"] == 0
        assert list(fleet.app.ledger.recent(limit=9)) == []

    def test_usage_is_said_on_stderr(self, fleet: Fleet) -> None:
        done = chat(fleet, "-u", "-m", CHEAP, "Say hello")
        assert CHEAP in done.err
        assert "saved $0.0" in done.err
        assert PREMIUM in done.err
        assert "omni why " in done.err
        assert "omni why" not in done.out

    def test_free_is_zero_and_unknown_is_null(self, fleet: Fleet) -> None:
        assert answered(fleet, "-m", FREE, "Hello")["cost_usd"] == "0"
        omni(fleet.env, "models", "add", UNPRICED)
        document = answered(fleet, "-m", UNPRICED, "Hello")
        assert (document["cost_usd"], document["price_state"]) == (None, "unknown")


class TestExitCodes:
    def failed(self, fleet: Fleet, code: int, *args: str) -> dict[str, str]:
        """Run with --json; returns the error."""
        wrapped = omni(fleet.env, *args, "--json")
        assert wrapped.code == code, wrapped.everything
        assert list(wrapped.json) == ["error"]
        error: dict[str, str] = wrapped.json["error"]
        assert list(error) == stable.ERROR
        return error

    def test_without_json_it_is_a_line_and_a_hint_on_stderr(self, fleet: Fleet) -> None:
        done = chat(fleet, "-m", "gpt-4o-mimi", "x")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: no model, role or chain is called 'gpt-4o-mimi'")
        assert "hint: did you mean" in done.err

    def test_1_no_such_thing(self, fleet: Fleet) -> None:
        assert self.failed(fleet, 1, "chat", "-m", "gpt-9", "x")["code"] == "not_found"
        assert self.failed(fleet, 1, "why", "zzzzzzzzzzzzz")["code"] == "not_found"

    def test_2_usage(self, fleet: Fleet) -> None:
        assert self.failed(fleet, 2, "chat", "--priority", "fast", "x")["code"] == "usage"
        assert self.failed(fleet, 2, "chat", "--no-such-option", "x")["code"] == "usage"
        assert self.failed(fleet, 2, "chat", "-f", "/no/such/file", "x")["code"] == "usage"
        assert chat(fleet, stdin=b"\xff\xfe").code == 2

    def test_3_key_or_settings(self, fleet: Fleet) -> None:
        fleet.sim.fault("401", CHEAP)
        assert self.failed(fleet, 3, "chat", "-m", CHEAP, "x")["code"] == "auth"
        (fleet.home / "config.toml").write_text("[nonsense]\n")
        assert self.failed(fleet, 3, "chat", "x")["code"] == "config"

    def test_4_budget(self, fleet: Fleet) -> None:
        error = self.failed(fleet, 4, "chat", "--max-cost", "0", "-m", CHEAP, "x")
        assert error["code"] == "budget_exceeded"
        fleet.app.budgets.put(Budget(0, "all", "", "day", 1))
        error = self.failed(fleet, 4, "chat", "-m", CHEAP, "x")
        assert "day budget of everything" in error["message"]
        assert "omni budgets raise" in error["hint"]
        assert fleet.sim.stats()["requests"] == 0

    def test_5_providers(self, fleet: Fleet) -> None:
        fleet.sim.fault("404", CHEAP)
        error = self.failed(fleet, 5, "chat", "-m", CHEAP, "x")
        assert error["code"] == "all_providers_failed"

    def test_5_a_stream_that_breaks_off(self, fleet: Fleet) -> None:
        fleet.sim.fault("reset-mid", CHEAP)
        done = chat(fleet, "-m", CHEAP, "Say hello to everybody here")
        assert done.code == 5
        assert "broke off after" in done.err
        (row,) = fleet.app.ledger.recent(limit=1)
        assert (row.state, row.error_code, row.estimated) == ("failed", "stream_interrupted", True)
        assert row.cost_nusd

    def test_6_unknown_price(self, fleet: Fleet) -> None:
        omni(fleet.env, "models", "add", UNPRICED)
        (fleet.home / "config.toml").write_text("[prices]\nallow_unknown = false\n")
        error = self.failed(fleet, 6, "chat", "-m", UNPRICED, "x")
        assert error["code"] == "unknown_price"

    def test_a_fault_of_ours_is_told_in_json_too(self, fleet: Fleet) -> None:
        code = (
            "import sys; sys.argv = ['omni', 'why', '--json']\n"
            "from omni_cli.store.ledger import LedgerStore\n"
            "def broken(*a, **k): raise KeyError('inside')\n"
            "LedgerStore.find = broken\n"
            "from omni_cli.cli.app import main; main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=fleet.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"]["code"] == "internal"
        assert "broken" in done.stderr


class TestRoute:
    def test_json_says_what_and_why(self, fleet: Fleet) -> None:
        document = omni(fleet.env, "route", "--json", "Fix this bug: KeyError in f()").json
        assert set(document) >= stable.ROUTE
        assert {m["model"] for m in document["candidates"]} == {CHEAP, GOOD, FREE}
        assert all(set(c) >= stable.CANDIDATE and c["reason"] for c in document["candidates"])
        assert document["model"] == document["candidates"][0]["model"]
        assert sum(document["type_probabilities"].values()) == pytest.approx(1, abs=0.01)
        assert 0 <= document["difficulty"] <= 1
        assert fleet.sim.stats()["requests"] == 0

    def test_a_file_gives_one_decision_a_line(self, fleet: Fleet, tmp_path: Path) -> None:
        lines = [{"id": n, "prompt": p} for n, p in enumerate(["2+2?", "Übersetze: Haus"])]
        path = tmp_path / "prompts.jsonl"
        path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
        done = omni(fleet.env, "route", "--file", str(path), "--json")
        documents = [json.loads(line) for line in done.out.splitlines()]
        assert [d["id"] for d in documents] == [0, 1]
        assert all(set(d) >= stable.ROUTE | {"id"} for d in documents)
        piped = omni(fleet.env, "route", "--file", "-", "--json", stdin=path.read_text())
        assert piped.out == done.out

    @pytest.mark.parametrize("line", ["no json", '["list"]', '{"id": 1}', '{"prompt": "x"}'])
    def test_a_line_that_does_not_fit_is_named(self, fleet: Fleet, line: str) -> None:
        done = omni(fleet.env, "route", "--file", "-", stdin='{"id": 1, "prompt": "x"}\n' + line)
        assert done.code == 2
        assert "line 2" in done.err


class TestReceipts:
    def test_why_logs_and_rate_tell_the_same_story(self, fleet: Fleet) -> None:
        fleet.sim.fault("503", GOOD, first=2)
        document = answered(fleet, "-m", "safe", "Say hello")
        receipt = omni(fleet.env, "why", document["id"], "--json").json
        assert receipt == omni(fleet.env, "why", "--json").json  # the last one
        for key in ("id", "model_used", "task_type", "usage", "cost_usd", "savings_usd"):
            assert receipt[key] == document[key]
        assert receipt["chain"] == "safe"
        assert [a["outcome"] for a in receipt["attempts"]] == ["failed", "failed", "ok"]
        lines = receipt["attempts"][-1]["price_lines"]
        assert sum(float(line["cost_usd"]) for line in lines) == pytest.approx(
            float(document["cost_usd"])
        )
        assert [c["model"] for c in receipt["decision"]["candidates"]][:2] == [GOOD, CHEAP]
        (row,) = omni(fleet.env, "logs", "--json").json
        assert (row["id"], row["cost_usd"], row["attempts"]) == (
            document["id"],
            document["cost_usd"],
            3,
        )
        rated = omni(fleet.env, "rate", document["id"], "5", "--note", "good", "--json").json
        assert (rated["model"], rated["value"], rated["wins"]) == (CHEAP, 1.0, 1.0)
        (outcome,) = omni(fleet.env, "why", "--json").json["outcomes"]
        assert outcome == {"kind": "rating", "value": 1.0, "note": "good"}

    def test_people_can_read_them_too(self, fleet: Fleet) -> None:
        answered(fleet, "-m", CHEAP, "Say hello")
        receipt = omni(fleet.env, "why").out
        assert "attempts" in receipt
        assert "/1M = $" in receipt
        assert CHEAP in omni(fleet.env, "logs").out
        assert "1 good" in omni(fleet.env, "rate", "last", "--up").out

    def test_a_rating_without_a_verdict_is_a_usage_error(self, fleet: Fleet) -> None:
        assert omni(fleet.env, "rate", "last").code == 2
        assert omni(fleet.env, "rate", "last", "9").code == 2

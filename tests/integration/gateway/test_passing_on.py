"""Rankings, moderations, images, speech and transcriptions: on to a provider that has them, and
into the ledger."""

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving

SOUND = b"ID3\x00\x01sound"
#: By path: the type and the body of the answer.
ANSWERS: dict[str, tuple[str, Any]] = {
    "/v1/rerank": ("application/json", {"results": [{"index": 1}], "usage": {"total_tokens": 500}}),
    "/v1/moderations": ("application/json", {"id": "m", "results": [{"flagged": False}]}),
    "/v1/images/generations": (
        "application/json",
        {"data": [{"b64_json": "AA=="}], "usage": {"input_tokens": 50, "output_tokens": 4000}},
    ),
    "/v1/audio/speech": ("audio/mpeg", SOUND),
    "/v1/images/edits": (
        "application/json",
        {
            "data": [{"b64_json": "AA=="}],
            "usage": {
                "input_tokens": 350,
                "input_tokens_details": {"text_tokens": 50, "image_tokens": 300},
                "output_tokens": 4000,
            },
        },
    ),
    "/v1/audio/transcriptions": (
        "application/json",
        {"text": "hello", "usage": {"type": "duration", "seconds": 90}},
    ),
    "/v1/audio/translations": ("text/plain", b"hello"),
}
#: A second of silence: 8,000 samples of a byte.
WAV = (
    b"RIFF\x64\x1f\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"
    b"\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\x40\x1f\x00\x00" + bytes(8_000)
)
BODIES: dict[str, dict[str, Any]] = {
    "rerank": {"query": "q", "documents": ["a", "b"], "top_n": 1},
    "moderations": {"input": "all is well"},
    "images/generations": {"prompt": "a cat", "size": "1024x1024"},
    "audio/speech": {"input": "hello", "voice": "alloy"},
}


#: As OpenAI streams a transcription.
STREAM = (
    b'data: {"type":"transcript.text.delta","delta":"hel"}\n\n',
    b'data: {"type":"transcript.text.delta","delta":"lo"}\n\n',
    (
        b'data: {"type":"transcript.text.done","text":"hello","usage":{"type":"tokens",'
        b'"input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},'
        b'"output_tokens":101,"total_tokens":115}}\n\n'
    ),
    b"data: [DONE]\n\n",
)


def _form(content_type: str, body: bytes) -> dict[str, Any]:
    """As another reader of forms takes it."""
    head = f"content-type: {content_type}\r\n\r\n".encode()
    fields: dict[str, Any] = {}
    for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        name = part.get_param("name", header="content-disposition")
        fields[str(name)] = data if part.get_filename() else data.decode()
    return fields


class _Vendor(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, Any]]] = []

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["content-length"]))
        form = self.headers["content-type"].startswith("multipart/")
        body = _form(self.headers["content-type"], sent) if form else json.loads(sent)
        self.asked.append((self.path, body))
        if isinstance(body, dict) and body.get("stream") == "true":
            self._stream()
            return
        kind, answer = ANSWERS.get(self.path, ("application/json", {"error": "no such path"}))
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200 if self.path in ANSWERS else 404)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event in STREAM:
            self.wfile.write(event)
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing: pytest shows what matters."""


@pytest.fixture
def served(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    _Vendor.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Vendor)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with serving(tmp_path, sim) as found:
        base = f"http://127.0.0.1:{server.server_port}/v1"
        found.app.fleet.put_provider(Provider("up", "up", "openai", base, "none"))
        model = ModelInfo("up/any", "up", "any-1", "any", status="active")
        found.app.fleet.put_model(model, set_fields=("status",))
        price = Price("priced", input=Rate(Decimal(2)), output=Rate(Decimal(10)))
        found.app.models.set_price("up/any", price, origin="user", now_ms=0)
        yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("what", BODIES)
def test_body_and_answer_go_as_they_are(served: Served, what: str) -> None:
    ask = {"model": "up/any", **BODIES[what]}
    answer = httpx.post(f"{served.url}/v1/{what}", json=ask, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert _Vendor.asked == [(f"/v1/{what}", {**ask, "model": "any-1"})]
    kind, body = ANSWERS[f"/v1/{what}"]
    assert answer.headers["content-type"] == kind
    assert (answer.content if isinstance(body, bytes) else answer.json()) == body
    served.settle(1)
    (row,) = served.app.ledger.recent(limit=2)
    usage = row.usage
    match what:
        case "rerank":
            assert (usage.input_tokens, row.estimated, row.total_nusd) == (500, False, 1_000_000)
        case "images/generations":
            assert (usage.input_tokens, usage.output_image_tokens) == (50, 4000)
            assert row.estimated  # the price of a made image's tokens is not known
        case _:
            assert row.estimated  # nothing was counted


def test_who_has_it_not_is_named(served: Served, http: httpx.Client) -> None:
    ask = {"model": "anthropic/claude-3-haiku-20240307", "input": "x"}
    answer = httpx.post(f"{served.url}/v1/moderations", json=ask, trust_env=False)
    assert answer.status_code == 400
    assert "/moderations" in answer.json()["error"]["message"]


def test_rankings_have_coheres_path_as_well(served: Served) -> None:
    ask = {"model": "up/any", **BODIES["rerank"]}
    answer = httpx.post(f"{served.url}/v2/rerank", json=ask, trust_env=False)
    assert answer.json()["results"] == [{"index": 1}]


@pytest.mark.parametrize("what", BODIES)
def test_a_provider_without_the_path_is_no_fault_of_ours(
    gateway: Served, http: httpx.Client, what: str
) -> None:
    """The model that was named goes on answering chats: its breaker tells of them alone."""
    ask = {"model": "openai/gpt-4o", **BODIES[what]}
    for _ in range(3):
        answer = http.post(f"/v1/{what}", json=ask)
        assert answer.status_code == 404, answer.text
        error = answer.json()["error"]
        assert error["code"] == "not_offered"
        assert f"/{what}" in error["message"]
        assert "omni models list" in error["message"]
    chat = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Is all well?"}]}
    assert http.post("/v1/chat/completions", json=chat).status_code == 200
    gateway.settle(4)
    assert [row.total_nusd for row in gateway.app.ledger.recent(limit=4)][1:] == [0, 0, 0]


def _hard(served: Served, nusd: int) -> None:
    """A budget of everything, once the gateway holds the model that was put beside it."""
    served.app.budgets.put(Budget(0, "all", "", "day", nusd))


def _ask(served: Served, what: str, **more: Any) -> httpx.Response:
    ask = {"model": "up/any", **BODIES[what], **more}
    return httpx.post(f"{served.url}/v1/{what}", json=ask, trust_env=False)


def _used(served: Served) -> int:
    (budget,) = served.app.budgets.all()
    status = served.app.budgets.status(budget, served.app.now_ms())
    return status.spent_nusd + status.reserved_nusd


@pytest.mark.parametrize(
    ("what", "field"), [("images/generations", "prompt"), ("audio/speech", "input")]
)
@pytest.mark.parametrize("limited", ["budget", "maximum"])
def test_what_nothing_limits_is_refused_by_its_field_where_money_is_limited(
    served: Served, what: str, field: str, limited: str
) -> None:
    assert _ask(served, what).status_code == 200  # as nothing is limited
    _Vendor.asked.clear()
    ask, headers = {"model": "up/any", **BODIES[what]}, {}
    if limited == "budget":
        _hard(served, 10**12)
    else:
        headers = {"x-omni-max-cost": "1000"}
    answer = httpx.post(f"{served.url}/v1/{what}", json=ask, headers=headers, trust_env=False)
    assert answer.status_code == 402, answer.text
    message = answer.json()["error"]["message"]
    assert repr(field) in message
    assert f"/{what}" in message
    assert "a key that no budget covers" in message
    for more in ({"max_tokens": 5}, {"messages": [], "max_completion_tokens": 1}):
        answer = httpx.post(
            f"{served.url}/v1/{what}", json=ask | more, headers=headers, trust_env=False
        )
        assert answer.status_code == 402
        assert repr(next(iter(more))) in answer.json()["error"]["message"] or "messages" in more
    assert not _Vendor.asked


@pytest.mark.parametrize("what", ["rerank", "moderations"])
def test_no_ranking_or_judgement_passes_a_limit(served: Served, what: str) -> None:
    """Asked until the budget takes no more: what was counted and is held stays within it, and a
    field that is not known is refused by name."""
    limit = 4_000_000
    _hard(served, limit)
    odd = _ask(served, what, made_up=5)
    assert odd.status_code == 402
    assert "made_up" in odd.json()["error"]["message"]
    answers = [_ask(served, what) for _ in range(12)]
    assert {answer.status_code for answer in answers} == {200, 402}
    assert 0 < _used(served) <= limit


def test_a_rankings_question_counts_for_each_text(served: Served) -> None:
    """It is charged again before each of them: a long one before many short ones is dear."""
    query, documents = "q" * 1_000, ["d"] * 1_000  # a million tokens, in 6 kB
    _hard(served, 1_000_000_000)  # $1; a million tokens cost $2
    refused = _ask(served, "rerank", query=query, documents=documents)
    assert refused.status_code == 402, refused.text
    assert _ask(served, "rerank", query=query, documents=documents[:100]).status_code == 200


@pytest.mark.parametrize(
    ("what", "field", "value"),
    [
        ("rerank", "documents", [{"image": "https://x.test/a.png"}]),
        ("rerank", "query", {"image": "https://x.test/a.png"}),
        ("moderations", "input", [{"type": "image_url", "image_url": {"url": "https://x/a"}}]),
    ],
)
def test_a_picture_to_be_ranked_or_judged_needs_a_window(
    served: Served, what: str, field: str, value: Any
) -> None:
    _hard(served, 10**12)
    refused = _ask(served, what, **{field: value})
    assert refused.status_code == 402, refused.text
    message = refused.json()["error"]["message"]
    assert repr(field) in message
    assert "--context" in message


def _form_ask(served: Served, what: str, file: bytes = WAV, **fields: Any) -> httpx.Response:
    name = "image" if what.startswith("images") else "file"
    files = {key: fields.pop(key) for key in list(fields) if isinstance(fields[key], tuple)}
    return httpx.post(
        f"{served.url}/v1/{what}",
        data={"model": "up/any", **fields},
        files={name: ("a.wav", file)} | files,
        trust_env=False,
        timeout=30,
    )


def _priced(served: Served, **terms: Any) -> None:
    price = Price("priced", **{name: Decimal(amount) for name, amount in terms.items()})
    served.app.models.set_price("up/any", price, origin="user", now_ms=1)


FORMS = ["audio/transcriptions", "audio/translations", "images/edits", "images/variations"]


@pytest.mark.parametrize("what", FORMS)
def test_of_a_form_only_the_models_name_changes(served: Served, what: str) -> None:
    file = bytes(range(256)) * 50 + b"\r\n--nearly\r\n"
    answer = _form_ask(served, what, file, prompt="as it is", n="2")
    name = "image" if what.startswith("images") else "file"
    sent = {"model": "any-1", "prompt": "as it is", "n": "2", name: file}
    assert _Vendor.asked == [(f"/v1/{what}", sent)]
    if what == "images/variations":
        assert answer.status_code == 404
        return
    kind, body = ANSWERS[f"/v1/{what}"]
    assert answer.headers["content-type"] == kind
    assert (answer.content if isinstance(body, bytes) else answer.json()) == body


def test_a_sound_costs_by_its_length_and_a_spoken_text_by_its_characters(served: Served) -> None:
    _priced(served, per_audio_hour_usd="0.36", per_million_characters_usd="15")
    assert _form_ask(served, "audio/transcriptions").headers["x-omni-cost-usd"] == "0.009"
    assert _ask(served, "audio/speech", input="x" * 200).headers["x-omni-cost-usd"] == "0.003"
    # A plain text tells nothing: as long as the file can be, and said to be an estimate.
    assert _form_ask(served, "audio/translations").headers["x-omni-cost-usd"] == "0.001"
    served.settle(3)
    rows = served.app.ledger.recent(limit=3)
    assert [(row.estimated, row.price_state) for row in rows] == [
        (True, "priced"),
        (False, "priced"),
        (False, "priced"),
    ]


def test_what_no_price_says_of_a_unit_is_unknown(served: Served) -> None:
    _priced(served, per_image_usd="0.04")
    answer = _form_ask(served, "audio/transcriptions")
    assert "x-omni-cost-usd" not in answer.headers
    served.settle(1)
    (row,) = served.app.ledger.recent(limit=1)
    assert row.price_state == "unknown"


def test_images_cost_what_each_does(served: Served) -> None:
    _priced(served, per_image_usd="0.04")
    assert _ask(served, "images/generations").headers["x-omni-cost-usd"] == "0.04"
    assert _form_ask(served, "images/edits").headers["x-omni-cost-usd"] == "0.04"


def test_a_transcription_streams_and_is_counted(served: Served) -> None:
    price = Price("priced", input=Rate(Decimal(2)), input_audio=Rate(Decimal(6)), output=Rate(
        Decimal(10)
    ))  # fmt: skip
    served.app.models.set_price("up/any", price, origin="user", now_ms=1)
    answer = _form_ask(served, "audio/transcriptions", stream="true")
    assert answer.headers["content-type"] == "text/event-stream"
    events = [line for line in answer.text.splitlines() if line.startswith("data")]
    assert events == [event.decode().strip() for event in STREAM]
    assert answer.text.endswith("cost_usd=0.001078 attempts=1\n\n")
    served.settle(1)
    (row,) = served.app.ledger.recent(limit=1)
    assert (row.usage.input_audio_tokens, row.usage.output_tokens, row.estimated) == (
        10,
        101,
        False,
    )


UNITS = {"per_audio_hour_usd": "0.36", "per_million_characters_usd": "15", "per_image_usd": "0.04"}


@pytest.mark.parametrize(
    ("what", "fields", "least"),
    [
        ("images/generations", {"n": 3}, 120_000_000),
        ("audio/speech", {"input": "x" * 1_000}, 15_000_000),
        ("audio/transcriptions", {}, 1_000_000),
        ("images/edits", {"n": "3"}, 120_000_000),
    ],
)
def test_under_a_budget_units_are_bounded(
    served: Served, what: str, fields: dict[str, Any], least: int
) -> None:
    """Just so much as it can cost lets it through, a nano-dollar less does not."""
    _priced(served, **UNITS)
    ask = _form_ask if what in FORMS else _ask
    _hard(served, least - 1)
    assert ask(served, what, **fields).status_code == 402
    assert not _Vendor.asked
    (budget,) = served.app.budgets.all()
    served.app.budgets.put(Budget(budget.id, "all", "", "day", least))
    assert ask(served, what, **fields).status_code == 200


def test_a_compressed_sound_counts_by_the_lowest_rate_of_its_coding(served: Served) -> None:
    _priced(served, per_audio_hour_usd="3.6")  # $0.001 a second
    _hard(served, 100_000_000)
    for data, status in [
        (bytes(1_000), 402),  # nobody knows what it is
        (b"ID3" + bytes(100_000), 402),
        (b"ID3" + bytes(99_000), 200),
    ]:
        assert _form_ask(served, "audio/transcriptions", data).status_code == status


def _two(head: bytes, kind: str = "boundary=b", before: bytes = b"--b\r\n") -> tuple[bytes, str]:
    """A form with a model and what another reader may take for another one."""
    model = b'content-disposition: form-data; name="model"\r\n\r\nup/any\r\n'
    body = b"--b\r\n" + model + before + head + b"\r\n\r\nup/dear\r\n--b--\r\n"
    return body, f"multipart/form-data; {kind}"


_NAMED = b"content-disposition: form-data; "


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        _two(_NAMED + b'name="x"; name="model"'),
        _two(_NAMED + b"name=\"x\"; name*=utf-8''model"),
        _two(_NAMED + b'name="mo\\del"'),
        _two(_NAMED + b'name="Model"'),
        _two(_NAMED + b'name="x" name="model"'),
        _two(b'content-disposition: attachment; name="model"'),
        _two(_NAMED + b'name="x"\r\n' + _NAMED + b'name="model"'),
        _two(_NAMED + b'name="x";\r\n name="model"'),
        _two(_NAMED + b'name="x"\nx: y'),
        _two(_NAMED + b'name="x"\r\ncontent-transfer-encoding: base64'),
        _two(_NAMED + b'name="model"', before=b"--b\r\n" + _NAMED + b'name="x"\r\n\r\ny\n--b\n'),
        _two(_NAMED + b'name="x"', kind="xboundary=b; boundary=c"),
        _two(_NAMED + b'name="x"', kind="boundary=b; boundary=c"),
        _two(_NAMED + b'name="x"', kind='boundary="c\\b"'),
        (
            _two(_NAMED + b'name="x"')[0] + b"--b\r\n" + _NAMED + b'name="model"\r\n\r\nz\r\n--b--',
            "multipart/form-data; boundary=b",
        ),
        (b"--b\r\nno head", "multipart/form-data; boundary=b"),
        (b"nothing", "multipart/form-data; boundary=b"),
        (b"nothing", "multipart/form-data"),
        (
            (
                b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nup/any\r\n--b\r\n'
                b'content-disposition: form-data; name="model"\r\n\r\nother\r\n--b--\r\n'
            ),
            "multipart/form-data; boundary=b",
        ),
    ],
)
def test_a_form_that_can_be_read_in_no_or_two_ways_is_refused(
    served: Served, body: bytes, kind: str
) -> None:
    answer = httpx.post(
        f"{served.url}/v1/audio/transcriptions",
        content=body,
        headers={"content-type": kind},
        trust_env=False,
    )
    assert answer.status_code == 400, answer.text
    assert not _Vendor.asked


def test_forms_as_clients_write_them_pass(served: Served) -> None:
    body, kind = _two(_NAMED + b'name=prompt; filename*=UTF-8\'\'a%20b; filename="C:\\a \\"b;.wav"')
    answer = httpx.post(
        f"{served.url}/v1/audio/transcriptions",
        content=body.replace(b"up/dear", b""),
        headers={"content-type": kind},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text


def test_a_field_in_another_spelling_counts_as_it(served: Served) -> None:
    """Servers written in Go take the last of both."""
    _priced(served, **UNITS)
    _hard(served, 1_000_000)
    assert _ask(served, "audio/speech", input="x", Input="x" * 1_000).status_code == 402
    answer = _form_ask(served, "audio/transcriptions", File=("b.wav", WAV))
    assert answer.status_code == 402
    answer = _ask(served, "audio/speech", input="x", Model="dear")
    assert (answer.status_code, _Vendor.asked) == (400, [])


def test_rankings_by_the_search(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cohere counts searches of up to a hundred texts; it tells how many there were."""
    _priced(served, per_thousand_searches_usd="2")
    told = {"results": [], "meta": {"billed_units": {"search_units": 1}}}
    monkeypatch.setitem(ANSWERS, "/v1/rerank", ("application/json", told))
    _hard(served, 3_999_999)
    documents = ["d"] * 101
    assert _ask(served, "rerank", documents=documents).status_code == 402
    answer = _ask(served, "rerank", documents=documents[:100])
    assert answer.headers["x-omni-cost-usd"] == "0.002"


@pytest.mark.parametrize(("name", "tokens"), [("gpt-image-1.5", 6_240), ("gpt-image-2", 23_719)])
def test_images_of_a_model_whose_tokens_are_known(served: Served, name: str, tokens: int) -> None:
    """By the dearest size and quality, and what each partial image adds."""
    model = ModelInfo("up/image", "up", name, name, status="active", output_types=("image",))
    served.app.fleet.put_model(model, set_fields=("status", "output_types"))
    price = Price("priced", input=Rate(Decimal(0)), output=Rate(Decimal(10)))
    served.app.models.set_price("up/image", price, origin="user", now_ms=0)
    need = 2 * (tokens + 100) * 10_000
    _hard(served, need - 1)
    more = {"model": "up/image", "n": 2, "partial_images": 1}
    assert _ask(served, "images/generations", **more).status_code == 402
    (budget,) = served.app.budgets.all()
    served.app.budgets.put(Budget(budget.id, "all", "", "day", need))
    answer = _ask(served, "images/generations", **more)
    assert answer.headers["x-omni-cost-usd"] == "0.04"
    served.settle(2)
    (row,) = served.app.ledger.recent(limit=1)
    assert not row.estimated  # it makes nothing else: its rate is that of images

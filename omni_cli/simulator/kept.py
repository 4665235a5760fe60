"""What vendors keep: files, and batches that are answered after a while.

A batch's requests are answered when it is made, and its results shown once it has ended: at its
first look, or later where it is held (``POST /__sim/batches``). Sources: see ``wire/*/batches.py``.
"""

import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.errors import BadRequest
from omni_cli.simulator.vendors import Json
from omni_cli.wire.batching import Batching, object_of
from omni_cli.wire.multipart import Form, Part
from omni_cli.wire.registry import batching

#: As ``wire.facts.Operation.does``.
OPERATIONS = frozenset(
    {"files", "file", "file_content", "batches", "batch", "batch_cancel", "batch_results"}
)
_DAY_S, _KEPT_S = 86_400, 30 * 86_400
_ID = re.compile(r"/(?:files|batches)/([^/]+)")
_FILE_NAME = re.compile(rb'filename="([^"]*)"')
#: Status and body of one request, for a path and a body.
Answerer = Callable[[str, Json], tuple[int, Json]]
Answer = tuple[int, str, bytes]


class _File(Struct):
    id: str
    name: str
    purpose: str
    data: bytes
    created: int


class _Batch(Struct):
    """``results``: by custom_id, status and body. ``how``: it ended, "" while it has not."""

    id: str
    created: int
    results: dict[str, tuple[int, Json]]
    about: Json
    how: str = ""
    cancelled: bool = False
    files: list[str] = field(default_factory=list)


class Shelf:
    """What one simulator keeps. ``hold``: how batches end: "" at their first look; "hold": not yet;
    "expire": after half of their requests, as those do that are cancelled while they are held."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self.hold = ""
        self._files: dict[str, _File] = {}
        self._batches: dict[str, _Batch] = {}

    def clear(self) -> None:
        self.hold = ""
        self._files.clear()
        self._batches.clear()

    def answer(
        self,
        protocol: str,
        does: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: bytes,
        answerer: Answerer,
    ) -> Answer:
        """Raises BadRequest: it is wrong. Raises KeyError: there is no such thing."""
        speaks = batching(protocol)
        assert speaks is not None
        match = _ID.search(path)
        ident = match[1] if match else ""
        if does == "files":
            if method == "POST":
                return _said(_of_file(self._keep(content, headers)))
            return _said(_list([_of_file(file) for file in self._files.values()]))
        if does == "file":
            file = self._files[ident]
            if method == "DELETE":
                del self._files[ident]
                return _said({"id": ident, "object": "file", "deleted": True})
            return _said(_of_file(file))
        if does == "file_content":
            return 200, "application/octet-stream", self._files[ident].data
        if does == "batches" and method == "POST":
            return _said(self._told(speaks, self._make(speaks, content, answerer)))
        if does == "batches":
            found = [self._told(speaks, batch) for batch in self._batches.values()]
            return _said(_list(found[::-1]))
        batch = self._batches[ident]
        if does == "batch_cancel":
            batch.cancelled = True
        elif method == "DELETE":
            if not batch.how:
                raise BadRequest("the batch is still being worked on")
            del self._batches[ident]
            return _said({"id": ident, "type": "message_batch_deleted"})
        elif does == "batch_results":
            lines = [_line(speaks, name, *result) for name, result in batch.results.items()]
            return 200, "application/x-jsonl", b"".join(lines)
        else:
            self._look(speaks, batch)
        return _said(self._told(speaks, batch))

    # --- files ----------------------------------------------------------------------------------

    def _keep(self, content: bytes, headers: Mapping[str, str]) -> _File:
        form = Form(content, headers.get("content-type", ""))
        part, purpose = form.value("file"), form.one("purpose")
        if not isinstance(part, Part):
            raise BadRequest("'file' is a required property")
        head = content[: part.start].rpartition(b"\r\n\r\n")[0].rpartition(b"\r\n\r\n")[2]
        name = _FILE_NAME.search(head)
        found = name[1].decode("utf-8", "replace") if name else "upload"
        return self._store(part.data, found, purpose)

    def _store(self, data: bytes, name: str, purpose: str) -> _File:
        file = _File(f"file-{self._new_id()}", name, purpose, data, int(time.time()))
        self._files[file.id] = file
        return file

    # --- batches --------------------------------------------------------------------------------

    def _make(self, speaks: Batching, content: bytes, answerer: Answerer) -> _Batch:
        about = object_of(content)
        data = content
        if speaks.from_files:
            data = self._files[str(about.get("input_file_id"))].data
        results = {}
        with tempfile.TemporaryFile() as source:
            source.write(data)
            source.seek(0)
            for item in speaks.items(source):
                results[item.custom_id] = answerer(item.endpoint, json.loads(item.body))
        prefix = "batch_" if speaks.from_files else "msgbatch_"
        kept = about if speaks.from_files else {}
        batch = _Batch(f"{prefix}{self._new_id()}", int(time.time()), results, kept)
        self._batches[batch.id] = batch
        return batch

    def _look(self, speaks: Batching, batch: _Batch) -> None:
        """Somebody looks: it may have ended by now."""
        if batch.how or (self.hold == "hold" and not batch.cancelled):
            return
        batch.how = "cancelled" if batch.cancelled else "expired" if self.hold else "completed"
        if batch.how != "completed":
            rest = list(batch.results)[len(batch.results) // 2 :]
            never = 0 if batch.how == "expired" else -1
            batch.results.update({name: (never, {}) for name in rest})
        if not speaks.from_files:
            return
        for good in (True, False):
            lines = [
                _line(speaks, name, status, body)
                for name, (status, body) in batch.results.items()
                if (status == 200) is good and status != -1
            ]
            made = self._store(b"".join(lines), f"{batch.id}.jsonl", "batch_output")
            batch.files.append(made.id if lines else "")

    def _told(self, speaks: Batching, batch: _Batch) -> Json:
        done = [status for status, _ in batch.results.values()]
        good = sum(status == 200 for status in done) if batch.how else 0
        bad = sum(status > 200 for status in done) if batch.how else 0
        if not speaks.from_files:
            ended = bool(batch.how)
            status = "ended" if ended else "canceling" if batch.cancelled else "in_progress"
            return {
                "id": batch.id,
                "type": "message_batch",
                "processing_status": status,
                "request_counts": {
                    "processing": 0 if ended else len(done),
                    "succeeded": good,
                    "errored": bad,
                    "canceled": done.count(-1) if ended else 0,
                    "expired": done.count(0) if ended else 0,
                },
                "created_at": _rfc(batch.created),
                "expires_at": _rfc(batch.created + _DAY_S),
                "ended_at": _rfc(int(time.time())) if ended else None,
                "cancel_initiated_at": _rfc(batch.created) if batch.cancelled else None,
                "archived_at": None,
                "results_url": f"https://api.anthropic.com/v1/messages/batches/{batch.id}/results"
                if ended
                else None,
            }
        output, errors = batch.files or ("", "")
        underway = "cancelling" if batch.cancelled else "in_progress"
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.about.get("endpoint"),
            "errors": None,
            "input_file_id": batch.about.get("input_file_id"),
            "completion_window": batch.about.get("completion_window"),
            "status": batch.how or underway,
            "output_file_id": output or None,
            "error_file_id": errors or None,
            "created_at": batch.created,
            "expires_at": batch.created + _DAY_S,
            "request_counts": {"total": len(done), "completed": good, "failed": bad},
            "metadata": batch.about.get("metadata"),
        }


def _line(speaks: Batching, name: str, status: int, body: Json) -> bytes:
    """One request's result; status 0: it came too late, -1: it was given up."""
    if not speaks.from_files:
        result: Json = {"type": "succeeded", "message": body}
        if status in (0, -1):
            result = {"type": "expired" if status == 0 else "canceled"}
        elif status != 200:
            result = {"type": "errored", "error": body}
        return json.dumps({"custom_id": name, "result": result}).encode() + b"\n"
    answered: Json | None = {"status_code": status, "request_id": f"req_{name}", "body": body}
    error = None
    if status == 0:
        answered = None
        error = {
            "code": "batch_expired",
            "message": "This request could not be executed before the completion window expired.",
        }
    said = {"id": f"batch_req_{name}", "custom_id": name, "response": answered, "error": error}
    return json.dumps(said).encode() + b"\n"


def _of_file(file: _File) -> Json:
    return {
        "id": file.id,
        "object": "file",
        "bytes": len(file.data),
        "created_at": file.created,
        "expires_at": file.created + _KEPT_S,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def _list(found: list[Json]) -> Json:
    ids: list[Any] = [item["id"] for item in found] or [None]
    return {
        "object": "list",
        "data": found,
        "first_id": ids[0],
        "last_id": ids[-1],
        "has_more": False,
    }


def _said(value: Json) -> Answer:
    return 200, "application/json", json.dumps(value).encode()


def _rfc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")

"""Conversations, so that ``omni chat -c`` can go on with one."""

import json
from collections.abc import Sequence

from omni_cli.domain.chat import Message, message_document, message_from
from omni_cli.records import Lock
from omni_cli.store.port import Table


class ConversationStore(Table):
    def create(self, conversation: int, *, at_ms: int, title: str) -> None:
        with self._store.transaction(Lock.CONVERSATIONS) as db:
            db.execute(
                "INSERT INTO conversations VALUES (?, ?, ?, ?)", (conversation, at_ms, at_ms, title)
            )

    def last(self) -> int | None:
        return self._value(
            int, "SELECT id FROM conversations ORDER BY updated_at DESC, id DESC LIMIT 1"
        )

    def messages(self, conversation: int) -> list[Message]:
        rows = self._store.db.execute(
            "SELECT message FROM turns WHERE conversation = ? ORDER BY n", (conversation,)
        )
        return [message_from(json.loads(text)) for (text,) in rows]

    def exists(self, conversation: int) -> bool:
        return bool(
            self._store.db.execute(
                "SELECT 1 FROM conversations WHERE id = ?", (conversation,)
            ).fetchone()
        )

    def append(
        self, conversation: int, messages: Sequence[Message], *, request: int, at_ms: int
    ) -> None:
        with self._store.transaction(Lock.CONVERSATIONS) as db:
            (count,) = db.execute(
                "SELECT coalesce(max(n) + 1, 0) FROM turns WHERE conversation = ?", (conversation,)
            ).fetchone()
            db.executemany(
                "INSERT INTO turns (conversation, n, request, message) VALUES (?, ?, ?, ?)",
                [
                    (
                        conversation,
                        count + offset,
                        request,
                        json.dumps(message_document(message), ensure_ascii=False),
                    )
                    for offset, message in enumerate(messages)
                ],
            )
            db.execute(
                "UPDATE conversations SET updated_at = ? WHERE id = ?", (at_ms, conversation)
            )

    def last_request(self, conversation: int) -> int | None:
        """The newest request that was answered in it."""
        return self._value(
            int,
            "SELECT max(id) FROM requests WHERE conversation = ? AND state = 'ok'",
            (conversation,),
        )

    def last_model(self, conversation: int) -> str | None:
        """Who answered the conversation's newest turn."""
        return self._value(
            str,
            "SELECT model FROM requests WHERE conversation = ? AND state = 'ok'"
            " ORDER BY created_at DESC, id DESC LIMIT 1",
            (conversation,),
        )

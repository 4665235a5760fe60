"""Which session of which agent a request belongs to, by what its caller says of itself.

In this order: omni's own headers (domain/sessions.py), the agent's own headers or metadata, the
client key (a launcher gives each session a key), the beginning of the conversation. Names of the
agents are those of their logs' importers, so that a session that came through the gateway and its
log are one.

Sources: the agents' recorded requests in fixtures/clients; openai/codex (session, thread and
sub-agent headers), anomalyco/opencode (session/llm/request.ts), QwenLM/qwen-code.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b

import msgspec

from omni_cli.domain.periods import HOUR_MS
from omni_cli.domain.record import replace
from omni_cli.domain.sessions import (
    HEADERS,
    Session,
    SessionRow,
    below,
    kept,
    known_better,
    project_name,
)
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.auth import Principal
from omni_cli.wire.server import Refused

#: How a program begins to name itself, lower case, and what its importer calls it.
_AGENTS = {
    "claude-cli": "claude-code",
    "claude-code": "claude-code",
    "codex": "codex",
    "geminicli": "gemini-cli",
    "gemini-cli": "gemini-cli",
    "opencode": "opencode",
    "qwencode": "qwen-code",
    "qwen-code": "qwen-code",
    "charm-crush": "crush",
    "crush": "crush",
    "goose": "goose",
    "cline": "cline",
    "roocode": "roo-code",
    "roo-code": "roo-code",
    "kilo": "kilo",
    "aider": "aider",
    "githubcopilot": "copilot",
    "copilot": "copilot",
}
#: Headers that name a session, the agents' own before common ones.
_SESSION = (
    "x-claude-code-session-id",
    "x-opencode-session",
    "x-qwen-code-session-id",
    "session_id",
    "session-id",
    "thread-id",
    "conversation_id",
    "x-session-id",
    "x-session-affinity",
    "x-conversation-id",
    "conversation-id",
    "x-litellm-session-id",
    "helicone-session-id",
)
_PARENT = ("x-codex-parent-thread-id", "x-parent-session-id")
_AGENT_ID, _PARENT_ID = "x-claude-code-agent-id", "x-claude-code-parent-agent-id"
_SUBAGENTS = frozenset({_AGENT_ID, "x-openai-subagent"})
#: Without any of them, of a program that is no agent, only a body's metadata or a key can tell.
_TELLING = frozenset((*HEADERS, *_SESSION, *_PARENT, *_SUBAGENTS))
#: What Claude Code makes a user's id of: "user_…_account_…_session_…", later an object as text.
_CLAUDE_USER = re.compile(r'user_[0-9a-f]+_account_|\{\s*"(?:device_id|account_uuid|session_id)"')
_CLAUDE_SESSION = re.compile(r'(?:_session_|"session_id"\s*:\s*")([0-9A-Za-z-]{8,64})')
#: Sessions that a process knows to be noted; how often the time of one is brought up to date.
_KNOWN, _NOTE_MS = 4096, HOUR_MS // 60
_ROLE = msgspec.json.Decoder(type=dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(type=list[msgspec.Raw])
#: How long a prompt stays in a provider's cache unless its caller asks for more (Claude docs and
#: OpenAI's, "Prompt caching": five minutes).
_WARM_MS = 5 * HOUR_MS // 60
#: Fields that hold the conversation, and how many of its first messages are looked at.
_CONVERSATION, _LOOKED_AT = ("messages", "input", "contents"), 4


class Sessions:
    """Args:
    note: writes down, with the next batch, what is known of a session.
    """

    def __init__(self, note: Callable[[SessionRow], None]) -> None:
        self._note = note
        self._known: dict[str, tuple[Session, int]] = {}
        self._answered: dict[str, tuple[str, int]] = {}
        #: Sessions whose calls are refused, and those of their sub-agents.
        self.stopped: frozenset[str] = frozenset()

    def admit(self, session: Session, who: Principal) -> None:
        """Raises Refused: somebody stopped it (``omni session stop``)."""
        own = "" if who.session is None else who.session.id
        for ident in (session.id, session.parent, own):
            if ident in self.stopped:
                # Agents take a 403 for a key that is wrong, and try some others again.
                raise Refused(
                    410,
                    "session_stopped",
                    f"this session was stopped: omni carries out no more calls of {ident}",
                    hint=f"omni session resume {ident} lets it go on",
                )

    def of(self, headers: Mapping[str, str], ask: Ask, who: Principal, now_ms: int) -> Session:
        """The session; without an id where nothing tells of one."""
        agent = agent_of(headers)
        given = who.session
        tells = agent or given is not None or "metadata" in ask.fields
        if not tells and _TELLING.isdisjoint(headers):
            return Session("")
        said = {
            field: kept(headers[header]) for header, field in HEADERS.items() if header in headers
        }
        metadata = _metadata(ask) if "metadata" in ask.fields else {}
        agent = agent or agent_in(metadata)
        ident = said.get("id") or next(
            (kept(headers[name]) for name in _SESSION if headers.get(name)), ""
        )
        if not ident:
            ident = _in_body(metadata, ask, agent)
        if not ident and given is not None:
            ident = given.id
        # A sub-agent of Claude Code asks under its parent's name, and says its own beside it.
        whole, part = ident, kept(headers.get(_AGENT_ID, "")) if ident else ""
        ident = below(whole, part)
        if not ident and agent:
            ident = _by_prefix(ask, f"{who.org}\0{who.key}\0{agent}")
        found = Session(ident, agent)
        parent = next((kept(headers[name]) for name in _PARENT if headers.get(name)), "")
        if part:
            parent = below(whole, kept(headers.get(_PARENT_ID, "")))
        if parent and parent != ident:
            found.parent = parent
        if given is not None:
            own = given.id == ident
            launched = given if own else replace(given, id=ident, title="", parent=given.id)
            found = known_better(launched, found)
        if said:
            found = known_better(found, Session(**{"id": ident, **said}))
            found.project = project_name(found.project)
        if found.id:
            self._keep(found, now_ms)
        return found

    def warm(self, session: Session, now_ms: int) -> str | None:
        """The model in whose prompt cache the session's conversation likely is."""
        model, at_ms = self._answered.get(session.id, ("", 0))
        return model if model and now_ms - at_ms < _WARM_MS else None

    def answered(self, session: Session, model: str, now_ms: int) -> None:
        """A model answered a request of the session."""
        if session.id:
            if len(self._answered) >= _KNOWN:
                self._answered.clear()
            self._answered[session.id] = model, now_ms

    def _keep(self, session: Session, now_ms: int) -> None:
        known = self._known.get(session.id)
        if known is not None and known[0] == session and now_ms - known[1] < _NOTE_MS:
            return
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[session.id] = session, now_ms
        self._note(SessionRow(session, now_ms, now_ms))


def agent_of(headers: Mapping[str, str]) -> str:
    """The agent that sends them, with ":subagent" where they say so; "" of any other program."""
    agent = _named(headers.get("user-agent", ""))
    below = agent and not _SUBAGENTS.isdisjoint(headers)
    return f"{agent}:subagent" if below else agent


@lru_cache(maxsize=256)
def _named(user_agent: str) -> str:
    name = user_agent.lower()
    return next((agent for begin, agent in _AGENTS.items() if name.startswith(begin)), "")


def _metadata(ask: Ask) -> Mapping[str, object]:
    try:
        return msgspec.json.decode(ask.fields["metadata"], type=dict[str, object])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return {}


def agent_in(metadata: object) -> str:
    """The agent that a body's metadata tells of where no header does, as behind another proxy."""
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    claudes = isinstance(user, str) and _CLAUDE_USER.match(user) and _CLAUDE_SESSION.search(user)
    return "claude-code" if claudes else ""


def _in_body(metadata: Mapping[str, object], ask: Ask, agent: str) -> str:
    """What the agent's metadata says: Claude Code's ``metadata.user_id``, Codex's
    ``prompt_cache_key``, Qwen Code's ``metadata.sessionId``."""
    user = metadata.get("user_id")
    found = _CLAUDE_SESSION.search(user) if isinstance(user, str) else None
    if found is not None:
        return found[1]
    named = metadata.get("session_id") or metadata.get("sessionId")
    if isinstance(named, str):
        return kept(named)
    raw = ask.fields.get("prompt_cache_key") if agent else None
    if raw is not None:
        try:
            return kept(msgspec.json.decode(raw, type=str))
        except (msgspec.DecodeError, msgspec.ValidationError):
            return ""
    return ""


def _by_prefix(ask: Ask, whose: str) -> str:
    """A name made of who asks and the conversation's first question: agents send all of it anew
    each time."""
    raw = next((ask.fields[name] for name in _CONVERSATION if name in ask.fields), None)
    if raw is None:
        return ""
    try:
        messages = _LIST.decode(raw)
        first = next((m for m in messages[:_LOOKED_AT] if _is_users(m)), None)
    except msgspec.DecodeError:
        return ""
    if first is None:
        return ""
    digest = blake2b(whose.encode("utf-8", "replace") + bytes(first), digest_size=8)
    return f"prefix-{digest.hexdigest()}"


def _is_users(message: msgspec.Raw) -> bool:
    try:
        return bytes(_ROLE.decode(message).get("role", b"")) == b'"user"'
    except (msgspec.DecodeError, msgspec.ValidationError):
        return False

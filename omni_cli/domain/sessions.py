"""Sessions: what one sitting of an agent is called, and where it worked.

A request's row names its session and project; what else is known of a session is kept once, in the
table of sessions. A launcher says all of it by headers (``HEADERS``); agents say some of it in
their own (gateway/sessions.py); importers read it from logs.
"""

from operator import add

from msgspec import Struct
from msgspec.structs import astuple

#: Header to field: what a launcher, or anybody, may say of the session that a request is part of.
#: ``x-omni-agent`` says the agent.
HEADERS = {
    "x-omni-session": "id",
    "x-omni-agent": "agent",
    "x-omni-project": "project",
    "x-omni-git-remote": "remote",
    "x-omni-git-branch": "branch",
    "x-omni-session-parent": "parent",
    "x-omni-session-title": "title",
}
#: Characters of each that are kept.
LONGEST = 200


class Session(Struct):
    """``id`` as the agent names it. ``project``: the folder's own name, never its whole path.
    ``remote``, ``branch``: of its git repository. ``parent``: the session of which this one is a
    sub-agent's. Empty where it is not known."""

    id: str
    agent: str = ""
    project: str = ""
    remote: str = ""
    branch: str = ""
    parent: str = ""
    title: str = ""


def below(session: str, agent_id: str) -> str:
    """The id of a sub-agent's session whose agent names it within its parent's (Claude Code)."""
    return f"{session}/{agent_id}" if agent_id else session


def is_within(session: str, whole: str) -> bool:
    """Whether it is that session, or one of its sub-agents' that is named within it."""
    return session == whole or session.startswith(f"{whole}/")


class SessionRow(Struct, frozen=True):
    """A session as the ledger has it. ``first_at``, ``last_at``: of its calls, ms UTC.
    ``stopped_at``: since when its calls are refused, None: they are not."""

    session: Session
    first_at: int
    last_at: int
    stopped_at: int | None = None


class SessionUse(Struct, frozen=True):
    """What the calls of a session came to. ``cost_nusd``: of those whose price is known;
    ``unknown``: how many have none. ``lately_nusd``: of those since a time that was asked for.
    ``through_us``: how many omni's gateway carried out; ``under_way``: how many it does now."""

    calls: int = 0
    total_tokens: int = 0
    cost_nusd: int = 0
    unknown: int = 0
    lately_nusd: int = 0
    through_us: int = 0
    under_way: int = 0

    def __add__(self, other: "SessionUse") -> "SessionUse":
        return SessionUse(*map(add, astuple(self), astuple(other)))

    @property
    def known_nusd(self) -> int | None:
        """None where there are calls and no price of them is known."""
        return None if self.calls and self.unknown == self.calls else self.cost_nusd


def project_name(path: str) -> str:
    """The last component of a path; a plain name stays."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def remote_name(url: str) -> str:
    """``host/owner/name`` of a git remote, without user, password and ending."""
    text = url.strip().removesuffix("/").removesuffix(".git")
    scheme, found, rest = text.partition("://")
    text = rest if found else scheme
    text = text.rpartition("@")[2] if "@" in text.partition("/")[0] else text
    return text if found else text.replace(":", "/", 1)


def kept(text: str) -> str:
    """What is stored of what a caller or a log says."""
    return "".join(c for c in text if c.isprintable()).strip()[:LONGEST]


def known_better(old: Session, new: Session) -> Session:
    """Both of one session: what ``new`` says, else what ``old`` does."""
    return Session(
        *(getattr(new, name) or getattr(old, name) for name in Session.__struct_fields__)
    )

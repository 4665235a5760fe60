"""A clone of the user's git repository, worked by their own git with their own credentials."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omni_cli import system
from omni_cli.domain.errors import Busy, ConfigError, NotFound
from omni_cli.domain.secrets import scrub

BRANCH = "main"
_REMOTE = f"refs/remotes/origin/{BRANCH}"
_TIMEOUT_S = 120
#: What is checked out was written by others: no link out of the folder, bytes as they are.
_SAFE = (
    "-c", "core.symlinks=false", "-c", "core.autocrlf=false", "-c", "core.hooksPath=/dev/null",
    "-c", "commit.gpgsign=false", "-c", "gc.auto=0",
)  # fmt: skip


class GitClone:
    """Args:
    folder: where the clone is or will be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        return (self.folder / ".git").is_dir()

    def url(self) -> str:
        """Raises NotFound where nothing was set up."""
        if not self.exists:
            raise NotFound("sync is not set up", hint="omni sync init GIT_URL")
        return self._git("config", "--get", "remote.origin.url").strip()

    def clone(self, url: str) -> None:
        """Replace what is there by a clone of ``url``. Raises ConfigError: git's own words."""
        fresh = self.folder.with_name(self.folder.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _run(["git", *_SAFE, "clone", "--quiet", "--no-checkout", "--", url, str(fresh)])
        if self.folder.exists():
            shutil.rmtree(self.folder)
        fresh.rename(self.folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time. Raises Busy."""
        self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.folder.with_name("sync.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            system.lock(handle, wait=False)
            yield
        except BlockingIOError as exc:
            raise Busy("another omni is syncing", hint="try again when it is done") from exc
        finally:
            os.close(handle)

    def pull(self) -> None:
        """Make the folder what the remote has now; what was not pushed is dropped."""
        self._git("fetch", "--quiet", "--prune", "origin")
        if self._has(_REMOTE):
            self._git("checkout", "--quiet", "--force", "-B", BRANCH, _REMOTE)
        else:
            self._git("symbolic-ref", "HEAD", f"refs/heads/{BRANCH}")
            if self._has(f"refs/heads/{BRANCH}"):
                self._git("update-ref", "-d", f"refs/heads/{BRANCH}")
            self._git("rm", "-r", "-f", "--quiet", "--cached", "--ignore-unmatch", ".")
        self._git("clean", "-f", "-d", "-x", "--quiet")

    def push(self, message: str) -> bool | None:
        """Commit all and push. None: nothing to push; False: somebody else was faster."""
        self._git("add", "--all", "--force")  # whatever the user's git ignores elsewhere
        if not self._git("status", "--porcelain").strip():
            return None
        self._git(*self._author(), "commit", "--quiet", "-m", message)
        done = self._try("push", "--quiet", "origin", f"HEAD:refs/heads/{BRANCH}")
        if done.returncode == 0:
            return True
        said = done.stderr
        if any(word in said for word in ("fetch first", "non-fast-forward", "cannot lock ref")):
            return False
        raise _failed("push", said)

    def text(self, name: str) -> str | None:
        """A file's text; None where there is none. Raises ConfigError."""
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"cannot read {name} of the sync repository: {exc}") from exc

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def delete(self, name: str) -> None:
        (self.folder / name).unlink()

    def names(self, pattern: str) -> list[str]:
        """Files whose path below the folder matches, sorted."""
        found = (path for path in self.folder.glob(pattern) if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    def _author(self) -> tuple[str, ...]:
        if self._try("config", "--get", "user.email").stdout.strip():
            return ()
        return ("-c", "user.name=omni", "-c", "user.email=omni@localhost")

    def _has(self, ref: str) -> bool:
        return self._try("rev-parse", "--verify", "--quiet", ref).returncode == 0

    def _git(self, *words: str) -> str:
        return _run(["git", *_SAFE, "-C", str(self.folder), *words]).stdout

    def _try(self, *words: str) -> subprocess.CompletedProcess[str]:
        return _run(["git", *_SAFE, "-C", str(self.folder), *words], check=False)


def _run(words: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    # GIT_DIR and its like are set inside hooks and would lead elsewhere.
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("GIT_DIR", "GIT_WORK", "GIT_I"))
    }
    env["LC_ALL"] = "C"
    if not (sys.stdin and sys.stdin.isatty()):
        env["GIT_TERMINAL_PROMPT"] = "0"
    try:
        done = subprocess.run(  # noqa: S603  # the user's git, fixed words
            words, env=env, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as exc:
        raise ConfigError("git is not installed", hint="sync needs the git command") from exc
    except subprocess.TimeoutExpired as exc:
        raise ConfigError(
            f"git took longer than {_TIMEOUT_S} s", hint="is the remote reachable?"
        ) from exc
    if check and done.returncode:
        rest = words[1 + len(_SAFE) :]
        raise _failed(rest[2] if rest[0] == "-C" else rest[0], done.stderr)
    return done


def _failed(what: str, said: str) -> ConfigError:
    lines = [line.strip() for line in scrub(said).splitlines() if line.strip()]
    told = "; ".join(lines[-3:]) or "no reason given"
    return ConfigError(f"git {what} failed: {told}", hint="nothing was synced; git's words say why")

"""Make a release: ``python -m tools.release VERSION [--dry-run]``. Nothing leaves this machine.

On a clean tree: the version is written, the changelog's "Unreleased" gets its heading, pages that
are made from the code are made, what is installed is held against the constraints; then one commit,
one tag, and wheel, sdist, bill of materials and digests in ``dist/``. It says what is next.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from tools import commands, dist
from tools.dist import git

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:(?:a|b|rc)\d+)?")
_UNRELEASED = "## Unreleased\n"
_INIT, _CHANGES = dist.ROOT / "omni_cli" / "__init__.py", dist.ROOT / "CHANGELOG.md"


def changelog(text: str, version: str, day: str) -> str:
    """The changelog with what was unreleased under the version's heading.

    Raises SystemExit: there is nothing to release, or the version has a heading already.
    """
    before, found, rest = text.partition(_UNRELEASED)
    if not found:
        raise SystemExit("CHANGELOG.md has no '## Unreleased'")
    if re.search(rf"^## {re.escape(version)}\b", text, re.MULTILINE):
        raise SystemExit(f"CHANGELOG.md has a section of {version} already")
    news = rest.partition("\n## ")[0]
    if not news.strip():
        raise SystemExit("nothing is under '## Unreleased' in CHANGELOG.md")
    return f"{before}{_UNRELEASED}\n## {version} ({day})\n{rest}"


def bumped(text: str, version: str) -> str:
    """``omni_cli/__init__.py`` with another version. Raises SystemExit: it is none, or older."""
    asked = _VERSION.fullmatch(version)
    line = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert line is not None
    now = _VERSION.fullmatch(line[1])
    assert now is not None
    if asked is None:
        raise SystemExit(f"{version!r} is no version, such as 1.2.3 or 1.2.3rc1")
    if tuple(map(int, asked.groups())) < tuple(map(int, now.groups())):
        raise SystemExit(f"{version} is older than {line[1]}")
    return text.replace(line[0], f'__version__ = "{version}"')


def main(words: Sequence[str]) -> None:
    dry = "--dry-run" in words
    versions = [word for word in words if not word.startswith("-")]
    if len(versions) != 1:
        raise SystemExit(__doc__)
    version, day = versions[0], datetime.now(UTC).date().isoformat()
    init = bumped(_INIT.read_text("utf-8"), version)
    changes = changelog(_CHANGES.read_text("utf-8"), version, day)
    if git("status", "--porcelain"):
        raise SystemExit("there are changes that are not committed")
    if git("tag", "--list", f"v{version}"):
        raise SystemExit(f"there is a tag v{version}")
    if wrong := dist.strangers():
        raise SystemExit("\n".join(wrong))
    if dry:
        print(f"would commit and tag v{version} ({day}), and build it in dist/")
        return
    _INIT.write_text(init, "utf-8")
    _CHANGES.write_text(changes, "utf-8")
    commands.main()
    git("commit", "--all", "--message", f"Release {version}")
    git("tag", "--annotate", f"v{version}", "--message", f"omni {version}")
    # Another process: this one has the old version in memory.
    subprocess.run([sys.executable, "-m", "tools.dist", "build"], cwd=dist.ROOT, check=True)
    print(f"next: python -m tools.dist try; git push --follow-tags; upload dist/ for v{version}")


if __name__ == "__main__":
    main(sys.argv[1:])

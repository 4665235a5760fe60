"""Write ``docs/settings.md``: ``python -m tools.settings``.

Settings, their defaults and what they mean are asked of ``omni_cli/config.py``. ``--check`` writes
nothing and fails where the page is not what the code does.
"""

import re
import sys
from pathlib import Path

from omni_cli.config import known_keys, sections

_ROOT = Path(__file__).resolve().parents[1]
PAGE = _ROOT / "docs" / "settings.md"
#: What each variable of the environment does; a test looks that none of the code's is missing.
VARIABLES = {
    "OMNI_HOME": "the folder of store, settings and keys; else the user's XDG folders",
    "OMNI_DATABASE_URL": "the PostgreSQL database that holds the store ([postgres](postgres.md))",
    "OMNI_ORG": "whose fleet and use it is, an organisation's name ([team](team.md))",
    "OMNI_REMOTE": "a gateway's address: commands work on its fleet ([team](team.md))",
    "OMNI_REMOTE_KEY": "the admin key for it",
    "OMNI_PASSPHRASE": "opens the encrypted file of keys; without it its key lies beside it",
    "OMNI_USER": "who is named in the audit log; else USER",
    "OMNI_MACHINE": "this machine's name in `omni sync`; else the host's",
    "OMNI_REDIS_URL": "where gateways share rate limits ([deploy](deploy.md))",
    "OMNI_WEBHOOK": "where alerts are posted, beside `alerts.webhook`",
    "OMNI_WEBHOOK_SECRET": "what signs them",
    "OMNI_ALERT_LEVEL": "given to `alerts.command`: ok, info, warning or error",
    "OMNI_ALERT_TITLE": "given to `alerts.command`: the alert in a few words",
    "OMNI_LAUNCH_KEY": "given to an agent by `omni launch`: its session's client key",
    "OMNI_TERMINAL_AFAR": "set by the gateway for a command whose terminal is elsewhere",
    "OMNI_SERVE_WORKER": "set by `omni serve` for its own workers",
}
#: Others' names that omni reads.
COMMON = {
    "OPENAI_API_KEY, ANTHROPIC_API_KEY, ...": "each provider's key; `omni providers list` names "
    "its variable",
    "OPENAI_BASE_URL, ANTHROPIC_BASE_URL, OLLAMA_HOST": "where a provider is; `omni init` shows it "
    "and asks",
    "HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE": "the way out and whom to trust",
    "NO_COLOR, FORCE_COLOR, TERM, COLUMNS, TZ": "as usual",
    "XDG_CONFIG_HOME, XDG_DATA_HOME": "where the folders are on Linux",
    "PGPASSWORD, PGSSLMODE, ...": "PostgreSQL's own",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "where the gateway's traces go, with the extra `otel`",
}


_HEAD = (
    "`omni config list` shows what holds, `omni config set KEY VALUE` changes it, `omni config "
    "path` says where it is written. A project's `.omni.toml` (in this folder or one above) "
    "goes before the user's, key by key. `omni config edit` opens the file in $VISUAL or $EDITOR; "
    "one with mistakes is not taken; `omni config get`, `unset` and `check` read one, bring back "
    "its default, and look whether a file fits. `--json` prints `key, value, default, source`."
)
_EXAMPLE = r"""```console
$ omni config schema > omni.schema.json      # for editors that check TOML
$ omni config set general.premium_model openai/gpt-5.5
general.premium_model = openai/gpt-5.5
$ omni config get general.premium_model
openai/gpt-5.5
$ printf '[chat]\ntimout_s = 5\n' > draft.toml; omni config check draft.toml
error: draft.toml: chat.timout_s is no field: did you mean timeout_s?
hint: there are keep_conversations, receipt, markdown, timeout_s, limit_s, ...
```"""


def page() -> str:
    lines = [
        "# Settings and environment",
        "",
        _HEAD,
        "",
        _EXAMPLE,
        "",
        "This page is made from the code by `python -m tools.settings`.",
        "",
    ]
    defaults = known_keys()
    for name, kind in sections().items():
        text = " ".join((kind.__doc__ or "").replace("``", "`").split())
        lines += [f"## {name}", "", text, "", "| setting | default |", "| --- | --- |"]
        lines += [
            f"| `{key}` | {_shown(value)} |"
            for key, value in defaults.items()
            if key.partition(".")[0] == name
        ]
        lines.append("")
    lines += ["## Environment", "", "| variable | what it does |", "| --- | --- |"]
    lines += [f"| `{name}` | {told} |" for name, told in VARIABLES.items()]
    lines += ["", "Names of others that omni reads:", "", "| variable | what it does |"]
    lines += ["| --- | --- |", *(f"| `{name}` | {told} |" for name, told in COMMON.items()), ""]
    return "\n".join(lines)


def _shown(value: object) -> str:
    if value == "":
        return "(empty)"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def named_in_code() -> set[str]:
    """Every variable of omni's own that the package names."""
    found: set[str] = set()
    for path in (_ROOT / "omni_cli").rglob("*.py"):
        found |= set(re.findall(r'"(OMNI_[A-Z_]+)"', path.read_text("utf-8")))
    return found


def main() -> int:
    """Returns 1 where the page is not what the code says."""
    text = page()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text("utf-8") != text)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

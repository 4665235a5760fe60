"""What an option's value is called in help, and what the shell offers for it.

One table by the option's name; where a command means something else by it, "command --option"
comes first. Words are listed here, or named where they are defined ("module:NAME"), or asked of the
fleet (a function of cli/common.py).
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from omni_cli.bootstrap import App
from omni_cli.cli.common import offer
from omni_cli.config import Config
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import Source

#: Cells that words themselves may take in place of a name for them.
_SHORT = 20
_TASKS, _FLEET = "omni_cli.domain.tasks:", "omni_cli.cli.common:"
_HERE = "omni_cli.cli.values:"

#: What its value is called, and of which options; else it is the option's own name.
_CALLED = {
    "USD": """--max-cost --budget --cost --probe-cap --price-in --price-out --price-cached --minimum
        --price-cache-write --price-reasoning --per-request --per-image --per-audio-hour
        --per-million-characters --per-thousand-searches --max-price-in""",
    "YYYY-MM-DD": "--from --to --until --day",
    "30m|6h|2d": "--since --for",
    "12h|30d|8w": "--expires",
    "30s|10m|1h|off": "--ttl",
    "PERCENT": "--alert --stop --fail-over --share --margin",
    "SECONDS": "--timeout --interval --probe-every --request-timeout",
    "MS": "--hedge-ms --timeout-ms",
    "TOKENS": """--max-tokens --context --max-output --min-context --in --out --cached --tpm
        --org-tpm""",
    "FILE": "--file --output --schema --suite --data",
    "FOLDER": "--keep",
    "FILE|URL": "--image",
    "NAME": "--template",
    "TEXT": """--system --recommended-for --strength --reason --note --description --rubric
        --expect""",
    "COMMAND": "--check --command",
    "CONDITION": "--assert --rollback-if --condition",
    "URL": "--base-url --url --origin",
    "MODEL": "--challenger --judge --premium --probe --models",
    "NAME=VALUE": "--header --param",
    "FIELD=COLUMN": "--map",
    "in=USD,out=USD": "--custom",
    "NAME=SCORE": "--capability",
    "KIND=FACTOR": "--token-weight",
    "BILLIONS": "--parameters-b",
    "VARIABLE": "--key-env",
    "A,B": "--columns",
    "WEAK,STRONG": "--pair",
    "ID": "--request --conversation --resume --show",
    "POINTS": "--lose",
    "HOURS": "--discover-every",
    "MINUTES": "--settle",
    "MB": "--max-body-mb",
    "DAYS": "--days",
    "0..2": "--temperature",
    "0..1": "--min-quality",
    "NUMBER": """--limit --rpm --concurrency --iterations --retries --workers --port --requests --at
        --attempt --seed --sample --per-month --free-requests --org-rpm --org-concurrency
        --max-concurrency --revision --month-day --prove --alpha --tolerance
        --max-cost-multiple""",
}
CALLED: dict[str, str] = {
    **{option: name for name, options in _CALLED.items() for option in options.split()},
    "budgets raise --by": "USD",
    **{f"{name} --since": "YYYY-MM-DD" for name in ("daily", "weekly", "monthly", "session")},
    "db prune --keep": "365d",
    "models list --capability": "NAME",
    "chat --file": "FILE|FOLDER|URL",
    **{f"{name} --priority": "NUMBER" for name in ("roles assign", "rules add", "rules edit")},
}

#: What may stand there: words, or where they are: "module:NAME" of words, or of a function that
#: completes what was typed.
OFFERED: dict[str, Sequence[str] | str] = {
    "--priority": f"{_TASKS}PRIORITIES",
    "--latency": f"{_TASKS}LATENCY_PREFS",
    "--complexity": f"{_TASKS}COMPLEXITIES",
    "--task": f"{_TASKS}TASK_TYPES",
    "--week-start": f"{_TASKS}WEEKDAYS",
    **dict.fromkeys(("--need", "--badge"), "omni_cli.domain.models:BADGES"),
    "models list --capability": "omni_cli.domain.models:BADGES",
    "--provider": f"{_FLEET}complete_providers",
    **dict.fromkeys(("--model", "--models", "--probe"), f"{_FLEET}complete_models"),
    **dict.fromkeys(("compare --model", "launch --model"), f"{_FLEET}complete_selectors"),
    "--period": ("today", "yesterday", "week", "month", "7d", "30d"),
    "--per": "omni_cli.domain.periods:PERIODS",
    "--by": "omni_cli.services.money.usage:DIMENSIONS",
    "sync usage --by": ("machine", "day", "provider", "model", "role", "agent", "task", "org"),
    **dict.fromkeys(("budgets raise --by", "roles assign --priority", "rules add --priority"), ()),
    "rules edit --priority": (),
    "--state": "omni_cli.domain.search:STATES",
    "--source": f"{_HERE}sources",
    "reconcile --source": ("openai", "anthropic", "openrouter", "litellm", "csv"),
    "--status": ("active", "standby", "disabled"),
    "--quality": "omni_cli.services.fleet.browse:QUALITIES",
    "--speed": "omni_cli.services.fleet.browse:SPEEDS",
    "--sort": "omni_cli.services.fleet.browse:SORTS",
    "--type": "omni_cli.services.fleet.model_changes:TYPES",
    "--gives": "omni_cli.services.fleet.model_changes:OUTPUTS",
    "--scope": "omni_cli.records:SCOPES",
    "--goal": ("better", "cheaper"),
    "--metric": ("success", "rating"),
    "--outcome": ("pass", "fail"),
    "--report": "omni_cli.cli.commands.compare:FORMATS",
    "--scorer": "omni_cli.domain.scoring:KINDS",
    "--tab": f"{_HERE}tabs",
    "--theme": f"{_HERE}themes",
    "--ttl": ("30s", "10m", "1h", "7d", "off"),
    "--zone": f"{_HERE}zones",
    "--template": f"{_HERE}templates",
    **dict.fromkeys(("templates show name", "templates remove name"), f"{_HERE}templates"),
    "import source": "omni_cli.importers:importer_names",
    "import-config source": ("litellm", "claude-code-router", "aichat", "llm", "opencode", "crush"),
    "keys revoke name": f"{_HERE}client_keys",
    **dict.fromkeys(("why request", "rate request"), f"{_HERE}requests"),
    "config set value": f"{_HERE}setting_values",
    **dict.fromkeys(
        (f"rules {verb} number" for verb in ("edit", "remove", "enable", "disable")),
        f"{_HERE}rules",
    ),
    **dict.fromkeys(
        (f"budgets {verb} budget_id" for verb in ("raise", "remove", "enable", "disable")),
        f"{_HERE}budgets",
    ),
    **dict.fromkeys(("batches show batch", "batches release batch"), f"{_HERE}batches"),
    **dict.fromkeys(
        (f"recommend {verb} number" for verb in ("show", "apply", "dismiss", "undo")),
        f"{_HERE}advice",
    ),
    **dict.fromkeys(("--show", "--resume"), f"{_HERE}comparisons"),
    **dict.fromkeys(("rollback number", "history number"), f"{_HERE}revisions"),
}


def called(command: str, option: str) -> str:
    """What an option's value is called: ``--max-cost`` of ``chat`` takes ``USD``."""
    name = CALLED.get(f"{command} {option}") or CALLED.get(option)
    if name is None:
        words = "|".join(_words(command, option))
        name = words if 0 < len(words) <= _SHORT else option.strip("-").upper()
    return name


def offered(command: str, name: str, incomplete: str, args: Sequence[str] = ()) -> list[str]:
    """What the shell offers for an option's value, or an argument's.

    Args:
        name: ``--sort``, or the argument's name.
        args: what stands before it on the line.
    """
    found: Any = _listed(command, name)
    if callable(found) and found is setting_values:
        found = found(args)
    elif callable(found):
        found = found(incomplete) if found.__code__.co_argcount else found()
    return [word for word in found if word.startswith(incomplete)]


def _listed(command: str, name: str) -> Any:
    """Words, or the function that has them."""
    found = OFFERED.get(f"{command} {name}")
    if found is None:
        found = OFFERED.get(name, ())
    if not isinstance(found, str):
        return found
    module, _, attribute = found.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _words(command: str, name: str) -> Sequence[str]:
    """Those that are always the same."""
    found = _listed(command, name)
    return () if callable(found) else found


def sources() -> Sequence[str]:
    return get_args(Source)


def tabs() -> list[str]:
    from omni_cli.tui.registry import TABS

    return [tab.id for tab in TABS]


def themes() -> list[str]:
    from omni_cli.tui.theme import load_themes, shipped_folder

    return list(load_themes([shipped_folder(), App().paths.themes])[0])


def zones() -> list[str]:
    from zoneinfo import available_timezones

    return sorted(available_timezones())


def templates() -> list[str]:
    from omni_cli.services.engine.templates import kept

    return [name for name, _ in kept(App().paths.config, Path.cwd())]


def client_keys(incomplete: str) -> list[str]:
    return offer(
        lambda app: (key.name for key in app.client_keys.all() if not key.revoked_at), incomplete
    )


def requests(incomplete: str) -> list[str]:
    return offer(
        lambda app: ["last", *(id_text(row.id) for row in app.ledger.recent(limit=20))], incomplete
    )


def batches(incomplete: str) -> list[str]:
    return offer(lambda app: (id_text(one.id) for one in app.batches.store.all()), incomplete)


def advice(incomplete: str) -> list[str]:
    return offer(lambda app: (str(one.id) for one in app.stored_advice.all()), incomplete)


def comparisons(incomplete: str) -> list[str]:
    return offer(
        lambda app: ["last", *(id_text(row.id) for row in app.comparisons.recent())], incomplete
    )


def rules(incomplete: str) -> list[str]:
    return offer(lambda app: (str(rule.id) for rule in app.assignments.rules()), incomplete)


def budgets(incomplete: str) -> list[str]:
    return offer(lambda app: (str(budget.id) for budget in app.budgets.all()), incomplete)


def revisions(incomplete: str) -> list[str]:
    return offer(lambda app: (str(one.number) for one in app.audit.revisions()), incomplete)


def setting_values(args: Sequence[str]) -> list[str]:
    """Of the setting that was named last: true and false, or its words."""
    section, _, name = (args[-1] if args else "").partition(".")
    kind = get_type_hints(Config).get(section)
    hint = get_type_hints(kind).get(name) if kind else None
    return ["true", "false"] if hint is bool else [str(word) for word in get_args(hint)]

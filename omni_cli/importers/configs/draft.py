"""A fleet document that another tool's configuration is written into, on top of the fleet as it is.

What a format's module reads it hands over here; what omni has no place for is left out and named.
A key is a reference (a variable's name) or a literal, which never gets into the document.
"""

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from omni_cli.domain.clouds import ADDRESSES
from omni_cli.domain.errors import UsageError
from omni_cli.domain.hosts import base_url_in, default_slots, is_base_url
from omni_cli.domain.models import Provider, fold_alias
from omni_cli.domain.money import figure
from omni_cli.domain.secrets import Secret
from omni_cli.domain.vendor_env import KEY_ENVS
from omni_cli.services.fleet.fleet_checks import (
    check_alias,
    check_chain_name,
    check_no_secret,
    check_slug,
    check_word,
    namesakes,
)
from omni_cli.services.fleet.provider_maker import Known
from omni_cli.written import path_of

Place = Sequence[str | int]
#: A variable's name, a literal, or None: nothing is said of a key.
Key = str | Secret | None
#: What people write where a server wants no key but their tool wants one.
_NO_KEYS = frozenset(
    {"", "none", "null", "empty", "dummy", "no-key", "not-needed", "ollama", "lm-studio"}
)
#: A variable as LiteLLM, opencode, claude-code-router and crush write it.
_VARIABLE = re.compile(r"os\.environ/(\w+)|\{env:(\w+)\}|\$\{(\w+)\}|\$(\w+)")
_PERIODS = {"1d": "day", "24h": "day", "7d": "week", "1w": "week", "30d": "month", "1mo": "month"}


class LeftOut(Struct, frozen=True):
    """``place``: in the file that was read, lists counted from 1."""

    place: str
    why: str


class LiteralKey(Struct, frozen=True):
    """A key that stands in the file itself, at ``place``."""

    provider: str
    place: str
    secret: Secret


class Draft:
    """
    Args:
        current: the fleet as a document; it is not changed.
        presets: well-known providers by slug.
        find: ids of models that a name may mean.
        env: where variables are looked up that an address or a cloud's region stands in.
    """

    def __init__(
        self,
        current: Mapping[str, Any],
        presets: Mapping[str, Known],
        find: Callable[[str], list[str]],
        env: Mapping[str, str],
    ) -> None:
        self.document: dict[str, Any] = copy.deepcopy(dict(current))
        self.left: list[LeftOut] = []
        self.keys: dict[str, LiteralKey] = {}
        self._presets = presets
        self._find = find
        self._env = env
        for section in ("providers", "models", "roles", "chains", "budgets"):
            self.document.setdefault(section, {})
        self.document.setdefault("rules", [])

    def leave(self, place: Place, why: str) -> None:
        """Say once that what is at ``place`` is not carried over. ``why`` quotes no value."""
        found = LeftOut(path_of(place), why)
        if found not in self.left:
            self.left.append(found)

    def rest(self, table: Mapping[str, Any], place: Place, known: Iterable[str], why: str) -> None:
        """Leave what nobody has read: all keys but ``known`` that say something."""
        for name, value in table.items():
            if name not in known and value not in (None, "", [], {}):
                self.leave((*place, str(name)), why)

    def table(self, value: object, place: Place) -> dict[str, Any]:
        """``value`` as a table; empty, and left out, where it is none."""
        if isinstance(value, dict):
            return {str(key): item for key, item in value.items()}
        if value is not None:
            self.leave(place, "is no table")
        return {}

    def tables(self, value: object, place: Place) -> list[tuple[Place, dict[str, Any]]]:
        """The tables of a list, each with its place."""
        if not isinstance(value, list):
            if value is not None:
                self.leave(place, "is no list")
            return []
        return [((*place, n), self.table(item, (*place, n))) for n, item in enumerate(value)]

    def texts(self, value: object, place: Place) -> list[tuple[Place, str]]:
        """The texts of a list (or a single one), each with its place."""
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list):
            if items is not None:
                self.leave(place, "is no list of texts")
            return []
        found: list[tuple[Place, str]] = []
        for number, item in enumerate(items):
            if isinstance(item, str):
                found.append(((*place, number), item))
            else:
                self.leave((*place, number), "is no text")
        return found

    def filled(self, value: object, place: Place) -> str | None:
        """A text with the variables that it names filled in, "" for none; None where one is not set
        here, which is named. Not for keys, which stay references."""
        missing: list[str] = []

        def held(found: re.Match[str]) -> str:
            name = next(filter(None, found.groups()))
            text = self.variable(name)
            if not text:
                missing.append(name)
            return text

        text = "" if value is None else _VARIABLE.sub(held, str(value))
        if missing:
            why = f"the variable {missing[0]} is not set here: set it, or write out what it holds"
            self.leave(place, why)
            return None
        return text

    def variable(self, name: str) -> str:
        """What it holds here; not for keys."""
        return self._env.get(name, "").strip()

    def preset(self, slug: str, protocol: str | None, url: str | None) -> Known | None:
        """The well-known provider that this is: by its name, or by where it is."""
        if url is None:
            return self._presets.get(slug)
        for preset in self._presets.values():
            if _same(preset.base_url, url) and (
                preset.local or protocol in (None, preset.protocol)
            ):
                return preset
        return None

    def cloud(self, slug: str, said: Mapping[str, object], place: Place) -> str | None:
        """The address of a cloud out of what it is made of (domain/clouds.py), or what the vendor's
        own variables say; None where something is lacking, which is named."""
        words = {name: value for name, value in said.items() if isinstance(value, str) and value}
        try:
            return ADDRESSES[slug].of(slug, words, self._env, lambda _: "")
        except UsageError as exc:
            self.leave(place, exc.message)
            return None

    def provider(
        self,
        wanted: str,
        place: Place,
        *,
        protocol: str | None = None,
        url: object = None,
        key: Key = None,
        key_place: Place = (),
        keyed: bool = False,
        name: object = None,
        headers: Mapping[str, Any] | None = None,
        headers_place: Place = (),
    ) -> str | None:
        """Its slug; None where it cannot be carried over, which is named.

        ``keyed``: it takes credentials that are in no file.

        One that is there already, in the fleet or from this file, is the same where protocol,
        address, key and headers are. A literal key never goes under a vendor's slug to an address
        that is not the vendor's: the vendor's variable would come first and be sent there.
        """
        address = None
        if url not in (None, ""):
            address = base_url_in(str(url)).rstrip("/")
            if not isinstance(url, str) or not is_base_url(address):
                self.leave(place, "its address is no base URL such as https://host/path")
                return None
        if isinstance(key, Secret) and key.reveal().strip().lower() in _NO_KEYS:
            key = None
        preset = self.preset(wanted, protocol, address)
        if preset is None and (address is None or protocol is None):
            self.leave(place, "omni does not know this provider, and no address says where it is")
            return None
        slug = _slug(preset.slug if preset else wanted)
        fresh: dict[str, Any] = {
            "name": name if isinstance(name, str) and name else preset.name if preset else wanted,
            "protocol": preset.protocol if preset else protocol,
            "base_url": preset.base_url if preset else address,
            "auth_method": "api_key" if key or keyed else preset.auth_method if preset else "none",
            "enabled": True,
        }
        variable = key if isinstance(key, str) else None
        if key is None and preset is not None and fresh["auth_method"] == "api_key":
            variable = next(iter(preset.key_envs), None)
        if variable is not None:
            fresh["key_env"] = variable
        kept = self._headers(slug, headers or {}, headers_place)
        if kept:
            fresh["headers"] = kept
        if slots := default_slots(slug, str(fresh["base_url"])):
            fresh["max_concurrency"] = slots
        foreign = isinstance(key, Secret) and preset is None and slug in KEY_ENVS
        for number in range(1, 100):
            free = slug if number == 1 else f"{slug}-{number}"
            if foreign and number == 1:
                continue
            there = self.document["providers"].get(free)
            if there is None:
                if self._taken(free, ()):
                    continue
                self.document["providers"][free] = fresh
            elif not self._alike(free, there, fresh, key):
                continue
            if isinstance(key, Secret):
                self.keys[free] = LiteralKey(free, path_of(key_place or place), key)
            return free
        raise UsageError(f"a hundred providers are called {slug}")

    def _alike(
        self, slug: str, there: Mapping[str, Any], fresh: Mapping[str, Any], key: Key
    ) -> bool:
        if any(there.get(k) != fresh[k] for k in ("protocol", "base_url")):
            return False
        if there.get("headers", {}) != fresh.get("headers", {}):
            return False
        if key is None:
            return slug not in self.keys
        if isinstance(key, Secret):
            before = self.keys.get(slug)
            return there.get("auth_method", "api_key") == "api_key" and (
                before.secret.reveal() == key.reveal() if before else not there.get("key_env")
            )
        return bool(there.get("key_env") == key)

    def _headers(self, slug: str, headers: Mapping[str, Any], place: Place) -> dict[str, str]:
        kept: dict[str, str] = {}
        for name, value in headers.items():
            try:
                if not isinstance(value, str) or re.search(r"\$|\{env:|os\.environ/", value):
                    raise UsageError("")
                check_no_secret(Provider(slug, slug, "", "", headers={name: value}))
            except UsageError:
                self.leave((*place, name), "a header that is, or refers to, a secret or is no text")
            else:
                kept[name] = value
        return kept

    def model(self, provider: str, wire_name: str, **fields: object) -> str:
        """Its id. ``fields``: those of a fleet file's model table; None says nothing."""
        model_id = f"{provider}/{wire_name}"
        table = self.document["models"].setdefault(model_id, {})
        table.update({name: value for name, value in fields.items() if value is not None})
        table["status"] = "active"
        return model_id

    def known(self, text: str) -> str | None:
        """The id of the one model that a name means, of this document or of a provider in it."""
        if text in self.document["models"]:
            return text
        tables = self.document["models"].items()
        found = {m for m, t in tables if text in (m.partition("/")[2], *t.get("aliases", ()))}
        if not found:
            slugs = self.document["providers"]
            found = {m for m in self._find(text) if m.partition("/")[0] in slugs}
        if len(found) != 1:
            return None
        return self.model(*found.pop().split("/", 1))

    def alias(self, model_id: str, name: str, place: Place) -> None:
        """``name`` means the model, too; left out where it cannot."""
        if name in (model_id, model_id.partition("/")[2]):
            return
        table = self.document["models"][model_id]
        if fold_alias(name) in map(fold_alias, table.get("aliases", ())):
            return
        try:
            check_alias(name)
        except UsageError as exc:
            self.leave(place, exc.message)
            return
        if other := self._taken(name, (model_id,)):
            self.leave(place, f"this name already means {other}; write {model_id}")
            return
        table["aliases"] = [*table.get("aliases", ()), name]

    def chain(self, name: str, links: Sequence[Mapping[str, Any]], place: Place) -> bool:
        """One model after the other, at any price, as the file says. Is it carried over?"""
        models = list(dict.fromkeys(link["model"] for link in links))
        own = tuple(namesakes(name, models))
        try:
            check_chain_name(name)
            check_word("chain", name)
        except UsageError as exc:
            self.leave(place, exc.message)
            return False
        if name not in self.document["chains"] and (other := self._taken(name, own)):
            self.leave(place, f"this name already means {other}")
            return False
        first = {link["model"]: link for link in reversed(links)}
        self.document["chains"][name] = {
            "any_cost": True,
            "allow_free_to_paid": True,
            "links": [dict(first[model]) for model in models],
        }
        return True

    def role(self, name: str, description: str, models: Sequence[str], place: Place) -> None:
        name = _slug(name)
        try:
            check_slug("role", name)
            check_word("role", name)
        except UsageError as exc:
            self.leave(place, exc.message)
            return
        roles = self.document["roles"]
        if name not in roles and (other := self._taken(name, ())):
            self.leave(place, f"this name already means {other}")
            return
        roles[name] = {
            "description": description,
            "models": [{"model": m, "priority": n} for n, m in enumerate(models, 1)],
        }

    def rule(self, condition: str, model: str) -> None:
        """The last of the rules, unless it is there."""
        rules = self.document["rules"]
        if not any((r["condition"], r["model"]) == (condition, model) for r in rules):
            last = max((r["priority"] for r in rules), default=0)
            rules.append({"condition": condition, "model": model, "priority": last + 1})

    def budget(self, whose: str, usd: object, duration: object, place: Place) -> None:
        """``whose``: "all" or "SCOPE:NAME"; ``duration`` as 1d, 7d, 30d or 1mo."""
        period = _PERIODS.get(str(duration))
        amount = decimal(usd)
        if amount is None:
            self.leave(place, "is no amount")
        elif period is None:
            said = "never begins anew" if duration is None else "is of another length"
            self.leave(place, f"omni's budgets are per day, week or month, and this one {said}")
        else:
            if str(duration) in ("30d", "7d", "1w"):
                self.leave(place, f"carried over as a calendar {period}, not as days from a call")
            self.document["budgets"].setdefault(f"{period} {whose}", {})["limit_usd"] = amount

    def _taken(self, name: str, own: Sequence[str]) -> str:
        """What else has the name; "" for nothing. ``own``: models that may."""
        folded = fold_alias(name)
        for kind in ("provider", "role", "chain"):
            if folded in map(fold_alias, self.document[f"{kind}s"]):
                return f"the {kind} {name}"
        for model_id, table in self.document["models"].items():
            names = (model_id.partition("/")[2], *table.get("aliases", ()))
            if model_id not in own and folded in map(fold_alias, names):
                return str(model_id)
        found = (m for m in self._find(name) if m.partition("/")[0] in self.document["providers"])
        return next((m for m in found if m not in own), "")


def decimal(value: object, per: int = 1) -> str | None:
    """A figure as a fleet file writes an amount; None where it is none of 0 or more."""
    amount = figure(value)
    if amount is None or amount < 0:
        return None
    text = format(amount * per, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def price(source: str, **rates: str | None) -> dict[str, Any] | None:
    """A price table; None where the file says nothing but zeros, which may mean unknown."""
    said = {kind: rate for kind, rate in rates.items() if rate is not None}
    if not any(rate != "0" for rate in said.values()):
        return None
    return {"state": "priced", **said, "source": source}


def count(value: object) -> int | None:
    """A whole number of 1 or more, which may be written as a text; else None."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
        value = int(value)
    return value if type(value) is int and value > 0 else None


def host_slug(url: object, prefix: str) -> str:
    """What to call a provider of which only the address is known: after its host."""
    try:
        parts = urlsplit(str(url))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return prefix
    if host == "localhost" or re.fullmatch(r"[\d.]+|.*:.*", host):
        return f"{prefix}-{port}" if port else prefix
    labels = [part for part in host.split(".")[:-1] if part not in ("api", "www")]
    return _slug(labels[0]) if labels else _slug(host) or prefix


def _slug(text: str) -> str:
    """A name as providers and roles may have it: "longContext" is "long-context"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", text)
    return re.sub(r"[^a-z0-9_.-]+", "-", spaced.lower()).strip("-._")[:60]


def _same(usual: str, url: str) -> bool:
    """One address, however the version behind it and this machine are written."""

    def plain(text: str) -> str:
        text = text.rstrip("/").replace("://localhost", "://127.0.0.1")
        return text.removesuffix("/v1").rstrip("/")

    return plain(usual) == plain(url)

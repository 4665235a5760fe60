"""Finding providers, and refreshing the catalogue."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni_cli.domain.hosts import default_slots
from omni_cli.domain.models import Provider

if TYPE_CHECKING:
    from omni_cli.domain.prices import Price
    from omni_cli.services.fleet.setup import Found, Proposal

from omni_cli.bootstrap.addresses import SERVE_PORT
from omni_cli.bootstrap.money import Money

_CHECKED_KEY = "catalogue_checked"


def _contents(file: Path) -> bytes:
    from omni_cli.domain.errors import UsageError

    try:
        return file.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}") from exc


def _to_toml(document: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(document)


class Setup(Money):
    """Finding providers, and refreshing the catalogue."""

    def keep_key(self, slug: str, key: str) -> str:
        """Store a provider's key; returns where: ``keyring`` or ``file``.

        Notes what a user would not expect: quotes left out, a keyring that failed, a variable
        that comes first.
        """
        from omni_cli.keys import quoted, store_key
        from omni_cli.keys.sources import usual_variable

        where = store_key(slug, key, env=self.env, home=self.paths.data, tell=self.note)
        if quoted(key):
            self.note("the quotes around the key were left out")
        provider = self.providers.get(slug)
        name = usual_variable(slug, None if provider is None else provider.key_env, self.env)
        if name is not None:
            self.note(f"{name} is set and comes before a stored key: unset {name} to use this one")
        self.__dict__.pop("_stored_keys", None)
        self.health.forgive(slug)
        return where

    def forget_key(self, slug: str) -> tuple[str, ...]:
        """Delete a stored key; returns where it was. The environment is the user's own."""
        from omni_cli.keys import delete_key

        gone = delete_key(slug, env=self.env, home=self.paths.data)
        self.__dict__.pop("_stored_keys", None)
        return gone

    def find_providers(self, *, local: bool = True) -> "list[Found]":
        """What this machine could use: keys, and servers that answer on loopback.

        A provider that is in the fleet already is found as it is there. omni's own gateway is
        none. Raises ConfigError where a variable that says where a provider is names no address.
        """
        from concurrent.futures import ThreadPoolExecutor

        from omni_cli.domain.errors import OmniError
        from omni_cli.keys.sources import usual_variable
        from omni_cli.providers.local import LISTING_S, listening, local_presets
        from omni_cli.services.fleet.setup import Found

        there = {provider.slug: provider for provider in self.providers.all()}
        found = []
        for slug, preset in self.presets.items():
            name = usual_variable(slug, None, self.env)
            if name is None and slug not in self._stored_keys:
                continue
            if slug not in there:
                self._leave_own_gateway(slug)
            url, variable = self.usual_address(slug)
            made = Provider(
                slug,
                preset.name,
                preset.protocol,
                url,
                key_env=name,
                max_concurrency=default_slots(slug, url),
            )
            how = f"env:{name}" if name else "stored key"
            kept = there.get(slug)
            found.append(Found(kept or made, how, address=None if kept else variable))
        urls = local_presets(self.env) if local else {}
        urls.update({s: p.base_url for s, p in there.items() if s in urls and p.enabled})
        servers = []
        for slug in listening(urls) if urls else ():
            preset = self.presets[slug]
            made = Provider(
                slug,
                preset.name,
                preset.protocol,
                urls[slug],
                auth_method="none",
                max_concurrency=default_slots(slug, urls[slug]),
            )
            servers.append(there.get(slug, made))
        if not servers:
            return found
        tester, _ = self.tester, self.transport  # made here, not by several threads at once

        def ask(provider: Provider) -> "Found | None":
            try:
                if self._is_omni(provider.base_url):
                    return None
                served = tester.listing(provider, timeout_s=LISTING_S)
            except OmniError:
                return None  # something else listens there
            return Found(provider, f"answers at {provider.base_url}", tuple(served))

        with ThreadPoolExecutor(max_workers=len(servers)) as pool:
            return found + [answer for answer in pool.map(ask, servers) if answer is not None]

    def _leave_own_gateway(self, slug: str) -> None:
        """Turn down an address that leads to omni itself: calls would go in circles."""
        url, variable = self.usual_address(slug)
        if variable is not None and self._is_omni(url, silent=True):
            self.decline_address(slug)
            self.note(f"{variable} is the address of omni's own gateway: left aside")

    def _is_omni(self, url: str, *, silent: bool = False) -> bool:
        """Whether omni's gateway answers there; ``silent``: or would, on its usual port."""
        import json
        from urllib.parse import urlsplit

        from omni_cli.domain.errors import ConnectionFailed, OmniError
        from omni_cli.domain.hosts import is_loopback
        from omni_cli.ports import HttpCall
        from omni_cli.providers.local import LISTING_S
        from omni_cli.wire.registry import adapter

        parts = urlsplit(url)
        call = HttpCall("GET", f"{parts.scheme}://{parts.netloc}/", {}, None, "json")
        try:
            body = self.transport.fetch(adapter("openai"), call, timeout_s=LISTING_S)
            said = json.loads(body)
        except ConnectionFailed:
            ours = parts.port == SERVE_PORT and is_loopback(parts.hostname or "")
            return silent and ours
        except (OmniError, ValueError):
            return False
        return isinstance(said, dict) and said.get("name") == "omni" and "openapi" in said

    def propose_fleet(self, found: "Sequence[Found]") -> "Proposal":
        """What ``omni init`` would set up; see services/fleet/setup.py."""
        from omni_cli.catalog.load import load_catalog
        from omni_cli.catalog.priors import load_priors
        from omni_cli.services.fleet.setup import Fleet, propose, runs_here
        from omni_cli.services.money.prices import PriceBook

        types = load_priors().types
        prices = PriceBook(self.models, now_ms=self.now_ms())
        slugs = [provider.slug for provider in self.providers.all()]
        simulated = {provider.slug for provider in self.providers.all() if provider.simulated}
        models = self.models.all()
        prices.load(model.id for model in models)

        def price(model_id: str) -> "Price | None":
            row = prices.current(model_id)
            return None if row is None else row.price

        return propose(
            found,
            models,
            retired=frozenset(
                m.info.id
                for m in load_catalog().models
                if m.deprecated and m.info.provider not in simulated
            ),
            price=price,
            prior=self._priors(
                {
                    f"{item.provider.slug}/{remote.wire_name}": remote.parameters_b
                    for item in found
                    for remote in item.served
                    if remote.parameters_b is not None
                }
            ),
            tasks=types,
            here=lambda provider, remote: runs_here(provider, remote, self.models),
            there=Fleet(
                providers=frozenset(slugs),
                active=tuple(m for m in self.models.of_providers(slugs) if m.status == "active"),
                roles=frozenset(role.name for role in self.assignments.roles()),
                chains=frozenset(chain.name for chain in self.assignments.chains()),
            ),
        )

    @property
    def catalogue_checked(self) -> str:
        """The ISO date on which the catalogue's prices were read at their source."""
        stored = self.store.get_meta(_CHECKED_KEY)
        if stored is not None:
            return stored
        from omni_cli.catalog.load import load_catalog

        return load_catalog().checked

    def update_catalogue(self, file: Path | None, url: str | None = None) -> dict[str, Any]:
        """Newer models and prices from a file or the network, all of it or nothing.

        Raises:
            UsageError: the file cannot be read.
            ProviderError: the network or the server failed.
            ConfigError: the data is not usable.
        """
        from omni_cli.catalog.load import apply_remote
        from omni_cli.services.fleet.catalogue_update import refresh
        from omni_cli.services.money.prices import utc_day

        today = utc_day(self.now_ms())
        data = self._download(url) if file is None else _contents(file)
        catalogue = apply_remote(data, checked=today)
        with self.store.transaction():
            report = refresh(self.models, catalogue, now_ms=self.now_ms())
            self.store.set_meta(_CHECKED_KEY, today)
        return {
            "checked": today,
            "source": catalogue.source,
            "models": report.models,
            "added": list(report.added),
            "repriced": list(report.repriced),
        }

    def _download(self, url: str | None) -> bytes:
        from omni_cli.catalog.remote import TIMEOUT_S, URL
        from omni_cli.domain.errors import ProviderError
        from omni_cli.ports import HttpCall
        from omni_cli.wire.registry import adapter

        call = HttpCall("GET", url or URL, {"accept": "application/json"}, None, "json")
        try:
            # Any adapter does: it only words the server's refusal.
            return self.transport.fetch(adapter("openai"), call, timeout_s=TIMEOUT_S).encode()
        except ProviderError as exc:
            exc.hint = f"nothing was changed; download {call.url}, then omni models update --file"
            raise

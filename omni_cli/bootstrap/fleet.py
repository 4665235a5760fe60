"""The fleet: changed, deployed, routed, browsed."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni_cli.domain.models import ModelInfo

if TYPE_CHECKING:
    from omni_cli.domain.quality import PriorLookup, QualityTable
    from omni_cli.providers.presets import Preset
    from omni_cli.services.engine.health import HealthRecorder
    from omni_cli.services.engine.names import Names
    from omni_cli.services.engine.routing import RoutingService
    from omni_cli.services.fleet.browse import Browser
    from omni_cli.services.fleet.deploy import DeployService
    from omni_cli.services.fleet.fleet import FleetService

from omni_cli.bootstrap.key_access import KeyAccess


def _contents(file: Path) -> bytes:
    from omni_cli.domain.errors import UsageError

    try:
        return file.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}") from exc


def _to_toml(document: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(document)


class FleetParts(KeyAccess):
    """The fleet: changed, deployed, routed, browsed."""

    @cached_property
    def names(self) -> "Names":
        from omni_cli.services.engine.names import Names

        return Names(self.providers, self.models, self.assignments)

    @cached_property
    def fleet(self) -> "FleetService":
        from omni_cli.services.fleet.fleet import FleetService

        return FleetService(
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            budgets=self.budgets,
            audit=self.audit,
            names=self.names,
            clock=self.clock,
            who=self.who,
            unit=self.store.transaction,
            to_toml=_to_toml,
        )

    @cached_property
    def deploy(self) -> "DeployService":
        from omni_cli.services.fleet.catalogue import system_models
        from omni_cli.services.fleet.deploy import DeployService

        def catalogue(model_id: str) -> "ModelInfo | None":
            from omni_cli.catalog.load import load_catalog

            if self._system_models is None:
                self._system_models = system_models(load_catalog())
            return self._system_models.get(model_id)

        return DeployService(
            fleet=self.fleet,
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            budgets=self.budgets,
            catalogue=catalogue,
        )

    @cached_property
    def health(self) -> "HealthRecorder":
        from omni_cli.services.engine.health import HealthRecorder

        return HealthRecorder(self.breakers, self.clock)

    @cached_property
    def routing(self) -> "RoutingService":
        from omni_cli.services.engine.quality import TableQuality
        from omni_cli.services.engine.routing import RoutingService

        return RoutingService(
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            learning=self.learning,
            breakers=self.breakers,
            has_key=self.has_key,
            quality=TableQuality.load(self.learning, self._priors()),
            clock=self.clock,
            consent=self.config.routing.consent,
            budgets=lambda at_ms: self.budgets.of_models(at_ms),
        )

    @cached_property
    def browser(self) -> "Browser":
        """Models with price, quality and measured use, for lists."""
        from omni_cli.domain.quality import NO_EVIDENCE, family_key
        from omni_cli.domain.tasks import TASK_TYPES
        from omni_cli.services.engine.quality import TableQuality
        from omni_cli.services.fleet.browse import Browser
        from omni_cli.services.money.prices import PriceBook

        priors = self._priors()
        judge = TableQuality.load(self.learning, priors)
        evenly = dict.fromkeys(TASK_TYPES, 1.0)
        rated = {family_key(model) for _, model in judge.table.observed}

        def quality(model_id: str) -> tuple[float | None, str]:
            """As the router judges it, over all task types alike."""
            if family_key(model_id) not in rated and not any(priors(t, model_id) for t in evenly):
                return None, NO_EVIDENCE  # what the judge says, too: half the catalogue is so
            ((mean, _, basis),) = judge(evenly, [model_id])
            return mean, basis

        prices = PriceBook(self.models, now_ms=self.now_ms())
        return Browser(prices, quality, self.learning.stats())

    def _priors(self, listed: Mapping[str, float] | None = None) -> "PriorLookup":
        """Where quality starts: the user's own scores, what was published, what size suggests.

        Args:
            listed: sizes of models that are not in the store yet, in billions, by id.
        """
        from omni_cli.catalog.priors import load_priors
        from omni_cli.services.engine.own_scores import with_own_scores, with_sizes

        priors = load_priors()
        known = with_sizes(priors.lookup, priors.weak, self.models.sizes() | dict(listed or {}))
        return with_own_scores(known, self.models.own_scores())

    def _quality_table(self) -> "QualityTable":
        from omni_cli.services.engine.quality import TableQuality

        return TableQuality.load(self.learning, self._priors()).table

    @cached_property
    def presets(self) -> "Mapping[str, Preset]":
        """Well-known providers by slug."""
        from omni_cli.providers.presets import PRESETS

        return PRESETS

"""What a stand-in may cost unasked: one rule, whoever falls back, and for whatever reason.

A stand-in is measured against the first choice had nobody been down: a model that is kept out by
its circuit breaker or by a spent budget counts as one that was asked and failed.

1. What the user listed (a role's or a chain's models) may cost anything, unless its chain forbids.
2. Up to ``floor_nusd`` above the first choice nothing needs consent.
3. Beyond, a stand-in may cost ``multiple`` times the first choice, and nothing after a free one.
"""

from msgspec import Struct

from omni_cli.domain.money import format_usd

#: One cent.
DEFAULT_FLOOR_NUSD = 10_000_000
DEFAULT_MULTIPLE = 5.0
_LIFT = (
    "omni chat --{0}, the gateway's header x-omni-{0}: 1, "
    "or omni config set routing.{1} {2} lets it stand in"
)
_ANY_COST = _LIFT.format("any-cost", "max_fallback_multiple", 0)
_FREE_TO_PAID = _LIFT.format("free-to-paid", "allow_free_to_paid", "true")


class Refusal(Struct, frozen=True):
    """``why`` a model may not stand in, and what to type to ``lift`` that."""

    why: str
    lift: str


class Consent(Struct, frozen=True):
    """The user's settings, the chain's word and the caller's, for one request.

    ``multiple`` None: any. ``any_cost`` and ``free_to_paid``: the caller's or the chain's leave
    for whoever stands in. ``listed``: ids of a role's or chain's models. ``chain`` is the name of
    the one whose own words the next two are: ``chain_multiple`` binds all, however little it is
    about (None: it says nothing), and ``free_only`` keeps a chain that begins free free.
    ``first``: id of the first choice, "" before it is known; ``first_nusd`` its expected cost,
    nano-dollars, None where unknown, and then there is nothing to measure by.
    """

    floor_nusd: int = DEFAULT_FLOOR_NUSD
    multiple: float | None = DEFAULT_MULTIPLE
    any_cost: bool = False
    free_to_paid: bool = False
    listed: tuple[str, ...] = ()
    chain: str = ""
    chain_multiple: float | None = None
    free_only: bool = False
    first: str = ""
    first_nusd: int | None = None

    def refusal(self, model: str, expected_nusd: int | None) -> Refusal | None:
        """Why ``model`` may not stand in for the first choice at that expected cost, or None."""
        first = self.first_nusd
        if model == self.first or first is None or expected_nusd == 0:
            return None
        if not first:
            return self._after_free(model, expected_nusd)
        if self.any_cost:
            return None
        if self.chain_multiple is not None:
            lift = f"omni chains edit '{self.chain}' --any-cost, or {_ANY_COST}"
            refused = self._dearer(first, expected_nusd, self.chain_multiple, lift)
            if refused is not None:
                return refused
        if model in self.listed or self._is_small(first, expected_nusd) or self.multiple is None:
            return None
        return self._dearer(first, expected_nusd, self.multiple, _ANY_COST)

    def _after_free(self, model: str, expected_nusd: int | None) -> Refusal | None:
        if self.free_to_paid:
            return None
        lift = _FREE_TO_PAID
        if self.free_only:
            lift = f"omni chains edit '{self.chain}' --free-to-paid, or {lift}"
        elif model in self.listed or self._is_small(0, expected_nusd):
            return None
        return Refusal(f"costs money and the first choice, {self.first}, is free", lift)

    def _is_small(self, first_nusd: int, expected_nusd: int | None) -> bool:
        return expected_nusd is not None and expected_nusd <= first_nusd + self.floor_nusd

    def _dearer(
        self, first_nusd: int, expected_nusd: int | None, multiple: float, lift: str
    ) -> Refusal | None:
        if expected_nusd is None:
            return Refusal(
                "its price is unknown, so it may be far dearer than the first choice, "
                f"{self.first}",
                lift,
            )
        if expected_nusd <= first_nusd * multiple:
            return None
        return Refusal(
            f"{format_usd(expected_nusd)} expected is more than {multiple:g} times the first "
            f"choice's {format_usd(first_nusd)} ({self.first})",
            lift,
        )


#: What holds where nothing was set.
DEFAULT_CONSENT = Consent()

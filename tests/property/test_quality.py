"""What holds for every cell of the quality table, whatever the numbers."""

from hypothesis import given
from hypothesis import strategies as st

from omni_cli.domain.quality import Cell, Prior, QualityTable, beta_tail
from omni_cli.services.engine.quality import TableQuality

shares = st.floats(0.0, 1.0)
counts = st.floats(0.0, 500.0)
strengths = st.floats(1.0, 200.0)
cells = st.builds(Cell, shares, strengths, counts, counts)
bars = st.floats(0.01, 0.99)
TINY = 1e-9


@given(cells, st.floats(0.1, 50.0), bars)
def test_wins_raise_and_losses_lower(cell: Cell, more: float, bar: float) -> None:
    better = Cell(cell.mean_prior, cell.strength, cell.wins + more, cell.losses)
    worse = Cell(cell.mean_prior, cell.strength, cell.wins, cell.losses + more)
    assert better.mean > cell.mean > worse.mean
    assert better.chance_at_least(bar) >= cell.chance_at_least(bar) - TINY
    assert worse.chance_at_least(bar) <= cell.chance_at_least(bar) + TINY


@given(cells, bars, bars)
def test_a_higher_bar_is_harder(cell: Cell, one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert 0.0 <= cell.chance_at_least(high) <= cell.chance_at_least(low) + TINY <= 1.0 + TINY


@given(st.floats(0.05, 1000.0), st.floats(0.05, 1000.0), bars)
def test_the_tail_and_its_mirror_sum_to_one(alpha: float, beta: float, bar: float) -> None:
    assert abs(beta_tail(alpha, beta, bar) + beta_tail(beta, alpha, 1.0 - bar) - 1.0) < 1e-8


@given(
    st.dictionaries(st.sampled_from("abcdef"), shares, min_size=1),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0.02, 1.0), min_size=1),
)
def test_mixing_stays_between_its_parts(means: dict[str, float], weights: dict[str, float]) -> None:
    def prior(task_type: str, _model: str) -> Prior | None:
        mean = means.get(task_type)
        return None if mean is None else Prior(mean, 20.0, "given")

    table = QualityTable(prior)
    ((mean, _, _),) = TableQuality(table)(weights, ["p/m"])
    parts = [table.cell(task_type, "p/m") for task_type in weights]
    if mean is not None:
        assert min(c.mean for c in parts) - TINY <= mean <= max(c.mean for c in parts) + TINY

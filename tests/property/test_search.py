"""The language of ``omni logs`` and of Activity: read, written, and one to SQL and to Python."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ledger import RequestRow
from omni_cli.domain.search import FIGURES, STATES, TEXTS, Search, Term, moment_ms, parse
from omni_cli.store.connection import SqliteStore
from omni_cli.store.glance import GlanceStore
from omni_cli.store.rows import REQUESTS, request_values

#: A busy machine makes examples slowly, which says nothing of them.
_SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.sampled_from(
    ["sonnet", "Sonnet", "anthropic/claude-sonnet-5-5", "a_b", "50%", "gpt", "", "x y", "a\\b"]
)
_WORDS = st.text("abSo_%\\ -:,>./0", min_size=1, max_size=8).filter(str.strip)
_VALUES = st.one_of(NAMES.filter(bool), _WORDS)
_OPS = st.sampled_from((":", "=", ">", ">=", "<", "<="))


def terms() -> st.SearchStrategy[Term]:
    texts = st.builds(
        Term,
        st.sampled_from([name for name in TEXTS if name != "state"]),
        st.sampled_from((":", "=")),
        st.lists(_VALUES, min_size=1, max_size=3).map(tuple),
        st.booleans(),
    )
    bare = st.builds(Term, st.just(""), st.just(":"), _VALUES.map(lambda v: (v,)), st.booleans())
    states = st.builds(
        Term,
        st.just("state"),
        st.just(":"),
        st.lists(st.sampled_from(STATES), min_size=1, max_size=2).map(tuple),
        st.booleans(),
    )
    figures = st.builds(
        Term, st.sampled_from(FIGURES), _OPS, st.integers(0, 5).map(lambda n: (n,)), st.booleans()
    )
    return st.one_of(texts, bare, states, figures)


SEARCHES = st.lists(terms(), max_size=4).map(lambda found: Search(tuple(found)))
ROWS = st.builds(
    RequestRow,
    id=st.integers(1, 1 << 60),
    created_at=st.integers(1, 100),
    source=st.sampled_from(("chat", "gateway")),
    role=NAMES,
    agent=NAMES,
    task=NAMES,
    session=NAMES,
    project=NAMES,
    org=NAMES,
    key=NAMES,
    state=st.sampled_from(STATES),
    model=NAMES,
    provider=NAMES,
    attempts=st.integers(0, 3),
    usage=st.builds(Usage, input_tokens=st.integers(0, 4), output_tokens=st.integers(0, 4)),
    cost_nusd=st.none() | st.integers(0, 5),
    adjusted_nusd=st.integers(-1, 1),
    latency_ms=st.none() | st.integers(0, 5),
    error_code=st.none() | NAMES,
    error_message=st.none() | NAMES,
)


@_SLOW
@given(SEARCHES)
def test_what_is_written_is_read_again(search: Search) -> None:
    assert parse(str(search)) == search


@_SLOW
@given(st.text())
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with suppress(UsageError):
        found = parse(text)
        assert parse(str(found)) == found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path_factory.mktemp("search") / "omni.db", durable=False)
    yield made
    made.close()


@_SLOW
@given(st.lists(ROWS, max_size=10, unique_by=lambda row: row.id), st.lists(SEARCHES, max_size=8))
def test_sql_finds_what_the_definition_says(
    store: SqliteStore, rows: list[RequestRow], searches: list[Search]
) -> None:
    glance = GlanceStore(store)
    with store.transaction() as db:
        db.execute("DELETE FROM requests")
        REQUESTS.write(db, [request_values(row) for row in rows])
    newest = sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)
    for search in searches:
        found = glance.search(search, limit=100)
        assert [row.id for row in found] == [r.id for r in newest if search.matches(r)], search
    dearest = glance.search(Search(), limit=100, order="cost")
    costs = [-1 if row.total_nusd is None else row.total_nusd for row in dearest]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle:x", "did you mean model?"),
        ("state:broken", "no state 'broken'"),
        ("cost>much", "no figure for cost"),
        ("since:soon", "is no time"),
        ("model>x", "compares words"),
        ("role:", "of what?"),
        ("took<fast", "no figure for took"),
    ],
)
def test_what_cannot_be_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert said in refused.value.message + refused.value.hint


def test_figures_and_times_are_read_in_their_units() -> None:
    found = parse('cost>$0.01 took>=2.5s tokens<12k since:2h agent:"Dev Agent" llama3.1:70b')
    values = {term.field: term.values[0] for term in found.terms}
    assert values == {
        "cost": 10_000_000,
        "took": 2_500,
        "tokens": 12_000,
        "since": "2h",
        "agent": "Dev Agent",
        "": "llama3.1:70b",
    }
    assert moment_ms("2h", 10_000_000, "UTC") == 10_000_000 - 7_200_000
    assert moment_ms("2026-11-30", 0, "Asia/Kathmandu") == moment_ms(
        "2026-11-30T00:00:00+05:45", 0, "UTC"
    )

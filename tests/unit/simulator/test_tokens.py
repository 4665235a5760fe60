from hypothesis import given
from hypothesis import strategies as st

from omni_cli.simulator.ask import Ask, Turn
from omni_cli.simulator.tokens import (
    MIN_CACHED,
    PromptCache,
    count,
    deltas,
    pieces,
    prompt_hash,
    turn_tokens,
)


def _ask(*turns: Turn, model: str = "m") -> Ask:
    return Ask(model=model, turns=turns)


LONG = "word " * 1500


@given(st.text(max_size=300))
def test_pieces_give_the_text_back(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert count(text) == len(pieces(text))


@given(st.integers(1, 9000))
def test_deltas_lose_no_token(size: int) -> None:
    parts = [f" {n}" for n in range(size)]
    made = deltas(parts)
    assert "".join(delta.text for delta in made) == "".join(parts)
    assert sum(delta.tokens for delta in made) == size
    assert len(made) <= 2000


def test_english_is_about_four_characters_a_token() -> None:
    text = "The fleet answers every question with the model that suits it best. " * 20
    assert 3.5 < len(text) / count(text) < 5.5


def test_images_count_per_turn() -> None:
    assert turn_tokens(Turn("user", "hi", 2), 100) - turn_tokens(Turn("user", "hi"), 100) == 200


def test_the_hash_tells_models_and_prompts_apart() -> None:
    base = _ask(Turn("user", "hi"))
    others = [
        _ask(Turn("user", "hi"), model="n"),
        _ask(Turn("user", "ho")),
        _ask(Turn("system", "hi")),
        _ask(Turn("user", "hi", 1)),
    ]
    assert prompt_hash(base) == prompt_hash(_ask(Turn("user", "hi")))
    assert prompt_hash(base) not in {prompt_hash(other) for other in others}


def test_a_long_prefix_is_cached_from_the_second_time_on() -> None:
    cache = PromptCache()
    first = _ask(Turn("system", LONG), Turn("user", "one"))
    second = _ask(Turn("system", LONG), Turn("user", "two, and quite another question"))
    assert cache.automatic("m", first) == 0
    cached = cache.automatic("m", second)
    assert MIN_CACHED <= cached <= count(LONG)
    assert cached % 128 == 0
    assert cache.automatic("other model", second) == 0
    assert cache.automatic("m", _ask(Turn("system", "x" + LONG))) == 0
    cache.clear()
    assert cache.automatic("m", first) == 0


def test_short_prompts_are_never_cached() -> None:
    cache = PromptCache()
    ask = _ask(Turn("user", "word " * 500))
    assert [cache.automatic("m", ask) for _ in range(3)] == [0, 0, 0]


def test_marks_write_once_and_read_after() -> None:
    cache = PromptCache()
    system = Turn("system", LONG, cache="5m")
    size = turn_tokens(system, 0)
    ask = _ask(system, Turn("user", "one"))
    assert cache.marked("m", ask, 0) == (0, size, 0)
    assert cache.marked("m", ask, 0) == (size, 0, 0)
    # A conversation that grew reads what it wrote and writes only what is new.
    new = Turn("user", "two", cache="5m")
    assert cache.marked("m", _ask(system, new), 0) == (size, turn_tokens(new, 0), 0)


def test_lifetimes_are_told_apart() -> None:
    cache = PromptCache()
    tools = Turn("tools", LONG, cache="1h")
    system = Turn("system", LONG, cache="5m")
    long, short = turn_tokens(tools, 0), turn_tokens(system, 0)
    assert cache.marked("m", _ask(tools, system), 0) == (0, short, long)


def test_nothing_is_cached_without_a_mark_or_below_the_least() -> None:
    cache = PromptCache()
    assert cache.marked("m", _ask(Turn("user", LONG)), 0) == (0, 0, 0)
    assert cache.marked("m", _ask(Turn("user", "short", cache="5m")), 0) == (0, 0, 0)

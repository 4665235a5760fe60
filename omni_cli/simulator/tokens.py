"""The simulator's own tokens, and the prompt cache that counts in them."""

import hashlib
import re
from collections.abc import Sequence

from omni_cli.simulator.ask import Ask, Delta, Turn

#: A token is up to six letters or digits with the space before them, or one other character.
_TOKEN = re.compile(r"\s*\w{1,6}|\s*[^\w\s]|\s+")
#: Tokens that the frame of one message takes.
PER_TURN = 4
#: Providers cache prompts from this many tokens on (OpenAI, Anthropic, Gemini alike) ...
MIN_CACHED = 1024
#: ... and OpenAI-style caches in steps of this many.
STEP = 128
MAX_ENTRIES = 100_000


def pieces(text: str) -> list[str]:
    """``text`` cut into tokens; joined they give it back."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    return len(_TOKEN.findall(text))


def deltas(parts: Sequence[str], most: int = 2000) -> list[Delta]:
    """One token a chunk; answers above ``most`` tokens travel in larger chunks."""
    if len(parts) <= most:
        return [Delta(part, 1) for part in parts]
    step = len(parts) // most + 1
    return [
        Delta("".join(parts[at : at + step]), len(parts[at : at + step]))
        for at in range(0, len(parts), step)
    ]


def turn_tokens(turn: Turn, image_tokens: int) -> int:
    return PER_TURN + count(turn.text) + turn.images * image_tokens


def prompt_hash(ask: Ask) -> str:
    """Sixteen hex digits of model and prompt."""
    digest = hashlib.blake2b(ask.model.encode(), digest_size=8)
    for turn in ask.turns:
        digest.update(f"\x1e{turn.role}\x1f{turn.images}\x1f{turn.text}".encode())
    return digest.hexdigest()


class PromptCache:
    """Remembers long prefixes of prompts. Nothing expires; ``clear`` forgets all."""

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}

    def clear(self) -> None:
        self._seen = {}  # a new one: another thread may be asking

    def _remember(self, key: bytes) -> None:
        self._seen[key] = None
        if len(self._seen) > MAX_ENTRIES:
            del self._seen[next(iter(self._seen))]

    def automatic(self, scope: str, ask: Ask) -> int:
        """Tokens of the longest known prefix, as OpenAI, DeepSeek and Gemini cache unasked."""
        text = "\x1e".join(f"{turn.role}\x1f{turn.text}" for turn in ask.turns)
        if len(text) < MIN_CACHED:  # a token has at least one character
            return 0
        parts = pieces(text)
        if len(parts) < MIN_CACHED:
            return 0
        digest = hashlib.blake2b(scope.encode(), digest_size=16)
        known = 0
        unbroken = True
        for at in range(STEP, len(parts) + 1, STEP):
            digest.update("".join(parts[at - STEP : at]).encode())
            key = digest.digest()
            if unbroken and key in self._seen:
                known = at
            else:
                unbroken = False
                self._remember(key)
        return known if known >= MIN_CACHED else 0

    def marked(self, scope: str, ask: Ask, image_tokens: int) -> tuple[int, int, int]:
        """(read, written for 5 min, written for 1 h) tokens, as Anthropic caches on request.

        Everything up to the last mark is cached; the longest known block boundary before it is
        read, the rest is written with the lifetime of the mark that follows it.
        """
        last = max((i for i, turn in enumerate(ask.turns) if turn.cache), default=-1)
        digest = hashlib.blake2b(scope.encode(), digest_size=16)
        bounds: list[tuple[bytes, int]] = []
        total = 0
        for turn in ask.turns[: last + 1]:
            digest.update(f"\x1e{turn.role}\x1f{turn.images}\x1f{turn.text}".encode())
            total += turn_tokens(turn, image_tokens)
            bounds.append((digest.digest(), total))
        if total < MIN_CACHED:
            return 0, 0, 0
        read = max((tokens for key, tokens in bounds if key in self._seen), default=0)
        written = {"5m": 0, "1h": 0}
        done = read
        for turn, (key, tokens) in zip(ask.turns, bounds, strict=False):
            if turn.cache and tokens >= MIN_CACHED:
                self._remember(key)
                if tokens > done:
                    written[turn.cache] += tokens - done
                    done = tokens
        return read, written["5m"], written["1h"]

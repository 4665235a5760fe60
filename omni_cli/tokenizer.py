"""OpenAI's own token counts, where tiktoken and its ranks are on this machine already.

tiktoken (extra ``tokens``) downloads its ranks when it does not find them. omni asks it only
where a file with the right digest lies in a place that it looks in, or in litellm's package,
which ships one: nothing is ever downloaded.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

ENCODING = "o200k_base"
#: What tiktoken calls the ranks' file: the SHA-1 of the address that it loads them from.
RANKS_FILE = "fb374d419588a4632f3f557e76b4b70aebbca790"
#: tiktoken's own pin of the file's content (SHA-256).
RANKS_DIGEST = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
#: Wire names of OpenAI's models that use this encoding begin with one of these.
FAMILIES = ("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-oss", "chatgpt-4o", "o1", "o3", "o4")


def exact_counter(
    env: Mapping[str, str], set_env: Callable[[str, str], None]
) -> Callable[[str], int] | None:
    """Counts the tokens of a text in ``o200k_base``; None where that cannot be done offline.

    Args:
        set_env: sets a variable of this process: how tiktoken is told where the ranks are.
    """
    if find_spec("tiktoken") is None:
        return None
    for folder in _places(env):
        if _digest(folder / RANKS_FILE) == RANKS_DIGEST:
            break
    else:
        return None
    set_env("TIKTOKEN_CACHE_DIR", str(folder))
    encoding = import_module("tiktoken").get_encoding(ENCODING)
    return lambda text: len(encoding.encode_ordinary(text))


def is_exact_for(model_id: str) -> bool:
    """Whether a model counts by this encoding."""
    provider, _, name = model_id.partition("/")
    return provider == "openai" and name.startswith(FAMILIES)


def _places(env: Mapping[str, str]) -> Iterator[Path]:
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if env.get(name):
            yield Path(env[name])
    yield Path(tempfile.gettempdir()) / "data-gym-cache"
    litellm = find_spec("litellm")
    for folder in (litellm.submodule_search_locations or ()) if litellm else ():
        yield Path(folder) / "litellm_core_utils" / "tokenizers"


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None

"""How large a model is, as far as its name tells: nearly every open model's name says it."""

import re
from functools import lru_cache

#: Experts of a mixture share their attention: 8x7b has 47 billion parameters, 8x22b 141.
_SHARED = 0.82
#: Fewer million parameters are a context window ("-1m"), not a model.
_LEAST_M = 14.0
_MOST_B = 5_000.0
_UNITS = {"m": 1e-3, "b": 1.0, "t": 1e3}

_MIXTURE = re.compile(r"(?<![a-z0-9.])(\d{1,3})x(\d{1,3}(?:\.\d+)?)b(?![a-z0-9])")
#: "70b", "1.1b", "135m", "1t"; "e4b" counts what is in use at once; not "a3b", the active part.
_PLAIN = re.compile(r"(?<![a-z0-9.])e?(\d{1,4}(?:\.\d+)?)([mbt])(?![a-z0-9])")


@lru_cache(maxsize=8192)
def size_of_name(name: str) -> float | None:
    """Billions of parameters, all experts together; None where the name does not say."""
    low = name.lower()
    found = [
        int(experts) * float(size) * _SHARED for experts, size in _MIXTURE.findall(low) if size
    ]
    found += [
        float(amount) * _UNITS[unit]
        for amount, unit in _PLAIN.findall(low)
        if unit != "m" or float(amount) >= _LEAST_M
    ]
    fitting = [size for size in found if 0.0 < size <= _MOST_B]
    return max(fitting, default=None)


def parse_size(text: str) -> float | None:
    """Billions of parameters from a listing's words, such as "7.2B" or "134.52M"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMBT])\s*", text, re.IGNORECASE)
    if match is None:
        return None
    size = float(match[1]) * {**_UNITS, "k": 1e-6}[match[2].lower()]
    return size if 0.0 < size <= _MOST_B else None

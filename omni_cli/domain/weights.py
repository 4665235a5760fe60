"""The shipped type model: int8 weights by feature bucket, one column of bytes per task type.

Written by ``tools/train_classifier.py``; read once, when the first prompt is classified.
A constant of the package like its code, hence no port: nothing the user owns is read here.
"""

import struct
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from omni_cli.domain.features import BUCKETS
from omni_cli.domain.tasks import TASK_TYPES

MAGIC = b"omni-types-1\n"
PATH = Path(__file__).resolve().parents[1] / "data" / "task_types.bin"
#: Bytes hold weight + OFFSET, so that a sum over unsigned bytes needs no sign handling.
OFFSET = 128
_HEAD = struct.Struct(f"<2d{len(TASK_TYPES)}d")


class TypeModel(Struct, frozen=True):
    """``columns``: BUCKETS bytes per type, in TASK_TYPES order. ``bias``: one logit per type.

    A logit is bias + step * (facts_scale * sum over facts + sum over spoken / sqrt(count)).
    The temperature fitted on held-out sources is part of ``step`` and ``bias`` already.
    """

    step: float
    facts_scale: float
    bias: tuple[float, ...]
    columns: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        head = _HEAD.pack(self.step, self.facts_scale, *self.bias)
        return MAGIC + head + b"".join(self.columns)


def from_bytes(data: bytes) -> TypeModel:
    """Raises ValueError when ``data`` is not a type model of this version."""
    start = len(MAGIC) + _HEAD.size
    if not data.startswith(MAGIC) or len(data) != start + BUCKETS * len(TASK_TYPES):
        raise ValueError("not a type model of this version")
    step, facts_scale, *bias = _HEAD.unpack_from(data, len(MAGIC))
    columns = tuple(
        data[start + i * BUCKETS : start + (i + 1) * BUCKETS] for i in range(len(TASK_TYPES))
    )
    return TypeModel(step, facts_scale, tuple(bias), columns)


@lru_cache(maxsize=1)
def shipped() -> TypeModel:
    """The model of the package (about 0.4 MB)."""
    return from_bytes(PATH.read_bytes())

"""Commands.

Typer and pathlib, with which each of them starts, import modules of the standard library that
almost no command uses. These are loaded once they are asked for something, which spares a tenth of
``omni --help``.
"""

import sys
from importlib.util import find_spec
from threading import RLock
from types import ModuleType
from typing import Any

#: Of these whoever starts says ``import NAME`` only; ``from NAME import`` would load them.
LATER = ("bz2", "ipaddress", "linecache", "lzma", "subprocess", "tokenize")
_lock = RLock()
_loading: set[str] = set()


class Later(ModuleType):
    """Stands for a module until it is asked for something. Before Python 3.12 the stand-in of
    importlib.util.LazyLoader is loaded as soon as anybody imports it."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if name == "__path__" or spec is None or spec.loader is None:
            raise AttributeError(name)
        with _lock:  # other threads wait; this one may ask for what is not there yet
            if type(self) is Later and self.__name__ not in _loading:
                _loading.add(self.__name__)
                spec.loader.exec_module(self)
                object.__setattr__(self, "__class__", ModuleType)
        if name in self.__dict__:
            return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _later(name: str) -> None:
    spec = None if name in sys.modules else find_spec(name)
    if spec is not None:
        module = sys.modules[name] = Later(name)
        module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin


for _name in LATER:
    _later(_name)

"""Commands.

Typer, msgspec and pathlib, with which each of them starts, import modules that almost no command
uses. These are loaded once they are asked for something, which spares a tenth of each start.
"""

import os
import sys
import urllib  # noqa: F401  # whose module below is then an attribute of it
from collections.abc import Callable
from importlib.machinery import PathFinder
from threading import RLock
from types import ModuleType
from typing import Any

#: Module -> functions that whoever starts takes out of it, which load theirs once they are called.
#: Other names load it when they are taken: of these modules one says ``import NAME`` only.
LATER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("bz2", "ipaddress", "linecache", "lzma", "platform"), ()),
    **dict.fromkeys(("subprocess", "textwrap", "tokenize"), ()),
    "difflib": ("get_close_matches",),
    "gettext": ("gettext",),
    "shutil": ("get_terminal_size",),
    "urllib.parse": ("quote_from_bytes",),
}
#: The same of what commands start with.
LATER_IN_COMMANDS = (
    "base64",
    "configparser",
    "hashlib",
    "hmac",
    "json",
    "locale",
    "mimetypes",
    "random",
    "tempfile",
    "msgspec.inspect",
)
_lock = RLock()
_loading: set[str] = set()


class Later(ModuleType):
    """Stands for a module until it is asked for something. Before Python 3.12 the stand-in of
    importlib.util.LazyLoader is loaded as soon as anybody imports it."""

    def __getattr__(self, name: str) -> Any:
        if name != "__path__":
            _load(self)
        if name in self.__dict__:
            return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _load(module: ModuleType) -> None:
    spec = module.__spec__
    with _lock:  # other threads wait; this one may ask for what is not there yet
        if type(module) is Later and spec and spec.loader and spec.name not in _loading:
            _loading.add(spec.name)
            spec.loader.exec_module(module)
            object.__setattr__(module, "__class__", ModuleType)


def _calling(module: Later, name: str) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        _load(module)
        return module.__dict__[name](*given, **named)

    return call


def later(name: str, functions: tuple[str, ...] = ()) -> Later | None:
    """Have a module loaded once it is asked for; None where it is loaded, or is not there."""
    parent, _, last = name.rpartition(".")
    package = PathFinder.find_spec(parent) if parent else None
    path = package.submodule_search_locations if package else None
    spec = None if name in sys.modules else PathFinder.find_spec(name, path)
    if spec is None:
        return None
    module = sys.modules[name] = Later(name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    module.__dict__.update({function: _calling(module, function) for function in functions})
    if parent in sys.modules:
        setattr(sys.modules[parent], last, module)
    return module


for _name, _functions in LATER.items():
    _module = later(_name, _functions)
    if _module is not None and _name == "platform" and hasattr(os, "uname"):
        # All that uuid asks while it is imported, and what platform answers there.
        _module.__dict__["system"] = lambda: os.uname().sysname

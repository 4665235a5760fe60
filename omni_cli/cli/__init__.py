"""Commands.

Typer, msgspec and pathlib, with which each of them starts, import modules that almost no command
uses. These are loaded once they are asked for something, which spares a tenth of each start.
"""

import os
import sys
import urllib  # noqa: F401  # whose module below is then an attribute of it
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
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
    "ssl",
)
#: The same within packages that are not loaded themselves yet.
LATER_WITHIN = ("asyncio.sslproto", "msgspec.inspect")
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


class _Sockets(type):
    """Sockets of TLS, of which there are none before ssl is loaded: asyncio asks of each socket
    that it connects, also to a model of this machine over plain HTTP."""

    def __instancecheck__(cls, instance: object) -> bool:
        module = sys.modules["ssl"]
        return type(module) is not Later and isinstance(instance, module.__dict__["SSLSocket"])


def later(name: str, functions: tuple[str, ...] = ()) -> Later | None:
    """Have a module loaded once it is asked for; None where it is loaded, or is not there."""
    parent, _, last = name.rpartition(".")
    path = sys.modules[parent].__path__ if parent else None
    spec = None if name in sys.modules else PathFinder.find_spec(name, path)
    if spec is None:
        return None
    module = sys.modules[name] = Later(name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    module.__dict__.update({function: _calling(module, function) for function in functions})
    if name == "ssl":
        module.__dict__["SSLSocket"] = _Sockets("SSLSocket", (), {})
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


class _Within:
    """Finds LATER_WITHIN, so that importing them makes them attributes of their packages."""

    def __init__(self, found: ModuleSpec | None = None) -> None:
        self._found = found

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del target
        spec = PathFinder.find_spec(name, path) if name in LATER_WITHIN else None
        loader: Any = _Within(spec)  # importlib.abc, to be one of its kind, takes a while to load
        return ModuleSpec(name, loader) if spec else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Later(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        assert self._found is not None
        module.__spec__, module.__loader__ = self._found, self._found.loader
        module.__file__ = self._found.origin


def find_within() -> None:
    """Have LATER_WITHIN loaded once they are asked for something."""
    sys.meta_path.insert(0, _Within())


for _name, _functions in LATER.items():
    _module = later(_name, _functions)
    if _module is not None and _name == "platform" and hasattr(os, "uname"):
        # All that uuid asks while it is imported, and what platform answers there.
        _module.__dict__["system"] = lambda: os.uname().sysname

"""scipy.special as the command line starts with it: its compiled functions, and the rest once that is asked for.

The package makes each of its functions fit for other array libraries when it is imported: that imports numpy.f2py and
numpy.testing and reads some ninety docstrings, which takes twice as long as importing numpy. The functions are the
same objects either way. Whoever asks the package for anything else, in whatever thread, has it imported as usual.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:  # which take longer than all that stands here
    Loader = MetaPathFinder = object

_NAME: Final = "scipy.special"
_leaving: Final = threading.Lock()


def begin_with_functions() -> None:
    """Have scipy.special begin with its functions, unless it is there already or was asked for other arrays."""
    there = _NAME in sys.modules or any(isinstance(finder, _Finder) for finder in sys.meta_path)
    if not there and not os.environ.get("SCIPY_ARRAY_API"):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds scipy.special where it is, once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _NAME:
            return None
        sys.meta_path.remove(self)
        found = PathFinder.find_spec(fullname, path, target)
        if found is not None and found.loader is not None:
            found.loader = _Functions(found.loader)
        return found


class _Functions(Loader):
    """Puts the compiled functions into the package, or runs it where its parts have other names."""

    def __init__(self, usual: Loader) -> None:
        self._usual = usual

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Begun(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        try:
            functions = importlib.import_module(f"{_NAME}._ufuncs")
            found = {name: getattr(functions, name) for name in functions.__all__}
        except (ImportError, AttributeError):
            module.__class__ = ModuleType
            self._usual.exec_module(module)
        else:
            vars(module).update(found)


class _Begun(ModuleType):
    """The package while only its functions are there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {_NAME!r} has no attribute {name!r}")
        with _leaving:
            if sys.modules.get(_NAME) is self:
                del sys.modules[_NAME]
        whole = importlib.import_module(_NAME)
        for part, value in vars(self).items():
            if isinstance(value, ModuleType):  # imported with its parent's place taken
                vars(whole).setdefault(part, value)
        vars(self).update(vars(whole))
        return getattr(whole, name)

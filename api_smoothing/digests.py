"""What tells tensors apart for good: the sha256 of their names, types, shapes and bytes; functions, for the moment."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes)
#: Packages whose objects and functions are taken as they are: their insides decide nothing, or change as they work.
_LIBRARIES: Final = frozenset(sys.stdlib_module_names) - {"__main__"} | {"torch", "numpy", "builtins"}


def sha256_of(tensors: Mapping[str, Tensor], head: str = "") -> str:
    """The sha256, in hex, of `head` and the named `tensors`, whatever their order, strides and device."""
    digest = hashlib.sha256(head.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first of `tensors` that holds an infinity or NaN; None where all numbers are finite."""
    return next((name for name, value in tensors.items() if not bool(value.isfinite().all())), None)


def weights_of(thing: object) -> dict[str, Tensor]:
    """The parameters and buffers, also those that are not saved, of the modules `thing` is, holds or refers to."""
    if isinstance(thing, nn.Module):
        every = (thing.named_parameters, thing.named_buffers)
        return {name: value for group in every for name, value in group(remove_duplicate=False)}
    modules = [(path, leaf) for path, leaf in _leaves(thing) if isinstance(leaf, nn.Module)]
    return {
        f"{path}.{name}": value
        for path, module in modules
        for group in (module.named_parameters, module.named_buffers)
        for name, value in group(recurse=False, remove_duplicate=False)
    }


def state_of(thing: object) -> str:
    """The sha256, in hex, of all that shows of a function or module at work, for comparison in this process alone.

    Weights, arrays, numbers and text it holds or refers to, in attributes, closures, defaults and globals, and the
    code of plain functions. Of other objects than modules only the weights and arrays, and which object it is: they
    count, and keep clients that change as they work.
    """
    digest = hashlib.sha256()
    for path, leaf in _leaves(thing):
        digest.update(f"{path} {type(leaf).__qualname__} ".encode())
        digest.update(_shown(leaf))
    return digest.hexdigest()


def _shown(leaf: object) -> bytes:
    if isinstance(leaf, nn.Module):
        return b""  # its parts follow
    try:
        if isinstance(leaf, Tensor):
            return bytes.fromhex(sha256_of({"": leaf}))
        if isinstance(leaf, np.ndarray | np.generic):
            return f"{leaf.dtype} {leaf.shape} ".encode() + leaf.tobytes()
        if isinstance(leaf, CodeType):
            return leaf.co_code + repr([c for c in leaf.co_consts if not isinstance(c, CodeType)]).encode()
    except (RuntimeError, NotImplementedError, TypeError):  # tensors without bytes to show
        return str(id(leaf)).encode()
    return repr(leaf).encode() if isinstance(leaf, _PLAIN) else str(id(leaf)).encode()


def _leaves(root: object) -> Iterator[tuple[str, object]]:
    """(path, leaf) of everything reachable from `root` that decides what it computes, each object once."""
    seen, left = dict[int, object](), [("", root)]
    while left:
        path, thing = left.pop()
        if isinstance(thing, _PLAIN):
            yield path, thing
        elif id(thing) in seen:
            yield path, "again"
        else:
            seen[id(thing)] = thing  # held, so that its id stays its own
            parts = list(_parts(thing))
            if not parts or isinstance(thing, nn.Module) or _is_object(thing):
                yield path, thing
            left += [(f"{path}.{name}", part) for name, part in reversed(parts)]


def _parts(thing: object) -> Iterator[tuple[str, object]]:
    """What `thing` is made of, by name; nothing where it is a leaf."""
    if isinstance(thing, dict):
        yield from ((f"{type(thing).__name__}[{key!r:.99}]", value) for key, value in list(thing.items()))
    elif isinstance(thing, list | tuple):
        yield from ((str(number), value) for number, value in enumerate(thing))
    elif isinstance(thing, partial):
        yield from (("func", thing.func), ("args", thing.args), ("keywords", thing.keywords))
    elif isinstance(thing, MethodType):
        yield from (("self", thing.__self__), ("func", thing.__func__))
    elif isinstance(thing, FunctionType):
        yield from _parts_of_function(thing)
    elif isinstance(thing, set | frozenset):
        yield from ((str(number), name) for number, name in enumerate(sorted(map(repr, thing))))
    elif isinstance(thing, nn.Module):
        yield "forward", getattr(type(thing), "forward", None)
        yield from ((name, value) for name, value in vars(thing).items() if name != "training")
    elif _is_object(thing):
        yield "call", type(thing).__call__ if callable(thing) else None
        yield from _attributes(thing) if _is_ours(thing) else _data(thing)


def _is_object(thing: object) -> bool:
    """Whether it is an object of a class that neither Python nor PyTorch brings, and so may hold anything."""
    return (
        not isinstance(thing, type | nn.Module | Tensor | np.ndarray | FunctionType)
        and type(thing).__module__.split(".")[0] not in _LIBRARIES
    )


def _is_ours(thing: object) -> bool:
    return type(thing).__module__.split(".")[0] == __name__.split(".")[0]


def _attributes(thing: object) -> Iterator[tuple[str, object]]:
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(thing, name):
                yield name, getattr(thing, name)


def _data(thing: object) -> Iterator[tuple[str, object]]:
    yield from (
        (n, value) for n, value in _attributes(thing) if isinstance(value, Tensor | np.ndarray | nn.Module)
    )


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, object]]:
    if function.__module__ and function.__module__.split(".")[0] in _LIBRARIES:
        return
    yield "defaults", [function.__defaults__, function.__kwdefaults__]
    codes = [function.__code__]
    for code in codes:
        yield "code", code
        codes += [const for const in code.co_consts if isinstance(const, CodeType)]
        for name in code.co_names:
            if name in function.__globals__:
                yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not filled yet
            yield name, cell.cell_contents

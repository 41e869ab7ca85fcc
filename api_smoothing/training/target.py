"""The model that will stand behind a denoiser, where a training may ask it for gradients as well as answers."""

from __future__ import annotations

import contextlib
import copy
import inspect
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from api_smoothing.adapters.local import torchvision
from api_smoothing.digests import not_finite, sha256_of, weights_of
from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training.data import decoded, pictures_in
from api_smoothing.training.loop import generator
from api_smoothing.training.pack import read_set
from api_smoothing.training.recipe import read_recipe

#: What a recipe calls it among its surrogates.
TARGET: Final = "target"

_FILES: Final = (".pth", ".pt", ".th", ".safetensors")

#: A name or file, a module, or a function of images (N,3,H,W) in [0,1] that gives scores (N,classes).
Given = str | Path | nn.Module | Callable[[Tensor], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`net` gives logits (N,classes) of images (N,3,H,W) in [0,1]; `sha256` is of its weights and its code."""

    net: nn.Module
    name: str
    sha256: str
    words: str  # what --target and what belongs to it were

    def __post_init__(self) -> None:
        self.net.eval().requires_grad_(False)

    def checked(self, side: int, device: str = "cpu") -> Target:
        """Itself, once it has answered two images of side×side steadily and with a gradient. Raises ConfigurationError.

        Without a gradient nothing is learnt, and a module that is still training answers one image by the others.
        """
        draw = torch.rand(2, 3, side, side, generator=generator(0, 7))
        x = draw.to(device).contiguous(memory_format=torch.channels_last).requires_grad_()
        net = self.net.to(device)
        with _own_errors(self.name):
            both, alone = net(x), net(x[:1].detach())
        if both.ndim != 2 or len(both) != 2 or both.shape[1] < 2:
            raise ConfigurationError(
                f"{self.name} answers two images by {tuple(both.shape)}; it must give scores (images, classes)"
            )
        if not bool(both.isfinite().all()):
            raise ConfigurationError(
                f"{self.name} answers by numbers that are not finite; look at its weights"
            )
        if not both.requires_grad:
            raise ConfigurationError(
                f"{self.name} gives no gradient of its scores, so that nothing can be tuned for it; let it compute in "
                "torch, without no_grad or detach"
            )
        apart = float((both[:1] - alone).detach().abs().max())
        if apart > 0.05 * max(1.0, float(both.detach().abs().max())):
            raise ConfigurationError(
                f"{self.name} answers an image otherwise alone than beside another; put it in eval mode"
            )
        return self


class _Asked(nn.Module):
    """What was given, its answers made float32 logits; a function's modules are not its own, and stay as they are."""

    def __init__(self, given: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.given = given

    def forward(self, x: Tensor) -> Tensor:
        out = self.given(x)
        scores = getattr(out, "logits", out)
        if not isinstance(scores, Tensor):
            raise ConfigurationError(f"it answers by a {type(scores).__name__}, not by a tensor of scores")
        scores = scores.float()
        shares = scores.detach()
        if scores.ndim == 2 and bool(((shares >= 0).all()) and ((shares.sum(1) - 1).abs() < 1e-2).all()):
            return scores.clamp_min(1e-12).log()  # probabilities
        return scores


def load_target(given: Given | Target, **settings: Any) -> Target:
    """The target that `given` names or is.

    A text is the path of a checkpoint for the torchvision architecture `arch` (with `mean` and `std`; read with
    `weights_only=True`), "cifar10", torchvision's name of a model, or "module:name" of an `nn.Module`, of a function of
    images, or of what makes one of these when it is called with nothing. An `nn.Module` is copied and put in eval mode;
    a function is taken as it is. Raises ConfigurationError, WeightsError or MissingExtraError.
    """
    if isinstance(given, Target):
        return given
    settings = {key: value for key, value in settings.items() if value is not None}
    words = shlex.join(
        [f"{given}", *(w for key, value in settings.items() for w in (f"--{key}", f"{value}"))]
    )
    if isinstance(given, str | Path) and not _is_import(str(given)):
        adapter = torchvision.load(model=given, **settings)
        return _target(adapter.module, adapter.card.name, words)
    if settings:
        raise ConfigurationError(f"{next(iter(settings))} is for a checkpoint; leave it out for {given}")
    if isinstance(given, str | Path):
        return _target(_imported(str(given)), str(given), words)
    kind = given if inspect.isroutine(given) else type(given)
    return _target(given, f"{kind.__module__}:{kind.__qualname__}", "MODULE:NAME")


def _target(found: Callable[[Tensor], Any], name: str, words: str) -> Target:
    weights = weights_of(found)
    if where := not_finite(weights):
        raise WeightsError(f"the weights of {name} are damaged: {where} is not finite; save them again")
    if isinstance(found, nn.Module):
        found = copy.deepcopy(found)
    return Target(net=_Asked(found), name=name, sha256=sha256_of(weights, head=_code(found)), words=words)


def _code(found: object) -> str:
    """What of the target is no tensor: how a module is built, or the file a function stands in."""
    if isinstance(found, nn.Module):
        return repr(found)
    try:
        return inspect.getsource(found if inspect.isroutine(found) else type(found))
    except (OSError, TypeError):  # typed at a prompt, or compiled
        return ""


def _is_import(word: str) -> bool:
    return ":" in word and Path(word).suffix not in _FILES and not Path(word).is_file()


def _imported(word: str) -> Callable[[Tensor], Any]:
    module, _, name = word.partition(":")
    with _own_errors(word):
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        if not isinstance(found, nn.Module) and callable(found) and _needs_nothing(found):
            found = found()
    if not callable(found):
        raise ConfigurationError(f"{word} is a {type(found).__name__}; name a module or a function of images")
    return found  # type: ignore[no-any-return]


def _needs_nothing(found: Callable[..., Any]) -> bool:
    try:
        inspect.signature(found).bind()
    except TypeError:
        return False
    except ValueError:  # a builtin that tells no signature
        return False
    return True


@contextlib.contextmanager
def _own_errors(name: str) -> Iterator[None]:
    """Any error of the target's own code is one line with its `name`."""
    try:
        yield
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigurationError(f"the target {name} does not serve: {why}; correct it") from error


def recipe_for(folder: Path) -> str:
    """The bundled recipe that tunes for a target on the images of `folder`: of 32×32 pixels, or photographs.

    Photographs they are where the middle one of up to nine is wide and high enough. Raises ConfigurationError.
    """
    small, large = "tuned-32", "tuned-photographs"
    if folder.is_file():
        return large if read_set(folder, "train").labels is None else small
    pictures = (
        [] if any(folder.glob("*_batch*.bin")) or (folder / "labels.npz").is_file() else pictures_in(folder)
    )
    some = pictures[:: max(1, len(pictures) // 9)][:9]
    sides = sorted(min(decoded(file).shape[:2]) for file in some)
    return (
        large if sides and sides[len(sides) // 2] >= read_recipe(large, "denoiser")["data"]["side"] else small
    )


def suits(found: Sequence[str], recipe: str, target: Target | None) -> None:
    """The surrogates `found` in a recipe's phases are those there are: with a target if, and only if, one is given."""
    if target is None and TARGET in found:
        raise ConfigurationError(
            f"the recipe {recipe} asks the model behind the denoiser; name it by --target"
        )
    if target is not None and TARGET not in found:
        raise ConfigurationError(
            f'the recipe {recipe} asks no target; write surrogates = ["{TARGET}"] in a phase, or leave --target out'
        )

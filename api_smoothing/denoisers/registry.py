"""Which denoisers there are, and loading one: bundled, of another package, from a file, ours or another's."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from api_smoothing.denoisers import samplers
from api_smoothing.denoisers.adopted import adopt, asked
from api_smoothing.denoisers.base import Denoiser, DenoiserCard
from api_smoothing.denoisers.samplers import Surrogates
from api_smoothing.errors import ApiSmoothError, ConfigurationError, WeightsError, unknown
from api_smoothing.precision import compute_type

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

WEIGHTS = Path(__file__).parent / "weights"
GROUP = "api_smoothing.denoisers"

#: What the names of other projects' checkpoints end in.
CHECKPOINTS = {".pth", ".pt", ".th", ".tar", ".ckpt", ".bin"}

#: sha256 of every bundled weights file.
PINNED: dict[str, str] = {
    "unet-cifar10-mse": "e51b88a5d08ad033416d6b76c3365287bfbec37717f38f943cded73d90445b24",
    "recogniser-cifar10": "f09d45fa207955e40e5a7c31f00c9f5cb37591300bd1e316174a6a2c8ba45a79",
    "unet-cifar10": "5b6f58658238a75a1dad2569d0d22510cc5ff710b0db9184d3e31270c52a5823",
    "diffusion-cifar10": "7cc0411480b5cc5ba61e0a9741ed04c3a6bb8ec3eee691db4b6ce070c5eebe7b",
    "unet-natural-mse": "90b81d7d03900c9fcacd56647ef98f681c4970e54d731cf60f4d3a524dbeeb6d",
    "unet-natural": "3984010ec47534626e191c5d9bcf2a25b6c9b7ee6fba3ad97d03838b58707b96",
}


def names() -> list[str]:
    """The names `load` takes: the bundled ones, then those other packages add."""
    return sorted(PINNED) + sorted(entry.name for entry in _plugins() if entry.name not in PINNED)


def load(
    name_or_path: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    sigma_range: tuple[float, float] | None = None,
    arch: Literal["dncnn", "memnet"] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    output: Literal["noise", "image"] | None = None,
    surrogates: Surrogates | None = None,
) -> Denoiser:
    """The denoiser of that name, or in that .safetensors file with its card (.json) beside it, or another's.

    `dtype` is what it computes in: "fp32", "bf16", "fp16", or "auto", the fastest `device` has natively.
    The weights must have the sha256 that is pinned (bundled) or on the card (files), else WeightsError.
    An unknown name is a ConfigurationError. A plug-in is called with `device` and `dtype`; what it lacks of a
    denoiser's members is added, see `adopted`. "diffusers:NAME" is a diffusion model of that library, in a folder
    or in its local cache; see `hub`.

    The checkpoint of another project (.pth, .pt, …, or .safetensors without a card) does not tell for which
    noise it was trained: `sigma_range` says it. `checkpoint.Said` explains it, and what else may need saying.
    All of it may also follow the path: `best.pth.tar?sigma=0.25`. So may a method with its options, for any
    denoiser: `diffusion-cifar10?method=vote&paths=5`; see `samplers`, also for `surrogates`.
    """
    path, _, words = str(name_or_path).partition("?")
    method, words = samplers.split(words)
    if method is not None:
        base = f"{path}?{words}" if words else path
        said = {"sigma_range": sigma_range, "arch": arch, "mean": mean, "std": std, "output": output}
        return samplers.sampler(load(base, device=device, dtype=dtype, **said), method, surrogates)  # type: ignore[arg-type]
    given = {"sigma_range": sigma_range, "arch": arch, "mean": mean, "std": std, "output": output}
    said = {key: value for key, value in given.items() if value is not None}
    if path.startswith("diffusers:"):
        from api_smoothing.denoisers.hub import load_diffusers

        if said:
            raise ConfigurationError(f"{path} says all of it itself; leave out {', '.join(said)}")
        return load_diffusers(name_or_path, device=device, dtype=dtype)
    if _is_foreign(Path(path), bool(words or said)):
        from api_smoothing.denoisers import checkpoint

        said = checkpoint.said_in(words) | said
        return checkpoint.read(Path(path), said, device=device, compute=compute_type(device, dtype))
    if words or said:
        raise ConfigurationError(
            f"{path} has its card: what follows ?, and {', '.join(given)}, are for checkpoints without one"
        )
    name = path
    if name in PINNED:
        return _from_file(WEIGHTS / f"{name}.safetensors", PINNED[name], device, dtype)
    if name.endswith(".safetensors"):
        return _from_file(Path(name), None, device, dtype)
    for entry in _plugins():
        if entry.name == name:
            return _of_plugin(entry, device, dtype)
    raise ConfigurationError(
        f"{unknown('denoiser', name, ['auto', *names()])} Or give a .safetensors file or a checkpoint (.pth, …)"
    )


def _plugins() -> Iterable[EntryPoint]:
    """What other packages declare."""
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def _of_plugin(entry: EntryPoint, device: str, dtype: str) -> Denoiser:
    """What the plug-in makes. Raises ConfigurationError, naming it, for whatever it raises itself."""
    try:
        made = entry.load()(device=device, dtype=dtype)
    except ApiSmoothError:
        raise
    except Exception as error:  # a plugin may raise anything
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(
            f"the denoiser {entry.name} ({entry.value}) cannot be loaded: {why}; repair or uninstall its package"
        ) from error
    try:
        return adopt(made, compute=asked(compute_type(device, dtype), device))
    except ConfigurationError as error:
        raise ConfigurationError(f"the denoiser {entry.name} ({entry.value}): {error}") from error


def _is_foreign(file: Path, told: bool) -> bool:
    if file.suffix == ".safetensors":
        return told and not file.with_suffix(".json").is_file()
    return file.suffix in CHECKPOINTS


def read_card(file: Path) -> dict[str, Any]:
    """The JSON card beside the weights `file`. Raises WeightsError."""
    card = file.with_suffix(".json")
    if not card.is_file():
        raise WeightsError(
            f"no card {card.name} beside {file.name}; copy the .json of the same name there too, "
            f"or, if it is another project's, say its noise: '{file.name}?sigma=0.25'"
        )
    try:
        loaded: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"the card {card.name} is not JSON; fetch it again") from error
    if not isinstance(loaded, dict):
        raise WeightsError(f"the card {card.name} holds no facts; fetch it again")
    return loaded


def describe(name_or_path: str | Path) -> DenoiserCard | None:
    """The card of what `load` would load, without torch and without a network; a method's words are left aside.

    None where only loading tells: another package's, another project's checkpoint, a diffusers folder, an unknown
    name. Raises WeightsError as `load` does for a file that is missing, without a card, or not the one pinned.
    """
    path, _, words = str(name_or_path).partition("?")
    _, words = samplers.split(words)
    if path.startswith("diffusers:") or words or _is_foreign(Path(path), False):
        return None
    if path in PINNED:
        return _read(WEIGHTS / f"{path}.safetensors", PINNED[path])[0]
    return _read(Path(path), None)[0] if path.endswith(".safetensors") else None


def _read(file: Path, pinned: str | None) -> tuple[DenoiserCard, dict[str, Any], bytes]:
    """(the card, its architecture, the weights as they are in the file), of which the digest is right."""
    if not file.is_file():
        raise WeightsError(
            f"no denoiser weights at {file}; reinstall api-smooth, or give the file that train wrote"
        )
    facts, data = read_card(file), file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != (pinned or facts.get("sha256")):
        raise WeightsError(f"{file.name} has sha256 {digest[:12]}…, not the pinned one; fetch it again")
    try:
        return _card(facts, digest), dict(facts["architecture"]), data
    except _GARBLED as error:
        raise _garbled(file, error) from error


def _card(facts: dict[str, Any], digest: str) -> DenoiserCard:
    """The card, of which every fact has the form that is relied on; else what `_GARBLED` names."""
    low, high = (float(end) for end in facts["sigma_range"])
    sizes, multiple, quality = facts["sizes"], facts["multiple"], facts["quality"]
    whole = [multiple, *sizes]
    if not (isinstance(facts["sigma_range"], list) and 0 <= low <= high < math.inf):
        raise ValueError("sigma_range")
    if not all(type(number) is int and 1 <= number <= 2**16 for number in whole):
        raise ValueError("sizes or multiple")
    if not isinstance(facts["id"], str) or not all(
        isinstance(name, str) for name in facts.get("classes", ())
    ):
        raise ValueError("id or classes")
    if not isinstance(facts["training"], dict):
        raise ValueError("training")
    for figures in quality.values():
        if not all(isinstance(figure, int | float) for figure in figures.values()):
            raise ValueError("quality")
    for level in quality:
        float(level)
    return DenoiserCard(
        id=facts["id"],
        sha256=digest,
        sigma_range=(low, high),
        sizes=tuple(sizes),
        multiple=multiple,
        classes=tuple(facts.get("classes", ())),
        quality=quality,
        training=facts["training"],
    )


#: What an edited card makes the code that reads it raise.
_GARBLED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError, IndexError)


def _garbled(file: Path, error: Exception) -> WeightsError:
    return WeightsError(f"the card of {file.name} lacks or garbles {error}; fetch both files again")


def _from_file(file: Path, pinned: str | None, device: str, dtype: str) -> Denoiser:
    card, architecture, data = _read(file, pinned)
    compute = compute_type(device, dtype)
    from safetensors import SafetensorError
    from safetensors.torch import load as read

    from api_smoothing.denoisers import diffusion_net, dncnn, memnet, recogniser, unet

    builders: dict[str, Callable[..., Denoiser]] = {
        "unet": unet.build,
        "dncnn": dncnn.build,
        "memnet": memnet.build,
        "diffusion": diffusion_net.build,
        "recogniser": partial(recogniser.build, load=partial(load, device=device, dtype=compute)),
    }

    try:
        if (build := builders.get(architecture["kind"])) is None:
            raise WeightsError(f"{file.name} is a {architecture['kind']}; known are {', '.join(builders)}")
        return build(card, architecture, read(data), device=device, compute=compute)
    except SafetensorError as error:
        raise WeightsError(f"{file.name} is no whole safetensors file; fetch it again") from error
    except _GARBLED as error:
        raise _garbled(file, error) from error

"""The names of vote streams: what is on users' disks is found again, and no two arithmetics share one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from api_smoothing import denoisers
from api_smoothing.adapters.base import AdapterCard
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.engine.storage.stream_key import stream_name
from api_smoothing.noise import NoiseStream
from api_smoothing.secret import resolve_seed

CLOUD = AdapterCard(name="cloud", fingerprint="cloud-1", batch=8)
NOISE = NoiseStream(
    kind="gaussian",
    sigma=0.25,
    seed=resolve_seed(5).key,
    image_digest=bytes(range(32)),
    shape=(32, 32, 3),
    sub=1,
)

#: Names as version 1 of the format has always made them, on the CPU.
ON_DISK = {
    ("unet-cifar10", "fp32"): "884ee0e87fb7e7d69b8d5107fc77f3b36076a640",
    ("unet-cifar10", "bf16"): "8afdf224c5ea2f989bd5c4505adeba573d445510",
    ("unet-natural", "fp32"): "6241abc5f49f201ca58ebf30c5587593af6d5d96",
    ("unet-natural", "bf16"): "1343d914fff2ebbeca411a9eec9c2bbaba613eee",
    ("diffusion-cifar10", "fp32"): "68f8f74071924b4d1c543c602eb64926d9a0639c",
    ("recogniser-cifar10", "bf16"): "24e3b3f96a816ad2801ebb043f6a19466aaf80e0",
    ("unet-cifar10-mse?method=ensemble", "fp32"): "cb12006dcdd4fe0694cbfbf18b30165854ef2002",
    ("unet-cifar10-mse?method=multistep", "bf16"): "efe018ff5edddc09baa9d3f14b57896b80b1ee16",
    ("unet-cifar10-mse?method=vote", "fp32"): "93835a11336ac7e89516d8ccd809746580cd63dd",
    ("unet-cifar10-mse?method=guided", "fp32"): "c21f40528ab6c5a78626409d112ea472ac9b756e",
}

THEIRS = DenoiserCard(id="theirs", sha256="2" * 64, sigma_range=(0.1, 1.0))


@dataclass(frozen=True)
class Named:
    """A denoiser as far as names go."""

    compute: str
    card: DenoiserCard = THEIRS
    paths_per_query: ClassVar[int] = 1

    def __call__(self, x: Any, sigma: Any, /) -> Any:
        return x


def name(denoiser: denoisers.Denoiser | None, **more: Any) -> str:
    return stream_name(NOISE, seed="public:5", adapter=CLOUD, denoiser=denoiser, **more)


@pytest.mark.parametrize(("choice", "dtype"), ON_DISK)
def test_what_is_on_disk_keeps_its_name(choice: str, dtype: str) -> None:
    """On the CPU every bundled denoiser's streams are named as ever: nothing is bought again."""
    found = denoisers.load(choice, dtype=dtype)
    assert name(found, factor=3 if choice == "unet-natural" else 1) == ON_DISK[choice, dtype]


def test_without_a_denoiser_the_device_is_no_part() -> None:
    """Noise is drawn and rounded the same everywhere, so a service's are one, under the name they have on disk."""
    assert name(None) == name(None, device="cuda") == "95fa284705285e7c3ea917a7ad339033329e2187"
    wrapped = denoisers.wrap(lambda x, s: x, id="same@1", sigma_range=(0.1, 1.0))
    assert name(wrapped) == "c21969ea794ef9be2e6477cf4f9e0b02f4b55594"


def test_no_two_arithmetics_share_a_name() -> None:
    """The type, the kind of device the denoiser names, and the kind images are denoised on each part streams."""
    computes = ("", "fp32", "bf16", "fp16", "fp32/cuda", "bf16/cuda")
    places = ("cpu", "cuda", "mps")
    names = {name(Named(compute), device=place) for compute, place in itertools.product(computes, places)}
    assert len(names) == len(computes) * len(places)
    assert name(Named("bf16"), device="cuda:0") == name(Named("bf16"), device="cuda:1")


def test_everything_else_that_decides_an_answer_is_part_of_the_name() -> None:
    """Image, grid, noise, σ, seed, denoiser, provider and enlargement: a change of any is another stream."""
    base = {"noise": NOISE, "seed": "public:5", "adapter": CLOUD, "denoiser": Named("fp32"), "factor": 1}
    other = replace(THEIRS, sha256="3" * 64)
    changes: list[dict[str, Any]] = [
        {},
        {"noise": replace(NOISE, sigma=0.5)},
        {"noise": replace(NOISE, kind="uniform")},
        {"noise": replace(NOISE, image_digest=bytes(32))},
        {"noise": replace(NOISE, shape=(32, 31, 3))},
        {"noise": replace(NOISE, sub=256)},
        {"seed": "public:6"},
        {"adapter": replace(CLOUD, fingerprint="cloud-2")},
        {"adapter": replace(CLOUD, name="fog")},
        {"denoiser": Named("fp32", card=other)},
        {"denoiser": None},
        {"factor": 2},
    ]
    names = set()
    for change in changes:
        given = base | change
        names.add(stream_name(given.pop("noise"), **given))
    assert len(names) == len(changes)

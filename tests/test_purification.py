"""`purify` as a function: an image in, an image out, the same as the command's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api_smoothing import denoisers, purify
from api_smoothing.cli import main
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.purification import METHODS, purify_and_measure

Y, X = np.mgrid[0:32, 0:32] / 32
PICTURE = (np.stack([np.sin(6 * X + 3 * Y), np.cos(5 * Y), np.sin(4 * X * Y)], 2) * 70 + 128).astype(np.uint8)


def test_an_image_in_is_an_image_out() -> None:
    """An array is purified to an RGB image of its size, nearer to it than the noisy one, the same for the same seed."""
    found = purify(PICTURE, sigma=0.2, seed=3)
    assert isinstance(found, Image.Image)
    assert (found.size, found.mode) == ((32, 32), "RGB")
    error = np.square(np.asarray(found, float) - PICTURE).mean() / 255**2
    assert error < 0.01  # the noise has 0.04
    assert np.array_equal(found, purify(PICTURE, sigma=0.2, seed=3))
    assert not np.array_equal(found, purify(PICTURE, sigma=0.2, seed=4))


def test_the_command_writes_what_the_function_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File and return value have the same pixels."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PICTURE).save("wave.png")
    assert main(["purify", "wave.png", "--seed", "3", "--output", "out.png"]) == 0
    assert np.array_equal(Image.open("out.png"), purify("wave.png", seed=3))


def test_what_it_took_is_told() -> None:
    """Options, denoiser, seed, PSNR and votes stand beside the pixels."""
    done = purify_and_measure(PICTURE, sigma=0.2, seed=3, method="vote", steps=2, paths=3)
    assert done.options == {"steps": 2, "eta": 1.0, "paths": 3, "surrogate": "cifar10"}
    assert sum((done.votes or {}).values()) == 3
    assert done.denoiser.startswith("unet-cifar10@")
    assert done.seed == "public:3"
    error = np.square((done.pixels.astype(float) - PICTURE) / 255).mean()
    assert done.psnr == pytest.approx(-10 * np.log10(error), abs=1e-3)
    assert np.array_equal(done.image, done.pixels)


def test_a_denoiser_may_be_given_ready() -> None:
    """A loaded denoiser does what its name does."""
    ready = denoisers.load("unet-cifar10", device="cpu")
    assert np.array_equal(
        purify(PICTURE, denoiser=ready, seed=3), purify(PICTURE, denoiser="unet-cifar10", seed=3)
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"method": "magic"}, "magic.*oneshot"),
        ({"paths": 3}, "paths= goes with method=vote, not oneshot"),
        ({"method": "vote", "speed": 3}, "no option 'speed'"),
        ({"sigma": 0.0}, "sigma"),
        ({"denoiser": None}, "needs a denoiser"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_what_cannot_be_is_one_line(given: dict[str, object], says: str) -> None:
    """Words and numbers that do not fit are refused in Python's spelling."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        purify(PICTURE, **given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    """A missing file is an ImageError."""
    with pytest.raises(ImageError):
        purify(tmp_path / "no.png")


def test_methods_are_the_samplers() -> None:
    """The methods are those of denoisers, but a vote needs to be told whose labels count."""
    from api_smoothing.denoisers import samplers

    assert {name: {**options} for name, options in METHODS.items() if name != "vote"} == {
        name: {**options} for name, options in samplers.METHODS.items() if name != "vote"
    }
    assert METHODS["vote"] == {**samplers.METHODS["vote"], "surrogate": "cifar10"}


def test_numbers_that_are_not_finite_are_no_picture() -> None:
    """A denoiser that gives NaN was once shown as a black image, equal to the input."""
    from api_smoothing import denoisers
    from api_smoothing.errors import WeightsError

    broken = denoisers.wrap(lambda x, sigma: x * float("nan"), id="broken", sigma_range=(0.1, 1.0))
    with pytest.raises(WeightsError, match=r"broken.*not finite"):
        purify(PICTURE, denoiser=broken, seed=3)

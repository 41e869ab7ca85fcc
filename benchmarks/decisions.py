"""Images decided at a radius, beside the loop of Cohen et al. (2019), on the same networks in the same process.

Both say of every image whether radius 0.25 is certified. The loop's time for all of them is its rate, measured on
parts between the images of our run, times its n0 + n = 10,100 copies an image: it takes as many of each. Its own
decisions are made for as many images as time allows (`LOOPED`), and those that differ are listed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from networks import Bare
from pictures import Images, pictures
from rows import Plan, Row, seconds
from scipy.stats import beta, norm

from api_smoothing import SmoothedAPI, images
from api_smoothing.results import Certificate

RADIUS, SIGMA, ALPHA = 0.25, 0.25, 0.001
N0, N, BATCH, CAP = 100, 10_000, 256, 10_000
LOOPED: Final = 10  # images that the loop decides too, 1 with --quick

Labels = Callable[[torch.Tensor], torch.Tensor]


class Loop:
    """CERTIFY of Cohen, Rosenfeld and Kolter (2019), algorithm on page 5: `labels` maps images (N,3,H,W) to classes.

    N0 copies choose a class, N others bound its share by Clopper and Pearson; the noise is drawn in floating point.
    """

    def __init__(self, labels: Labels, classes: int, *, sigma: float, alpha: float) -> None:
        self._labels, self._classes, self._sigma, self._alpha = labels, classes, sigma, alpha

    def sample(self, x: torch.Tensor, copies: int) -> np.ndarray:
        """How many of `copies` noisy copies of x (3,H,W) got each class."""
        counts = np.zeros(self._classes, int)
        while copies > 0:
            size = min(BATCH, copies)
            batch = x.repeat(size, 1, 1, 1)
            found = self._labels(batch + torch.randn_like(batch) * self._sigma)
            counts += np.bincount(found.cpu().numpy(), minlength=self._classes)
            copies -= size
        return counts

    def certify(self, x: torch.Tensor, n0: int = N0, n: int = N) -> tuple[int | None, float]:
        """(class, radius in ℓ2), or (None, 0) where it abstains."""
        top = int(self.sample(x, n0).argmax())
        hits = int(self.sample(x, n)[top])
        share = 0.0 if hits == 0 else float(beta.ppf(self._alpha, hits, n - hits + 1))
        return (top, float(self._sigma * norm.ppf(share))) if share > 0.5 else (None, 0.0)


def ours(
    api: SmoothedAPI, imgs: Images, between: Callable[[], float]
) -> tuple[list[Certificate], float, float]:
    """(certificates, seconds they took, the mean of what `between` gave after every few of them)."""
    found, taken, told = [], 0.0, []
    every = max(1, len(imgs) // 6)
    certificates = iter(api.certify_many(imgs, radius=RADIUS, n=CAP))
    for number in range(1, len(imgs) + 1):
        taken += seconds(lambda: found.append(next(certificates)))
        if number % every == 0:
            told.append(between())
    taken += seconds(lambda: next(certificates, None))
    return found, taken, sum(told) / len(told)


def rows(plan: Plan) -> Iterator[Row]:
    """The ratio of times, and the decisions that differ."""
    imgs, what = pictures(plan.data, plan.count(200, 24))
    sample = 2 * BATCH if plan.quick else 8 * BATCH
    with (
        tempfile.TemporaryDirectory() as folder,
        SmoothedAPI("torchvision", sigma=SIGMA, alpha=ALPHA, seed=0, cache=folder) as api,
    ):
        bare = Bare(api, imgs[0])
        loop = Loop(bare.labels, 10, sigma=SIGMA, alpha=ALPHA)
        torch.manual_seed(0)
        loop.sample(_tensor(api, imgs[0]), BATCH)  # warm
        found, taken, a_copy = ours(
            api, imgs, lambda: seconds(lambda: loop.sample(_tensor(api, imgs[0]), sample)) / sample
        )
        yield Row(
            name="decisions: time of the loop of 2019 over ours",
            figure=a_copy * (N0 + N) * len(imgs) / taken,
            than="≥",
            limit=20,
            note=f"{len(imgs)} × {what}, {sum(c.n for c in found) / len(found):.0f} answers an image; "
            f"the loop's rate ({1 / a_copy:.0f} a second) measured on {sample} copies at a time",
        )
        looped = imgs[: 1 if plan.quick else LOOPED]
        theirs = [loop.certify(_tensor(api, picture))[1] >= RADIUS for picture in looped]
    differ = [
        f"image {number}: {'ours' if certificate.reached else 'the loop'} certifies"
        for number, (certificate, certified) in enumerate(zip(found, theirs, strict=False))
        if certificate.reached is not certified
    ]
    yield Row(
        name="decisions: that differ",
        figure=len(differ),
        note="; ".join(differ) or f"of the first {len(looped)} images, which the loop decided too",
    )
    yield _beside_art(bare, _tensor(api, imgs[0]), sample, taken / len(imgs))


def _beside_art(bare: Bare, x: torch.Tensor, sample: int, ours_an_image: float) -> Row:
    """The Adversarial Robustness Toolbox, if it is installed, on the same networks."""
    name = "decisions: time of ART over ours"
    try:
        a_copy = _seconds_of_art(bare, x, sample)
    except ImportError as error:
        return Row(name=name, figure=None, note=f"adversarial-robustness-toolbox is not there ({error})")
    note = f"its rate ({1 / a_copy:.0f} a second) measured on {N0 + sample} copies, after our run"
    return Row(name=name, figure=a_copy * (N0 + N) / ours_an_image, note=note)


def _seconds_of_art(bare: Bare, x: torch.Tensor, sample: int) -> float:
    """Seconds a copy of x. Raises ImportError, also for what ART itself imports late."""
    from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    smoothed = PyTorchRandomizedSmoothing(
        model=bare.as_module(),
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        sample_size=N0,
        scale=SIGMA,
        alpha=ALPHA,
        device_type="gpu" if x.device.type == "cuda" else "cpu",
    )
    pixels = x.cpu().numpy()[None]
    smoothed.certify(pixels, n=BATCH, batch_size=BATCH)  # warm
    return seconds(lambda: smoothed.certify(pixels, n=sample, batch_size=BATCH)) / (N0 + sample)


def _tensor(api: SmoothedAPI, picture: Any) -> torch.Tensor:
    """The pixels that enter the noise, as float32 (3,H,W) in [0,1]."""
    pixels = images.load(picture, size=api.size)
    return torch.from_numpy(pixels.grid / (255.0 * pixels.sub)).float().permute(2, 0, 1).to(api._device)

"""Frost on a window, drawn: ferns of ice over a cloudy pane.

CIFAR-10-C blends in a part of one of five photographs. They are not ours to ship; these five panes are drawn in their
place. So accuracies under `frost` compare among themselves, and not with published ones.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

Pixels = NDArray[np.float64]

_PANES: Final = 5
_SIDE: Final = 160  # of a pane, in pixels of CIFAR-10
_DETAIL: Final = 4  # drawn pixels to one of those
_FINER: Final = 2  # lines are drawn that much larger still, for smooth edges
_TINT: Final = np.array([0.86, 0.94, 1.0])
_STEMS: Final = 150
_KNOTS: Final = (14, 6, 3)  # of a fern's lines: of the stem, of its branches, of theirs


def window(height: int, width: int, scale: float, random: RandomState) -> Pixels:
    """(height, width, 3) in [0, 1]: a random part of one of five frozen panes, `scale` pixels to one of CIFAR-10."""
    pane = _pane(random.randint(_PANES))
    step = _DETAIL / scale
    tall, wide = (min(_SIDE * _DETAIL, max(1, round(side * step))) for side in (height, width))
    top, left = random.randint(pane.height - tall + 1), random.randint(pane.width - wide + 1)
    part = pane.crop((left, top, left + wide, top + tall))
    sized = part.resize((width, height), Image.Resampling.BOX if step > 1.0 else Image.Resampling.BICUBIC)
    bright: Pixels = np.asarray(sized, dtype=np.float64)[:, :, None].clip(0.0, 1.0) * _TINT
    return bright


@functools.cache
def _pane(number: int) -> Image.Image:
    """Brightness in [0, 1], the same for ever."""
    random = RandomState(number)
    side = _SIDE * _DETAIL
    cloud = _cloud(side, random)
    ice = _ferns(side, random)
    return Image.fromarray((0.16 + 0.4 * cloud + 0.8 * ice * (0.3 + 0.7 * cloud)).astype(np.float32))


def _cloud(side: int, random: RandomState) -> Pixels:
    """Noise with a spectrum that falls as 1/f^1.5, in [0, 1]."""
    wave = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    wave[0, 0] = np.inf
    cloud = np.fft.irfft2(np.fft.rfft2(random.standard_normal((side, side))) / wave**1.5, (side, side))
    low, high = np.quantile(cloud, [0.02, 0.98])
    within: Pixels = np.clip((cloud - low) / (high - low), 0.0, 1.0)
    return within


def _ferns(side: int, random: RandomState) -> Pixels:
    """Stems with branches at 60°, which have branches themselves; in [0, 1]."""
    canvas = Image.new("L", (side * _FINER, side * _FINER))
    pen = ImageDraw.Draw(canvas)
    starts = random.uniform(0.0, side * _FINER, (_STEMS, 2))
    angles = random.uniform(0.0, 2.0 * math.pi, _STEMS)
    lengths = random.uniform(10.0, 40.0, _STEMS) * _DETAIL * _FINER
    for branchings, knots in enumerate(_KNOTS):
        turns = angles[:, None] + random.uniform(-0.5, 0.5, (len(angles), 1)) * np.arange(knots) / knots
        steps = np.stack([np.cos(turns), np.sin(turns)], 2) * (lengths / knots)[:, None, None]
        points = starts[:, None] + np.cumsum(steps, 1)
        lines = np.concatenate([starts[:, None], points], 1).reshape(len(starts), -1).tolist()
        thick = (len(_KNOTS) - branchings) * _DETAIL * _FINER // 5
        for line, bright in zip(lines, random.randint(130, 256, len(lines)), strict=True):
            pen.line(line, fill=int(bright), width=thick)
        starts = np.repeat(points[:, :-1].reshape(-1, 2), 2, 0)
        sides = np.array([-math.pi / 3.0, math.pi / 3.0])
        angles = (turns[:, :-1, None] + sides).ravel()
        left = lengths[:, None] * (1.0 - np.arange(1, knots) / knots)
        lengths = np.repeat(left.ravel(), 2) * random.uniform(0.3, 0.6, len(angles))
    ice = np.asarray(canvas.resize((side, side), Image.Resampling.BOX), dtype=np.float64) / 255.0
    soft: Pixels = np.clip(ice + 0.7 * gaussian_filter(ice, 1.2 * _DETAIL), 0.0, 1.0)
    return soft

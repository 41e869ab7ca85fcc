"""The first line as it is written, at every cloud's sandbox: certified, and right.

    python benchmarks/first_line.py --data DIR [--images 0:250] [--providers aws,azure,clarifai,google] [--out FILE]

`SmoothedAPI(name, sandbox=True).certify(img)` for the reporting half, 0 to 249, of the 500 validation photographs of
Imagenette's ten classes (`photos/imagenette_ilsvrcval500.npz` in DIR; the other half chose between variants). A
certificate is right if its label is one that the sandbox says of the photograph's class and of no other of the ten;
"several" if it says it of others too, as "Animal". "general" counts those that are named a general tag, right or not.

The four ask the same noisy copies of a photograph: they are drawn and denoised once, and looked at once, by memory in
this process. Every line is appended to FILE as it is made; a run that is started again goes on where it ended. Of the
same photographs it takes `--seed`, which is public, so that a rerun gives the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")

import numpy as np
import torch
from certified_accuracy import PHOTOGRAPHS, loader
from photographic_classifier import CLASSES

from api_smoothing import SmoothedAPI, denoisers
from api_smoothing.adapters.registry import provider
from api_smoothing.sandbox import classifier
from api_smoothing.sandbox.vocabulary import read_vocabulary

CLOUDS = ("aws", "azure", "clarifai", "google")
SIGMA = 0.25  # what the first line has


class Remembering:
    """A denoiser that denoises a noisy copy once, whichever of the four asks; everything else is the denoiser's."""

    def __init__(self, denoiser: Any) -> None:
        self._denoiser, self.known = denoiser, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __call__(self, x: torch.Tensor, sigma: float, **more: Any) -> torch.Tensor:
        keys = [hashlib.blake2b(one.numpy().tobytes(), digest_size=16).digest() for one in x.contiguous()]
        if missing := [i for i, key in enumerate(keys) if key not in self.known]:
            for i, made in zip(missing, self._denoiser(x[missing], sigma, **more), strict=True):
                self.known[keys[i]] = made
        return torch.stack([self.known[key] for key in keys])


def remembering(scores: Callable[[Any], dict[str, float]], known: dict[bytes, dict[str, float]]) -> Any:
    """`scores` of a picture, looked at once."""

    def look(image: np.ndarray) -> dict[str, float]:
        key = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        if key not in known:
            known[key] = scores(image)
        return known[key]

    return look


def words_of(name: str) -> dict[str, dict[str, bool]]:
    """Class → the sandbox's words for it, and whether each is said of that class alone among the ten."""
    declared = provider(name).sandbox
    assert declared is not None
    assert declared.vocabulary is not None
    ten = set(CLASSES.values())
    found: dict[str, dict[str, bool]] = {}
    about: dict[str, set[str]] = {}
    for word in read_vocabulary(declared.vocabulary).words:
        about.setdefault(word.name, set()).update(set(word.about) & ten)
    for word, classes in about.items():
        for each in classes:
            found.setdefault(each, {})[word] = len(classes) == 1
    return found


def photographs(data: Path, start: int, stop: int) -> Iterator[tuple[int, str, Any]]:
    """(number among the reporting half, class, photograph)."""
    every = list(loader(data).photos(PHOTOGRAPHS))[:250]
    for number in range(start, min(stop, len(every))):
        _, label, picture = every[number]
        yield number, CLASSES[label], picture


def judged(found: Any, truth: str, words: dict[str, dict[str, bool]]) -> str:
    """ "right", "several", "wrong", or "abstained"."""
    if found.label is None:
        return "abstained"
    alone = words[truth].get(found.label.split(" (")[0])
    return "wrong" if alone is None else "right" if alone else "several"


def summary(lines: list[dict[str, Any]]) -> str:
    """A table, a row a provider."""
    rows = [
        "provider   photographs  certified   right  several   wrong  general   queries   mean radius   s each"
    ]
    for name in dict.fromkeys(line["provider"] for line in lines):
        own = [line for line in lines if line["provider"] == name]
        n, count = len(own), lambda kind, own=own: sum(line["judged"] == kind for line in own)
        sure = n - count("abstained")
        mean = sum(line["radius"] for line in own) / n
        rows.append(
            f"{name:<10} {n:>11} {sure / n:>10.1%} {count('right') / n:>7.1%} {count('several') / n:>8.1%} "
            f"{count('wrong') / n:>7.1%} {sum(line['general'] for line in own) / n:>8.1%} "
            f"{sum(line['queries'] for line in own):>9,} {mean:>13.4f} "
            f"{sum(line['seconds'] for line in own) / n:>8.1f}"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", default="0:250", metavar="A:B")
    parser.add_argument("--providers", default=",".join(CLOUDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("first_line.jsonl"))
    args = parser.parse_args()
    start, stop = map(int, args.images.split(":"))
    lines = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(line["image"], line["provider"]) for line in lines}
    network = Remembering(denoisers.load("unet-natural"))
    seen: dict[bytes, dict[str, float]] = {}
    classifier._scores = remembering(classifier._scores, seen)
    words = {name: words_of(name) for name in args.providers.split(",")}
    for number, truth, picture in photographs(args.data, start, stop):
        for name in words:
            if (number, name) in done:
                continue
            began = time.perf_counter()
            with SmoothedAPI(
                name, sandbox=True, denoiser=network, store="memory", cache=False, seed=args.seed
            ) as api:
                assert api.sigma == SIGMA
                found = api.certify(picture)
            line = {"image": number, "truth": truth, "provider": name, "label": found.label}
            line |= {
                "judged": judged(found, truth, words[name]),
                "radius": found.radius,
                "votes": found.votes,
            }
            line |= {"n": found.n, "queries": found.queries, "general": "general_tag" in found.extra}
            line |= {"reason": found.reason, "seconds": round(time.perf_counter() - began, 2)}
            lines.append(line)
            with args.out.open("a") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        network.known.clear()
        seen.clear()
    print(summary([line for line in lines if start <= line["image"] < stop]))


if __name__ == "__main__":
    main()

"""Attacks inside certified radii, counted against α, and on answers as they are: two Markdown tables.

    python benchmarks/attacks.py --data DIR [--out FILE] [--certified 50] [--images 500] [--cases rgb,resized,…]
        [--alpha 0.001,0.1] [-n 100] [--steps 20] [--restarts 1] [--eot 4] [--votes 1000] [--bare 50] [--queries 1000]
        [--from FOLDER/NAME,…]
    python benchmarks/attacks.py --table FILE

The images are CIFAR-10's test images from --first on, the classifier is the bundled one, σ = 0.25 behind the bundled
denoiser. "rgb" attacks the pixels that enter the noise; "resized" gives the images at 48×48, so that the ball is in
those pixels, before the resize; "grey" gives them in one channel; "present" attacks certificates that the label is
reported at 0.5 or more. "half-space" is a classifier of which the smoothed radius is known exactly: attacked at 0.95 of
it nothing may turn, at 1.08 everything must; how many of its certificates exceed it is counted too. The last column is
the same attack at four times the smallest radius (of a half-space at 1.08 times), which shows whether it could have
turned anything. Exit code 1 where certificates do not hold.

Each case goes on until --certified images have a certificate, in turns. Of several α the attack within the largest
radius counts for the smaller ones too where it turns nothing: their balls lie in its own. With --out every few images
are written when they are done, and the same command goes on where it was ended, however that was; --table prints what
there is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from api_smoothing import SmoothedAPI
from api_smoothing.attacks import (
    PGD,
    Attacked,
    Attempt,
    Holding,
    HopSkipJump,
    Square,
    Twin,
    Verdict,
    attack_answers,
    verdict,
)
from api_smoothing.attacks.ball import Pixels
from api_smoothing.attacks.holding import Target
from api_smoothing.attacks.outcome import ERROR
from api_smoothing.attacks.revote import by_prediction, by_report
from api_smoothing.attacks.undefended import Attack
from api_smoothing.attacks.victim import Victim, victim_of
from api_smoothing.claims import intervals
from api_smoothing.datasets import map_truths, open_dataset
from api_smoothing.errors import ApiSmoothError, ConfigurationError
from api_smoothing.purification import load_named_classifier
from api_smoothing.results import Certificate
from api_smoothing.training.data import load_images

CASES = ("half-space", "rgb", "resized", "grey", "present")
EXACT = (0.95, 1.08)  # times the exact radius of a half-space
TOGETHER = 4  # images of a case in turn: what a kill may cost


class HalfSpace(torch.nn.Module):
    """ "up" where w·(x − ½) > 0, for a random w of length 1: noise leaves it what it is."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        w = np.random.default_rng(seed).standard_normal((8, 8, 3))
        self.w = w / np.linalg.norm(w)
        self.normal = torch.from_numpy(self.w).permute(2, 0, 1).float()

    def forward(self, x: Tensor) -> Tensor:
        up = 20 * ((x - 0.5) * self.normal).sum((1, 2, 3))
        return torch.stack((up, -up), 1)


@dataclass(frozen=True, kw_only=True)
class Done:
    """An image of a case: the radius certified at each α, None where none is; the attempts, without their images.

    `exact` is the radius that is known, of a half-space.
    """

    case: str
    image: int
    certified: Mapping[str, float | None]
    attempts: tuple[Attempt, ...]
    exact: float | None = None

    @property
    def counts(self) -> bool:
        return any(radius is not None for radius in self.certified.values())

    def at(self, alpha: str) -> Attacked:
        """What it says of the certificate at `alpha`."""
        radius = self.exact if self.exact is not None else self.certified[alpha]
        attempts = list(self.attempts)
        if radius is not None and not any(one.radius <= radius for one in attempts):
            larger = min(attempts, key=lambda one: one.radius)
            assert not larger.turned, "it would have been attacked in its own ball"
            attempts.append(replace(larger, radius=radius, distance=min(radius, larger.distance)))
        return Attacked(
            id=str(self.image), path=None, label=None, right=None, norm="l2", certified=radius,
            alpha=0.0 if self.exact is not None else float(alpha), attempts=tuple(attempts),
        )  # fmt: skip

    def to_line(self) -> str:
        attempts = [{**one.to_dict()} for one in self.attempts]
        return json.dumps({**asdict(replace(self, attempts=())), "attempts": attempts})

    @classmethod
    def read(cls, facts: dict[str, Any]) -> Done:
        attempts = [Attempt.from_dict(one) for one in facts.pop("attempts")]
        return cls(**{**facts, "attempts": tuple(attempts)})


class Record:
    """What is done, in a file of lines: the settings first. A line that was cut off is left out, and done again."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self.path, self.done = path, list[Done]()
        if path is None:
            return
        if path.exists():
            told, self.done, kept = read_record(path)
            if told != dict(settings):
                raise ConfigurationError(
                    f"{path} is of other settings, {json.dumps(told)}: name another file"
                )
            os.truncate(path, kept)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings) + "\n")

    def add(self, done: Sequence[Done]) -> None:
        self.done += done
        if self.path is not None:
            with self.path.open("a") as file:
                file.write("".join(one.to_line() + "\n" for one in done))

    def of(self, case: str) -> list[Done]:
        return [one for one in self.done if one.case == case]


def read_record(path: Path) -> tuple[dict[str, Any], list[Done], int]:
    """The settings, what is done, and how many bytes of whole lines there are."""
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    if not whole:
        raise ConfigurationError(f"{path} is no record of attacks: name another file")
    settings, *rest = map(json.loads, whole)
    return settings, [Done.read(facts) for facts in rest], sum(map(len, whole))


@dataclass(frozen=True, kw_only=True)
class Check:
    """How certificates are made and attacked; `alphas` from the strictest on, as they were written."""

    alphas: tuple[str, ...]
    n: int
    holding: Holding

    def half_space(self, number: int) -> Done:
        net = HalfSpace(number)
        pixels = np.rint(255 * (0.5 + (0.1 + 0.002 * (number % 101)) * net.w)).astype(np.uint8)
        exact, certified = float(((pixels / 255 - 0.5) * net.w).sum()), {}
        for alpha in self.alphas:
            with SmoothedAPI(
                net, denoiser=None, sigma=0.08, alpha=float(alpha), store="memory", seed=number,
                class_names=["up", "down"],
            ) as api:  # fmt: skip
                found = api.certify(pixels, n=self.n)
                certified[alpha] = found.radius_original if found.label == "up" else None
                target = Target(
                    pixels=pixels,
                    certificate=replace(found, label="up"),
                    revote=by_prediction(api, "up"),
                    radii=tuple((factor, factor * exact) for factor in EXACT),
                )
                if alpha == self.alphas[-1]:
                    holding = replace(self.holding, votes=max(8_000, self.holding.votes))
                    (attempts,) = holding.each(victim_of(api, smoothed=True, seed=number), [target])
        return Done(
            case="half-space", image=number, certified=certified, attempts=_bare(attempts), exact=exact
        )

    @cached_property
    def apis(self) -> dict[str, SmoothedAPI]:
        """The bundled classifier, at each α."""
        return {
            alpha: SmoothedAPI(
                "torchvision", model="cifar10", size=32, alpha=float(alpha), seed=11, store="memory"
            )
            for alpha in self.alphas
        }

    @cached_property
    def victim(self) -> Victim:
        return victim_of(self.apis[self.alphas[0]], smoothed=True, seed=self.holding.seed)

    def images(self, case: str, numbers: Sequence[int], given: Sequence[Pixels]) -> list[Done]:
        """Images of one case, certified and attacked together."""
        if case == "half-space":
            return [self.half_space(number) for number in numbers]
        found = [{alpha: self._certify(case, alpha, pixels) for alpha in self.alphas} for pixels in given]
        plans = [self._target(case, pixels, own) for pixels, own in zip(given, found, strict=True)]
        attempts = iter(self.holding.each(self.victim, [plan for plan in plans if plan is not None]))
        done = []
        for number, pixels, own, plan in zip(numbers, given, found, plans, strict=True):
            tried = [] if plan is None else next(attempts)
            if plan is not None and tried[0].turned:
                tried += self._smaller(case, pixels, own)
            certified = {alpha: None if one is None else one.radius_original for alpha, one in own.items()}
            done.append(Done(case=case, image=number, certified=certified, attempts=_bare(tried)))
        return done

    def _certify(self, case: str, alpha: str, pixels: Pixels) -> Certificate | None:
        api = self.apis[alpha]
        found = api.certify_labels(pixels, n=self.n) if case == "present" else [api.certify(pixels, n=self.n)]
        return next((one for one in found if one.label is not None), None)

    def _revote(self, case: str, alpha: str, certificate: Certificate) -> Any:
        api = self.apis[alpha]
        if case == "present":
            return by_report(api, certificate, 0.5)
        return by_prediction(api, str(certificate.label))

    def _target(self, case: str, pixels: Pixels, own: Mapping[str, Certificate | None]) -> Target | None:
        """Attacked within the largest radius, and at four times the smallest."""
        found = [(alpha, one) for alpha, one in own.items() if one is not None]
        if not found:
            return None
        alpha, loosest = max(found, key=lambda pair: pair[1].radius_original)
        least = min(one.radius_original for _, one in found)
        radii = ((1.0, loosest.radius_original), (4.0, 4 * least))
        revote = self._revote(case, alpha, loosest)
        return Target(pixels=pixels, certificate=loosest, revote=revote, radii=radii)

    def _smaller(self, case: str, pixels: Pixels, own: Mapping[str, Certificate | None]) -> list[Attempt]:
        """What turned within the largest radius is attacked within the others."""
        most = max(one.radius_original for one in own.values() if one is not None)
        targets = [
            Target(
                pixels=pixels, certificate=one, revote=self._revote(case, alpha, one),
                radii=((1.0, one.radius_original),),
            )
            for alpha, one in own.items() if one is not None and one.radius_original < most
        ]  # fmt: skip
        return [attempt for tried in self.holding.each(self.victim, targets) for attempt in tried]

    def close(self) -> None:
        with ExitStack() as stack:
            for api in self.apis.values():
                stack.callback(api.close)


def _bare(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    return tuple(replace(one, image=None) for one in attempts)


def as_given(image: np.ndarray, case: str) -> Pixels:
    """An image as a case gives it."""
    if case == "resized":
        return np.asarray(Image.fromarray(image).resize((48, 48), Image.Resampling.BICUBIC))
    if case == "grey":
        return np.asarray(Image.fromarray(image).convert("L"))
    return image


def go_on(record: Record, check: Check, cases: Sequence[str], images: np.ndarray, certified: int) -> None:
    """Images of each case in turns, until enough are certified or none is left."""
    while True:
        turns = []
        for case in cases:
            done = record.of(case)
            if sum(one.counts for one in done) < certified and len(done) < len(images):
                turns.append((case, range(len(done), min(len(done) + TOGETHER, len(images)))))
        if not turns:
            return
        for case, numbers in turns:
            began = time.monotonic()
            given = [as_given(images[number], case) for number in numbers]
            record.add(check.images(case, numbers, given))
            print(f"{case}: {numbers[-1] + 1} images, {time.monotonic() - began:.0f} s", file=sys.stderr)


def table(done: Sequence[Done], settings: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The lines, each with whether the certificates hold."""
    yield "| case | α | certified | starts | turned inside (95 %) | p | turned beyond |", True
    yield "|---" * 7 + "|", True
    starts = settings["restarts"] * 2
    for case in CASES:
        own = [one for one in done if one.case == case]
        for alpha in settings["alpha"] if own and case != "half-space" else ["exact"] if own else []:
            attacked = [one.at(alpha) for one in own]
            found = verdict(attacked, error=ERROR)
            yield row(case, alpha, len(attacked), found, starts), found.holds
    spaces = [one for one in done if one.exact is not None]
    for alpha in settings["alpha"] if spaces else []:
        claimed = [(one.certified[alpha], one.exact) for one in spaces]
        above = sum(radius is not None and radius > float(exact or 0) for radius, exact in claimed)
        yield (
            f"half-spaces certified beyond their exact radius at α = {alpha}: {above} of {len(claimed)}",
            True,
        )


def row(case: str, alpha: str, images: int, found: Verdict, starts: int) -> str:
    power = intervals.exact(found.power, found.outside)
    return (
        f"| {case} | {alpha} | {found.images} of {images} | {starts} | {found.turned} "
        f"({found.low:.1%}–{found.high:.1%}) | {found.p_value:.2g} | {found.power} of {found.outside} "
        f"({power[0]:.0%}–{power[1]:.0%}) |"
    )


def bare(
    images: Sequence[Pixels], labels: Sequence[str], queries: int, steps: int, lenders: Sequence[str]
) -> Iterator[str]:
    """A row an attack on the classifier as it is; the last one by the gradients of `lenders` alone."""
    linf = PGD(norm="linf", radius=8 / 255, steps=steps)
    attacks: dict[str, tuple[Attack, Sequence[str]]] = {
        "PGD, ℓ∞ 8/255": (linf, ()),
        "PGD, ℓ2 0.5": (PGD(norm="l2", radius=0.5, steps=steps), ()),
        f"Square, ℓ∞ 8/255, {queries:,} queries": (Square(radius=8 / 255, queries=queries), ()),
        f"Square, ℓ2 0.5, {queries:,} queries": (Square(norm="l2", radius=0.5, queries=queries), ()),
        f"HopSkipJump, ℓ2, {queries:,} queries": (HopSkipJump(queries=queries), ()),
    }
    if lenders:
        attacks[f"PGD, ℓ∞ 8/255, from {', '.join(Path(name).name for name in lenders)}"] = linf, lenders
    for name, (attack, from_) in attacks.items():
        loaded = [(one, *load_named_classifier(one, "cpu")) for one in from_]
        twins = [Twin(name=one, model=net, names=names) for one, net, names in loaded]
        with SmoothedAPI("torchvision", model="cifar10", denoiser=None, store="memory", seed=0) as api:
            data = open_dataset(list(zip(images, labels, strict=True)))
            truths = map_truths(data, None, api.card.labels)
            done = list(attack_answers(api, data, truths, attack, twins=twins))
        right = sum(bool(one.right) for one in done)
        far = sorted(one.distance for one in done if one.distance is not None)
        low, high = intervals.exact(right - len(far), len(done))
        middle = f"{far[len(far) // 2]:.3f}" if far else "–"
        asked = sum(one.queries for one in done) / len(done)
        yield (
            f"| {name} | {right} of {len(done)} | {right - len(far)} ({low:.0%}–{high:.0%}) | {middle} | {asked:,.0f} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of CIFAR-10")
    parser.add_argument("--out", type=Path, help="what is done is kept in this file")
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="print what an --out has, and attack nothing"
    )
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--images", type=int, default=500, help="at most, of a case")
    parser.add_argument("--certified", type=int, default=50, help="of a case, after which it ends")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--alpha", default="0.001,0.1")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--eot", type=int, default=4)
    parser.add_argument("--votes", type=int, default=1_000)
    parser.add_argument("--bare", type=int, default=50, help="images of the second table; 0 leaves it out")
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--from", dest="lenders", default="", help="of the transfer attack: FOLDER/NAME,…")
    args = parser.parse_args()
    try:
        if args.table is not None:
            settings, done, _ = read_record(args.table)
            return tell(done, settings)
        if args.data is None:
            raise ConfigurationError("--data DIR is needed: the folder of CIFAR-10")
        return start(args)
    except ApiSmoothError as error:
        print(f"attacks: {error}", file=sys.stderr)
        return error.exit_code


def tell(done: Sequence[Done], settings: Mapping[str, Any]) -> int:
    """Print the first table."""
    held = True
    for line, holds in table(done, settings):
        print(line, flush=True)
        held &= holds
    return 0 if held else 1


def start(args: argparse.Namespace) -> int:
    """Load what `args` names, and run."""
    cases = args.cases.split(",") if args.cases else []
    if strange := [case for case in cases if case not in CASES]:
        raise ConfigurationError(f"no case {strange[0]!r}; choose from {', '.join(CASES)}")
    alphas = tuple(sorted(args.alpha.split(","), key=float))
    test = load_images(args.data, "test")
    data = test.pick(torch.arange(len(test))[args.first : args.first + max(args.images, args.bare)])
    if not len(data) or data.labels is None:
        raise ConfigurationError(f"no labelled images from {args.first} on; there are {len(test)}")
    images, code = data.images.numpy(), 0
    if cases:
        names = ("first", "n", "steps", "restarts", "eot", "votes")
        settings = {"alpha": list(alphas), **{name: getattr(args, name) for name in names}}
        holding = Holding(steps=args.steps, restarts=args.restarts, eot=args.eot, votes=args.votes)
        record, check = Record(args.out, settings), Check(alphas=alphas, n=args.n, holding=holding)
        go_on(record, check, cases, images[: args.images], args.certified)
        check.close()
        code = tell(record.done, settings)
    if args.bare:
        from api_smoothing.convnet import CLASSES

        lenders = args.lenders.split(",") if args.lenders else []
        labels = [CLASSES[label] for label in data.labels[: args.bare].tolist()]
        print(
            "\n| attack | right as they are | right under attack (95 %) | median distance | queries |\n"
            + "|---" * 5
            + "|"
        )
        for line in bare(list(images[: args.bare]), labels, args.queries, 40, lenders):
            print(line, flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main())

"""Certified accuracy of black-box targets behind a denoiser, sequentially and by the paper's protocol.

    python benchmarks/certified_accuracy.py --data DIR [--images 0:500] [--sigma 0.25] [--denoiser auto|none|NAME|FILE]
        [--targets bundled,resnet56,held-out-mixer] [--nets DIR] [--rules sequential,paper] [--radii 0,0.25,0.5,0.75]
    python benchmarks/certified_accuracy.py --data DIR --photographs [--images 0:250] [--sigma 0.5] [--radii 0.5]

Every image is asked the same queries for all targets (noise and denoiser do not depend on the target) and all
rules. Sequential: one certificate per radius with cap n, each on its own at alpha. Paper: n0 votes choose the class,
n others bound it (Clopper-Pearson); an image stops as soon as its remaining votes can change no entry of the table,
which leaves every entry what the full run gives.

DIR holds `cifar10/` (sheets of test images) and, for the target resnet56, `weights/` and the loader `load.py`. Other
targets are classifiers that `api-smooth train classifier` wrote into --nets.
With --photographs the images are `photos/imagenette_ilsvrcval500.npz` at 224×224 pixels and the target is MobileNetV2,
its answers read twice: as one of Imagenette's ten classes, and as one of ImageNet's thousand. With --cache, a run for
another radius, cap or reading asks only for what an earlier one did not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cards import own_card, rewrite

from api_smoothing import SmoothedAPI, certify, images
from api_smoothing.adapters import Adapter, AdapterCard, Answer, Label, Verdict
from api_smoothing.adapters import load as load_adapter
from api_smoothing.adapters.local.adapter import ModuleAdapter
from api_smoothing.adapters.local.cifar10net import CLASSES, read_card
from api_smoothing.certify import clopper_pearson
from api_smoothing.certify.radius import threshold
from api_smoothing.engine.scheduler import Everything
from api_smoothing.errors import ApiSmoothError
from api_smoothing.precision import compute_type
from api_smoothing.training.data import load_images
from api_smoothing.training.surrogates import load_surrogate

PHOTOGRAPHS = "imagenette_ilsvrcval500"
READINGS = ("ten-way", "1000-way")  # of one answer of MobileNetV2
MAJORITY = 1e-9  # a target radius that stands for "any": its p0 is one half


class Together:
    """Several targets asked the same queries; an answer holds the labels of each, in order."""

    def __init__(self, targets: list[Adapter], *, side: int, batch: int) -> None:
        self._targets = targets
        prints = "+".join(target.card.fingerprint for target in targets)
        names = "+".join(target.card.name for target in targets)
        self.card = AdapterCard(
            name=names, fingerprint=prints, accepts="tensor", batch=batch, native_side=side
        )

    def label(self, batch: Any, /) -> list[Answer]:
        each = [target.label(batch) for target in self._targets]
        return [Answer(labels=tuple(x for a in row for x in a.labels)) for row in zip(*each, strict=True)]

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL


class Fused(torch.nn.Module):
    """A classifier with its batch normalisation folded into its convolutions, in channels_last.

    In bfloat16, or in float32 on a processor that could only imitate it.
    """

    def __init__(self, network: torch.nn.Module, *, compiled: bool) -> None:
        super().__init__()
        import torch.fx.experimental.optimization as optimization

        folded = optimization.fuse(network.eval())
        self.dtype = torch.bfloat16 if precision() == "bf16" else torch.float32
        self.network = folded.to(self.dtype).to(memory_format=torch.channels_last)
        if compiled:
            import torch._inductor.config as inductor

            inductor.freezing = True
            self.network = torch.compile(self.network)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x.to(self.dtype, memory_format=torch.channels_last)).float()


def precision() -> str:
    """What the targets compute in here: "bf16" or "fp32"."""
    return compute_type("cpu", "auto")


def loader(data: Path) -> Any:
    """The module `load.py` beside the data."""
    spec = importlib.util.spec_from_file_location("reference_data", data / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resnet56(data: Path, *, compiled: bool) -> Adapter:
    """The pretrained ResNet-56 beside the data."""
    network = Fused(loader(data).resnet_cifar(56), compiled=compiled)
    return ModuleAdapter(
        network, name="resnet56", fingerprint=f"resnet56-4bfd9763/{precision()}", class_names=CLASSES, top=1
    )


def trained(name: str, folder: Path) -> Adapter:
    """A classifier that was trained here, in float32."""
    file = folder / f"{name}.safetensors"
    print_ = f"{name}-{read_card(file)['sha256'][:8]}" if file.is_file() else name
    network = load_surrogate(name, [folder])
    return ModuleAdapter(network, name=name, fingerprint=print_, class_names=CLASSES, top=1)


class TenAndThousand:
    """MobileNetV2: an answer holds its top label among `ten` classes, and among all."""

    def __init__(self, data: Path) -> None:
        module = loader(data)
        whole = module.imagenet("mobilenet_v2")
        self._prepare, self._network = whole.prepare, Fused(whole.net, compiled=False)
        self._ten = torch.tensor(module.IMAGENETTE)
        self.card = AdapterCard(
            name="mobilenet_v2",
            fingerprint=f"mobilenet_v2-tv-flip/{precision()}",
            accepts="tensor",
            native_side=224,
        )

    @torch.no_grad()
    def label(self, batch: Any, /) -> list[Answer]:
        logits = self._network(self._prepare(batch))
        ten, all_ = self._ten[logits[:, self._ten].argmax(1)], logits.argmax(1)
        return [
            Answer(labels=(Label(name=f"{a}"), Label(name=f"{b}")))
            for a, b in zip(ten.tolist(), all_.tolist(), strict=True)
        ]

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.FATAL


def photographs(data: Path) -> tuple[list[Any], list[str]]:
    """The validation photographs (224,224,3) uint8 and their ImageNet classes."""
    pairs = [(np.asarray(picture), f"{label}") for _, label, picture in loader(data).photos(PHOTOGRAPHS)]
    return [pixels for pixels, _ in pairs], [label for _, label in pairs]


class Votes:
    """The votes of one image for every target, asked a block at a time when a rule wants them."""

    def __init__(self, api: SmoothedAPI, pixels: Any, block: int) -> None:
        loaded = images.load(pixels, size=api.size)
        noise = api._noise_stream(loaded)
        self.slack = noise.slack
        self._block, self._api, self._sender = block, api, api._session.sender()
        self._inquiry = api._inquiry(
            loaded, noise, self._sender, lambda answer: tuple(label.name for label in answer.labels)
        )
        self._asked: list[tuple[Hashable, ...]] = []

    def upto(self, count: int) -> list[tuple[Hashable, ...]]:
        """The first `count` votes."""
        known = len(self._asked)
        if count > known:  # no farther than the block they lie in: all of it is denoised
            stop = known - (known - count) // self._block * self._block
            taken = Everything(stop - known)
            self._api._drive(self._inquiry, taken, self._sender, most=0)
            self._asked += taken.votes
            self._sender = self._api._session.sender()
        return self._asked


def sequential(votes: Votes, target: int, api: SmoothedAPI, radius: float, n: int) -> dict[str, Any]:
    """The target mode at one radius with cap n."""
    certifier = certify.certifier(
        method="sequential",
        target=max(radius, MAJORITY),
        n=n,
        alpha=api.alpha,
        sigma=api.sigma,
        noise=api.noise,
        slack=votes.slack,
    )
    used = 0
    while (count := certifier.need()) > 0:
        certifier.add([vote[target] for vote in votes.upto(used + count)[used : used + count]])
        used += count
    bound = certifier.result()
    return {"label": bound.label if bound.reached else None, "n": bound.n, "stopped": bound.stopped}


def needed(api: SmoothedAPI, radii: Sequence[float], n: int, slack: float) -> list[int]:
    """For each of `radii` the fewest of n votes whose Clopper-Pearson bound certifies it; n+1 when none does."""
    found = []
    for radius in radii:
        p0 = threshold(max(radius, MAJORITY), sigma=api.sigma, noise=api.noise, slack=slack)
        low, high = 0, n + 1
        while low < high:
            k = (low + high) // 2
            low, high = (low, k) if clopper_pearson.lower(k, n, api.alpha) > p0 else (k + 1, high)
        found.append(low)
    return found


def paper(
    votes: Votes, target: int, api: SmoothedAPI, truth: str, radii: Sequence[float], n0: int, n: int
) -> dict[str, Any]:
    """The paper's protocol, curtailed: a wrong label enters the table nowhere, only r=0.25 is then decided."""
    least = needed(api, radii, n, votes.slack)
    label = Counter(vote[target] for vote in votes.upto(n0)[:n0]).most_common(1)[0][0]
    wanted = [i for i, radius in enumerate(radii) if label == truth or radius == 0.25]
    seen = k = 0
    while seen < n and any(k < least[r] and seen - k <= n - least[r] for r in wanted):
        more = votes.upto(n0 + seen + 1)
        k += more[n0 + seen][target] == label
        seen += 1
    return {"label": label, "k": k, "n": seen, "certified": [k >= v for v in least]}


def accuracies(rows: list[dict[str, Any]], rule: str) -> list[float]:
    """The share of images certified at each radius with their true label."""
    if rule == "paper":
        right = [row["paper"]["certified"] for row in rows if row["paper"]["label"] == row["truth"]]
    else:
        right = [[at["label"] == row["truth"] for at in row["sequential"]] for row in rows]
    if not right:
        return []
    return [sum(certified) / len(rows) for certified in zip(*right, strict=True)]


def on_card(file: Path, args: argparse.Namespace, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Put what the sequential rule certified, and within which cap, on the card beside the weights `file`."""
    figures: dict[str, float] = {}
    for name, found in rows.items():
        for radius, value in zip(args.radii, accuracies(found, "sequential"), strict=True):
            where = f"{name.replace('-', '_')}_at_{radius:g}"
            figures |= {f"certified_{where}": round(value, 4), f"cap_{where}": args.n}
    rewrite(file, {f"{args.sigma:g}": figures})


def print_tables(args: argparse.Namespace, rows: dict[str, list[dict[str, Any]]], rules: list[str]) -> None:
    print(
        f"certified accuracy, sigma={args.sigma:g}, alpha={args.alpha:g}, denoiser={args.denoiser}, ", end=""
    )
    print(f"images {args.images}, n={args.n}")
    print(
        f"{'target':<10} {'rule':<11}"
        + "".join(f"  r={radius:<5g}" for radius in args.radii)
        + "  mean queries"
    )
    for name, found in rows.items():
        for rule in rules:
            if rule == "paper":
                means = f"{args.n0 + args.n}"
            else:
                each = zip(*([at["n"] for at in row["sequential"]] for row in found), strict=True)
                means = " / ".join(f"{statistics.mean(at):.0f}" for at in each)
            cells = "".join(f"  {value:<7.3f}" for value in accuracies(found, rule))
            print(f"{name:<10} {rule:<11}{cells}  {means}")
    if rules == ["sequential", "paper"]:
        print_differences(args, rows)


def print_differences(args: argparse.Namespace, rows: dict[str, list[dict[str, Any]]]) -> None:
    at = args.radii.index(0.25)
    print(f"\nsequential target mode at r=0.25 with cap {args.n} against the paper's rule on the same votes")
    for name, found in rows.items():
        mean = statistics.mean(row["sequential"][at]["n"] for row in found)
        print(f"{name:<10} mean queries {mean:.1f}, {(args.n + args.n0) / mean:.1f} times fewer")
        for row in found:
            fixed = row["paper"]["label"] if row["paper"]["certified"][at] else None
            ours = row["sequential"][at]
            if fixed != ours["label"]:
                print(
                    f"  differs: image {row['image']}, paper {fixed} ({row['paper']['k']} of {row['paper']['n']}), "
                    f"sequential {ours['label']} after {ours['n']}"
                )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photographs", action="store_true", help="224-pixel photographs and MobileNetV2")
    parser.add_argument("--images", default="0:500")
    parser.add_argument("--sigma", type=float, default=0.25)
    parser.add_argument("--alpha", type=float, default=0.001)
    parser.add_argument("--radii", default="0,0.25,0.5,0.75")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--n0", type=int, default=100)
    parser.add_argument("--denoiser", default="auto")
    parser.add_argument(
        "--targets", default=None, help="bundled,resnet56,NAME…, or of photographs ten-way,1000-way"
    )
    parser.add_argument(
        "--nets", type=Path, default=Path(), help="folder of classifiers that were trained here"
    )
    parser.add_argument("--rules", default="sequential,paper")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--batch", type=int, default=64, help="images asked at once, so also the fewest an image is asked"
    )
    parser.add_argument("--compile", action="store_true", help="compile ResNet-56 (needs a C++ compiler)")
    parser.add_argument("--cache", default=None, help="folder for the answers, to resume an interrupted run")
    parser.add_argument(
        "--json", type=Path, default=None, help="where to write one line per image and target"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the sequential figures on the denoiser's card"
    )
    args = parser.parse_args()
    try:
        file = own_card(args.denoiser) if args.write else None
    except ApiSmoothError as error:
        parser.error(str(error))
    args.radii = [float(radius) for radius in args.radii.split(",")]

    rules = args.rules.split(",")
    names = list(READINGS) if args.photographs else ["bundled", "resnet56"]
    wanted = names if args.targets is None else args.targets.split(",")
    strangers = {name for name in wanted if args.photographs or not (args.nets / f"{name}.json").is_file()}
    if unknown := strangers - set(names):
        parser.error(f"--targets {', '.join(sorted(unknown))}: choose from {', '.join(names)}, or see --nets")
    start, stop = (int(v) for v in args.images.split(":"))
    if args.photographs:
        pixels, truths = photographs(args.data)
        targets: list[Adapter] = [TenAndThousand(args.data)]
        side = 224
    else:
        test = load_images(args.data / "cifar10", "test")
        assert test.labels is not None
        pixels, truths = list(test.images.numpy()), [CLASSES[k] for k in test.labels.tolist()]
        makers: dict[str, Callable[[], Adapter]] = {
            "bundled": lambda: load_adapter("torchvision", model="cifar10", top=1),
            "resnet56": lambda: resnet56(args.data, compiled=args.compile),
        }
        names = wanted
        targets, side = [makers[name]() if name in makers else trained(name, args.nets) for name in names], 32
    api = SmoothedAPI(
        Together(targets, side=side, batch=args.batch),
        sigma=args.sigma,
        alpha=args.alpha,
        denoiser=None if args.denoiser == "none" else args.denoiser,
        size=side,
        seed=args.seed,
        cache=args.cache or False,
    )
    print(api.settings(), file=sys.stderr)
    out = args.json.open("w") if args.json else None
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    began = time.monotonic()
    for index in range(start, stop):
        votes, label = Votes(api, pixels[index], args.batch), truths[index]
        for target, name in enumerate(names):
            if name not in wanted:
                continue
            row: dict[str, Any] = {"image": index, "target": name, "truth": label}
            if "sequential" in rules:
                row["sequential"] = [sequential(votes, target, api, radius, args.n) for radius in args.radii]
            if "paper" in rules:
                row["paper"] = paper(votes, target, api, label, args.radii, args.n0, args.n)
            rows[name].append(row)
            if out:
                print(json.dumps(row), file=out, flush=True)
        if (index + 1 - start) % 10 == 0:
            heads = "; ".join(
                f"{name} {rule} {accuracies(rows[name], rule)}" for name in wanted for rule in rules
            )
            print(f"{index + 1 - start} images, {time.monotonic() - began:.0f} s: {heads}", file=sys.stderr)
    print_tables(args, rows, rules)
    if file is not None:
        on_card(file, args, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

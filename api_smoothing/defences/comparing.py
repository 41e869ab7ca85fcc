"""`compare`: defences, attacks and corruptions, all on the same images, and a run file that is gone on with."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from api_smoothing import runs
from api_smoothing.attacks import PGD, Square
from api_smoothing.attacks.losses import Model
from api_smoothing.corruptions import corrupt
from api_smoothing.datasets import DataSet, Example, open_dataset
from api_smoothing.defences.adaptive import defended, mean_scores
from api_smoothing.defences.attacked import Attacked
from api_smoothing.defences.base import Defence, check_8_bits, check_defence, purified
from api_smoothing.defences.classifier import Classifier, Targets, classifier_of
from api_smoothing.defences.comparison import ROW, SESSION, Comparison, Defended, Row, read_rows
from api_smoothing.defences.conditions import Attack, ByGradients, Condition, conditions_of
from api_smoothing.defences.registry import load
from api_smoothing.denoisers.paths import majority
from api_smoothing.errors import ConfigurationError, ImageError
from api_smoothing.images import load as load_image
from api_smoothing.precision import check_device


def compare(
    data: Any,
    model: Any,
    defences: Sequence[str | Defence],
    *,
    attacks: Sequence[str | Attack | PGD | Square] = ("none", "pgd-linf-8/255", "pgd-l2-128/255"),
    corruptions: Sequence[str] = (),
    adaptive: bool = False,
    limit: int | None = None,
    seed: int = 0,
    output: str | Path | None = None,
    steps: int = 40,
    eot: int = 4,
    queries: int = 1_000,
    batch: int = 25,
    size: int | tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    device: str = "cpu",
    tell: Callable[[str], object] | None = None,
) -> Comparison:
    """Put every image of `data` under every condition behind every one of `defences`, the first the one to beat.

    `data` is what `datasets.open_dataset` takes; `model` a classifier of this process, see `classifier_of`; a defence
    a name of `defences.names()` with its settings, or an object (`Defence`). `attacks` and `corruptions` are names, see
    `conditions`, or objects (`Attack`, `PGD`, `Square`). An attack is made once, on the bare classifier, by `steps` of
    PGD or `queries` of Square; with `adaptive` it is made again on the classifier behind each defence, whose chance is
    averaged over `eot` draws a step. What is right is the label; without labels, the bare classifier's answer.

    `output` is a run file (.jsonl): what it holds is not computed again, and defences, conditions and images may be
    added; images attacked bare are kept in a folder beside it, which may be deleted. Images go `batch` together, which
    the draws of adaptive attacks depend on; all else is a function of the image and `seed`. `size` is the side (or
    height, width) that images are brought to first. `tell` is given a line after each step of the way.

    Raises ConfigurationError, WeightsError or MissingExtraError in one line; an image that cannot be read is named in
    `Comparison.unreadable`.
    """
    check_device(device)
    made = _made(defences, device)
    conditions = conditions_of(
        attacks, corruptions, adaptive=adaptive, steps=steps, queries=queries, seed=seed
    )
    chosen = open_dataset(data, limit=limit)
    classifier = classifier_of(model, class_names=class_names, device=device)
    targets = Targets(chosen, classifier)
    with ExitStack() as stack:
        path = Path(output) if output is not None else _temporary(stack)
        settings = {
            "question": "compare",
            "data": chosen.name,
            "model": classifier.name,
            "model_identity": classifier.identity,
            "size": size,
            "seed": seed,
            "steps": steps,
            "eot": eot,
            "queries": queries,
            "batch": batch,
        }
        file = stack.enter_context(runs.open(path, settings))
        known, session = read_rows(path)
        drive = _Drive(
            classifier,
            made,
            conditions,
            known,
            file,
            attacked=Attacked(None if output is None else path.with_name(f"{path.name}.attacked"), settings),
            seed=seed,
            eot=eot,
            device=device,
            tell=tell,
        )
        pictures = _Pictures(chosen, targets, size)
        for some in pictures.batches(batch):
            drive.go(some)
        drive.close(session, targets.labelled, pictures)
    return Comparison(
        data=chosen.name,
        model=classifier.name,
        reference=_reference(targets.labelled),
        defences=tuple(_facts(one) for one in made),
        conditions={condition.name: condition.kind for condition in conditions},
        rows=tuple(drive.rows),
        unreadable=pictures.unreadable,
        left_out=pictures.left_out,
        told=(*chosen.told, *targets.told),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """An image (3,H,W) in [0,1] on the 8-bit grid, and the class it ought to get, None where the classifier says."""

    item: str
    sha256: str
    pixels: Tensor
    target: int | None


class _Pictures:
    """The images of a data set, in their order; what cannot be used is counted."""

    def __init__(self, data: DataSet, targets: Targets, size: int | tuple[int, int] | None) -> None:
        self._data, self._targets, self._size = data, targets, size
        self.unreadable: dict[str, str] = {}
        self.left_out = 0

    def batches(self, most: int) -> Iterator[list[_Picture]]:
        """Groups of at most `most` that follow one another and have one size."""
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise ConfigurationError(f"batch must be a whole number from 1 on, not {most!r}")
        group: list[_Picture] = []
        for example in self._data:
            found = self._read(example)
            if found is None:
                continue
            if group and (len(group) == most or group[0].pixels.shape != found.pixels.shape):
                yield group
                group = []
            group.append(found)
        if group:
            yield group

    def _read(self, example: Example) -> _Picture | None:
        target = self._targets.of(example)
        if target is None and self._targets.labelled:
            self.left_out += 1
            return None
        try:
            loaded = load_image(example.read(), size=self._size)
        except ImageError as error:
            self.unreadable[example.id] = str(error)
            return None
        levels = torch.from_numpy(loaded.grid.astype("float64") / loaded.sub).round()
        return _Picture(
            item=example.id,
            sha256=loaded.digest.hex(),
            pixels=(levels / 255).float().permute(2, 0, 1).contiguous(),
            target=target,
        )


class _Drive:
    """Fills what is not `known` yet, batch by batch; its rows are on the disk before the next ones are made."""

    def __init__(
        self,
        classifier: Classifier,
        defences: Sequence[Defence],
        conditions: Sequence[Condition],
        known: Mapping[tuple[str, ...], Row],
        file: runs.RunFile,
        *,
        attacked: Attacked,
        seed: int,
        eot: int,
        device: str,
        tell: Callable[[str], object] | None,
    ) -> None:
        self._attacked = attacked
        self._classifier, self._defences, self._conditions = classifier, defences, conditions
        self._known, self._file, self._seed, self._eot, self._device = dict(known), file, seed, eot, device
        self._identities = {one.name: _facts(one).identity for one in defences}
        self._tell, self._done = tell or (lambda line: None), 0
        self.rows: list[Row] = []

    def go(self, batch: Sequence[_Picture]) -> None:
        """All conditions and defences for these images."""
        if any(self._is_missing(batch, c, d) for c in self._conditions for d in self._defences):
            clean = torch.stack([one.pixels for one in batch]).to(self._device)
            labels = self._labels(batch, clean)
            for condition in self._conditions:
                self._under(condition, batch, clean, labels)
        for one in batch:
            self.rows += [self._known[self._key(one, c, d)] for c in self._conditions for d in self._defences]
        self._done += len(batch)
        self._tell(f"{self._done:,} images")

    def close(self, before: Mapping[str, Any] | None, labelled: bool, pictures: _Pictures) -> None:
        """Write what the session was about, if the last one was not about the same."""
        session = {
            "schema": SESSION,
            "reference": _reference(labelled),
            "defences": [
                {"name": one.name, "identity": one.identity, "cost": one.cost.to_dict()}
                for one in map(_facts, self._defences)
            ],
            "conditions": {condition.name: condition.kind for condition in self._conditions},
            "unreadable": pictures.unreadable,
            "left_out": pictures.left_out,
        }
        if before != session:
            self._file.append_line(session)

    def _key(self, one: _Picture, condition: Condition, defence: Defence) -> tuple[str, ...]:
        return one.item, one.sha256, condition.name, defence.name, self._identities[defence.name]

    def _is_missing(self, batch: Sequence[_Picture], condition: Condition, defence: Defence) -> bool:
        return any(self._key(one, condition, defence) not in self._known for one in batch)

    @torch.no_grad()
    def _labels(self, batch: Sequence[_Picture], clean: Tensor) -> Tensor:
        """(N,) int64: the truth, or what the bare classifier says."""
        scores = self._classifier.scores(clean)
        names = self._classifier.names
        if names is not None and len(names) != scores.shape[1]:
            raise ConfigurationError(f"the model gives {scores.shape[1]} scores for {len(names)} class names")
        said = scores.argmax(1).tolist()
        labels = [
            answer if one.target is None else one.target for one, answer in zip(batch, said, strict=True)
        ]
        if max(labels) >= scores.shape[1]:
            raise ConfigurationError(
                f"the label {max(labels)} is beyond the model's {scores.shape[1]} classes, counted from 0"
            )
        return torch.tensor(labels, device=clean.device)

    def _under(self, condition: Condition, batch: Sequence[_Picture], clean: Tensor, labels: Tensor) -> None:
        left = [one for one in self._defences if self._is_missing(batch, condition, one)]
        if not left:
            return
        alone = None if condition.kind == "adaptive" else self._changed(condition, None, batch, clean, labels)
        for defence in left:
            images = alone if alone is not None else self._changed(condition, defence, batch, clean, labels)
            self._tell(f"{self._done:,} images, {condition.name} behind {defence.name}")
            self._append(condition, defence, batch, images, clean, labels)

    def _changed(
        self,
        condition: Condition,
        defence: Defence | None,
        batch: Sequence[_Picture],
        clean: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """The images under `condition`: attacked behind `defence`, where there is one."""
        if condition.corruption is not None:
            name, severity = condition.corruption
            done = [corrupt(_uint8(image), name, severity, seed=self._seed) for image in clean]
            return torch.stack([torch.from_numpy(one).permute(2, 0, 1) for one in done]).to(clean) / 255
        if condition.attack is None:
            return clean
        attack, model = condition.attack, self._classifier.scores
        if defence is not None:
            model = defended(model, defence)
            if isinstance(attack, ByGradients) and getattr(defence, "random", True):
                attack = attack.averaging(self._eot)
        key = [condition.name, [one.sha256 for one in batch], labels.tolist()]
        if defence is None and (kept := self._attacked.read(key, clean)) is not None:
            return kept
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._draw(condition, defence, batch))
            found = _made_by(attack, clean, labels, model)
        if defence is None:
            self._attacked.write(key, found)
        return found

    def _draw(self, condition: Condition, defence: Defence | None, batch: Sequence[_Picture]) -> int:
        told = [
            self._seed,
            condition.name,
            "" if defence is None else defence.name,
            *(one.sha256 for one in batch),
        ]
        return int.from_bytes(hashlib.sha256(repr(told).encode()).digest()[:7], "little")

    def _append(
        self,
        condition: Condition,
        defence: Defence,
        batch: Sequence[_Picture],
        images: Tensor,
        clean: Tensor,
        labels: Tensor,
    ) -> None:
        began = time.perf_counter()
        copies = purified(defence, images, self._seed)
        seconds = (time.perf_counter() - began) / len(batch)
        with torch.no_grad():
            before = F.cross_entropy(self._classifier.scores(images), labels, reduction="none")
            after = F.nll_loss(mean_scores(self._classifier.scores, copies), labels, reduction="none")
            votes = self._classifier.scores(copies.flatten(0, 1)).argmax(1).view(copies.shape[:2])
        errors = (copies - clean[:, None]).double().square().flatten(1).mean(1)
        name = self._classifier.class_name
        for k, one in enumerate(batch):
            label, truth = majority(votes[k].tolist()), int(labels[k])
            assert label is not None
            row = Row(
                item=one.item,
                image_sha256=one.sha256,
                condition=condition.name,
                defence=defence.name,
                identity=self._identities[defence.name],
                truth=name(truth),
                label=name(label),
                right=label == truth,
                loss_before=float(before[k]),
                loss_after=float(after[k]),
                mse=float(errors[k]),
                seconds=seconds,
            )
            self._known[row.key] = row
            self._file.append_line({"schema": ROW, **asdict(row)}, sync=k == len(batch) - 1)


def _made(defences: Sequence[str | Defence], device: str) -> list[Defence]:
    if isinstance(defences, str) or not defences:
        raise ConfigurationError(
            'defences are a list, such as ["none", "jpeg-75"]; the first is the one to beat'
        )
    made = [
        load(one.strip(), device=device) if isinstance(one, str) else check_defence(one, "what is compared")
        for one in defences
    ]
    names = [one.name for one in made]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(f"two defences are called {twice!r}: give each a name of its own")
    return made


def _made_by(attack: Attack, clean: Tensor, labels: Tensor, model: Model) -> Tensor:
    """What the attack makes of copies, as it may work in place. Raises ConfigurationError unless that has 8 bits."""
    found = attack(clean.clone(), labels.clone(), model)
    if not isinstance(found, Tensor) or found.shape != clean.shape:
        told = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ConfigurationError(f"the attack {attack.name} gave {told} for images {tuple(clean.shape)}")
    found = found.detach().to(clean)
    check_8_bits(found, f"the attack {attack.name}")
    return found


def _facts(defence: Defence) -> Defended:
    return Defended(name=defence.name, cost=defence.cost, identity=str(getattr(defence, "identity", "")))


def _reference(labelled: bool) -> str:
    return "truth" if labelled else "answer"


def _uint8(image: Tensor) -> Any:
    return (image * 255).round().to(torch.uint8).cpu().permute(1, 2, 0).numpy()


def _temporary(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="api-smooth-"))) / "comparison.jsonl"

"""`evaluate`: a data set, a provider, radii; what comes of it, and a file that others can check."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from api_smoothing import evidence, runs
from api_smoothing.claims.claim import Claim
from api_smoothing.datasets import DataSet, map_truths, open_dataset
from api_smoothing.errors import ConfigurationError
from api_smoothing.evaluation.drive import Drive, plan
from api_smoothing.evaluation.evaluation import Evaluation
from api_smoothing.evaluation.mirror import mirrored
from api_smoothing.evaluation.question import RADII, Question, check_reach, question
from api_smoothing.events import DataSetOpened, Observer
from api_smoothing.recorded.run import read_run
from api_smoothing.remote import is_remote

if TYPE_CHECKING:
    from api_smoothing.smoothed import SmoothedAPI


def evaluate(
    api: SmoothedAPI,
    data: Any,
    *,
    radii: Sequence[float] = RADII,
    n: int | Literal["auto"] | None = "auto",
    at_least: float | None = None,
    confidence: float = 0.95,
    limit: int | None = None,
    sample: int | None = None,
    sample_seed: int | None = None,
    output: str | Path | None = None,
    clean: bool | None = None,
    column_path: str | None = None,
    column_label: str | None = None,
    classes: Sequence[str] | Mapping[int, str] | str | Path | None = None,
    observers: Sequence[Observer] = (),
    among: int = 1,
    engine: Any = None,
    command: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Certify every image of a data set, and count what is right.

    `data` is whatever `datasets.open_dataset` takes; `limit`, `sample`, `sample_seed`, `column_path`, `column_label`
    and `classes` go there. `radii` (in [0,1] units, in the noise space; 0 stands for a proved majority) are read from
    the same votes, one look at each image: with a number `n` from its one bound, without from the confidence sequence,
    which ends when all are decided; a single radius has the target rule, the cheapest. `n="auto"` caps as `certify`
    does, and where a budget was given and there is one radius so that it buys the most over all images.

    `at_least` makes a claim of it, that certified accuracy at the one radius is at least that much, with `confidence`:
    images are taken in random order (`sample_seed`), until it is proved, refuted or not paid for. It speaks of one
    classifier, that of `api`.

    `clean` asks about each image as it is, too: one query more, for clean accuracy, or agreement where there are no
    labels; by default where there is no claim. `output` is a run file, or its URL in an object store, which is gone on
    with where it exists; an image that cannot be read is told there, and costs nothing. `engine` is as for
    `certify_many`: several processes certify the images, and this one writes the file.

    `among` says how many such runs the budget of `api` is for: the cap that is chosen for it reckons with all of them.
    `command` is written into a new file, as what began it: see `results.RunHeader`.

    Raises ConfigurationError, ImageError, UnreachableRadiusError before the first query, ProviderError, StorageError
    when asking fails; all that was answered is in `output`. A spent budget raises nothing: `Evaluation.left` counts.
    """
    tell = api.tell
    if at_least is not None and api.settings().get("reuse"):
        raise ConfigurationError("a claim needs a certificate of each image's own: leave out reuse")
    whole = open_dataset(
        data, limit=limit, column_path=column_path, column_label=column_label, classes=classes
    )
    chosen = _chosen(whole, sample, sample_seed, at_random=at_least is not None)
    truths = map_truths(chosen, api.label_map, api.card.labels)
    claim = None
    if at_least is not None:  # of images that may have been asked about before
        claim = Claim(at_least, confidence=confidence, population=len(whole), alpha=2 * api.alpha)
    with ExitStack() as stack:
        path = _file(output, stack)
        asked = question(
            api,
            radii,
            n,
            images=len(whole) if at_least is not None else len(chosen) * among,
            at_least=at_least,
            confidence=confidence,
            before=runs.header(path).settings.get("n") if path.exists() else None,
            capped_by_budget=api.has_budget,
            besides=len(chosen) * among if clean is not False else 0,
        )
        check_reach(api, asked)
        settings = _settings(api, chosen, asked, claim)
        file = stack.enter_context(runs.open(path, settings, command=command))
        before = read_run(path)  # now that nobody else is writing it
        with ExitStack() as telling:
            for observer in observers:
                telling.enter_context(api.observed(observer))
            planned = plan(api, chosen, truths, tell)
            evidence.commit(
                file,
                [one.line for one in planned],
                spec=api.spec(**asked.arguments),
                price_usd=api.usd_per_query,
                radii=() if asked.aims else asked.radii,
                paths=api.queries_per_vote,
            )
            asks_clean = _asks_clean(clean, claim, chosen)
            drive = Drive(api, planned, asked, clean=asks_clean, before=before, claim=claim, engine=engine)
            tell(
                DataSetOpened(
                    name=chosen.name,
                    images=len(planned),
                    left=drive.undecided,
                    unreadable=sum(one.image_sha256 is None for one in planned),
                    digests={one.example.id: one.image_sha256 for one in planned},
                    told=(*chosen.told, *truths.told, *_lost(planned), *asked.told),
                )
            )
            api.teach(before.certificates)
            drive.run(file)
        found = read_run(path)
    return Evaluation(run=found, left=drive.left, out_of_budget=drive.out_of_budget)


def _chosen(whole: DataSet, sample: int | None, seed: int | None, *, at_random: bool) -> DataSet:
    if sample is None and seed is None and not at_random:
        return whole
    return whole.sampled(sample, 0 if seed is None else seed)


def _file(output: str | Path | None, stack: ExitStack) -> Path:
    """Where the run file is written."""
    if output is None:
        return _temporary(stack)
    if isinstance(output, str) and is_remote(output):
        return stack.enter_context(mirrored(output))
    return Path(output)


def _temporary(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="api-smooth-"))) / "evaluation.jsonl"


def _settings(api: SmoothedAPI, data: DataSet, asked: Question, claim: Claim | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        **api.settings(),
        **asked.settings,
        "data": data.name,
        "sample": data.sample,
        "sample_seed": data.sample_seed,
        "price_usd": api.usd_per_query,
    }
    if claim is None:
        return found
    about = {"at_least": claim.at_least, "confidence": claim.confidence, "population": claim.population}
    return {**found, **about}


def _asks_clean(clean: bool | None, claim: Claim | None, data: DataSet) -> bool:
    if clean is not None:
        return clean
    labelled = any(example.truth is not None for example in data)
    return claim is None or not labelled


def _lost(planned: Sequence[Any]) -> list[str]:
    lost = [one for one in planned if one.image_sha256 is None]
    if not lost:
        return []
    more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
    return [f"cannot be read, and counts as failed: {lost[0].reason}{more}"]

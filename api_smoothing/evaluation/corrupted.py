"""A data set as it is and under corruptions: a run of its own for each, one budget for all."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.corruptions import SEVERITIES, corrupted, named
from api_smoothing.datasets import open_dataset
from api_smoothing.errors import ConfigurationError
from api_smoothing.evaluation.evaluating import evaluate
from api_smoothing.evaluation.evaluation import Evaluation

if TYPE_CHECKING:
    from api_smoothing.recorded.summary import Share, Summary
    from api_smoothing.smoothed import SmoothedAPI

#: The run on the images as they are.
CLEAN: Final = "clean"


def evaluate_corrupted(
    api: SmoothedAPI,
    data: Any,
    corruptions: Iterable[str],
    *,
    severities: Sequence[int] = SEVERITIES,
    output: str | Path | None = None,
    limit: int | None = None,
    column_path: str | None = None,
    column_label: str | None = None,
    classes: Sequence[str] | Mapping[int, str] | str | Path | None = None,
    command: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Evaluation]:
    """`evaluate` on the images as they are ("clean"), then under each corruption at each severity ("fog:3").

    `corruptions` are names, "all", or such with a severity of their own; see `corruptions.named`. Each is a run of its
    own, in the file `output_of` names, whose data set is called after the corruption: it is resumed and verified alone.
    All are paid from the budget of `api`, in order; the first that it ends is the last one here. `command`, which makes
    all of them, is kept by the clean one. `options` are those of `evaluate`. Raises what that does, and
    ConfigurationError for `at_least`, which is about one set of images.
    """
    if options.get("at_least") is not None:
        raise ConfigurationError("a claim is about one set of images: make it without corruptions")
    wanted = named(corruptions, severities)
    if not wanted:
        raise ConfigurationError('which corruptions? Name some, such as "fog:3", or "all"')
    whole = open_dataset(
        data, limit=limit, column_path=column_path, column_label=column_label, classes=classes
    )
    sets = {CLEAN: whole} | {
        f"{name}:{severity}": corrupted(whole, name, severity) for name, severity in wanted
    }
    found: dict[str, Evaluation] = {}
    for name, some in sets.items():
        path = None if output is None else output_of(output, name)
        begun = command if name == CLEAN else None
        found[name] = evaluate(api, some, output=path, among=len(sets), command=begun, **options)
        if found[name].out_of_budget:
            break
    return found


def output_of(output: str | Path, name: str) -> str | Path:
    """The run file of one of the runs: `run.jsonl` itself of the clean one, `run.fog-3.jsonl` of fog at 3.

    It lies beside the clean one's, at a URL too.
    """
    if name == CLEAN:
        return output
    folder, slash, file = str(output).rpartition("/")
    path = PurePosixPath(file)
    beside = f"{folder}{slash}{path.stem}.{name.replace(':', '-')}{path.suffix}"
    return Path(beside) if isinstance(output, Path) else beside


def summaries_of(found: Mapping[str, Evaluation]) -> dict[str, Summary]:
    """The numbers of each run that came to an image."""
    return {name: one.summary for name, one in found.items() if one.run.certificates or one.run.unreadable}


def means_of(found: Mapping[str, Evaluation]) -> dict[str, float]:
    """Means over the corruptions alone, of shares by their row's name; {} where there are fewer than two.

    They have no interval: each image is in all of the runs.
    """
    of = [_shares(one) for name, one in summaries_of(found).items() if name != CLEAN]
    if len(of) < 2:
        return {}
    means = {}
    for what in of[0]:
        values = [value for shares in of if what in shares and (value := shares[what].value) is not None]
        if values:
            means[what] = statistics.fmean(values)
    return means


def rows_of_all(found: Mapping[str, Evaluation]) -> list[tuple[str, ...]]:
    """A table: a row a run, the heads first, the means over the corruptions last."""
    tables = {name: _shares(one) for name, one in summaries_of(found).items()}
    whats = list(dict.fromkeys(what for shares in tables.values() for what in shares))
    rows: list[tuple[str, ...]] = [("", "images", *whats, "queries")]
    for name, shares in tables.items():
        summary = found[name].summary
        cells = [_told(shares[what]) if what in shares else "" for what in whats]
        rows.append((name, f"{summary.images:,}", *cells, f"{summary.queries:,}"))
    if means := means_of(found):
        cells = [f"{means[what]:.1%}" if what in means else "" for what in whats]
        rows.append((f"mean of {len(tables) - (CLEAN in tables)}", "", *cells, ""))
    return rows


def _shares(summary: Summary) -> dict[str, Share]:
    """The shares that are shown, by their names."""
    right = "right" if summary.reference == "truth" else "as unsmoothed"
    found = {} if summary.clean is None else {"unsmoothed accuracy": summary.clean}
    if summary.reference == "truth":
        found["smoothed accuracy"] = summary.smoothed
    found |= {f"certified {right} at {at.radius:g}": at.certified for at in summary.radii}
    return {**found, "abstained": summary.abstained}


def _told(share: Share) -> str:
    return "none" if share.value is None else f"{share.value:.1%} ({share.low:.0%}–{share.high:.0%})"

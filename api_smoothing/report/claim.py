"""The claim of a run in one sentence, and what every word of it means."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from api_smoothing.report.entries import Entry, accuracy_of
from api_smoothing.report.words import between, escaped, floored, percent


def sentence(entry: Entry) -> str:
    """HTML: how many images are certified at the claim's radius, and how sure that is."""
    if entry.claim is not None:
        return _claimed(entry, entry.claim)
    total, radius = len(entry.rows), entry.headline
    k, low, high = _at(entry, radius)
    who = f"{escaped(_classifier(entry))}"
    if radius == 0:
        what = (
            f"{who} answers <strong>{k:,} of {total:,} images</strong> {_rightly(entry)} by a proved majority"
        )
    else:
        what = (
            f"For <strong>{k:,} of {total:,} images</strong> it is proved that no change of {entry.norm} size"
            f" up to <strong>{radius:g}</strong> makes {who} give up its {_right(entry)} answer"
        )
    return (
        f'{what}: {accuracy_of([entry]).lower()} <strong class="nw">{percent(k / total)}</strong>, <span'
        f' class="nw">95 %</span> interval <span class="nw">{between(low, high)}</span>.'
    )


def meaning(entry: Entry) -> list[tuple[str, str]]:
    """Term and HTML explanation of everything the sentence leaves out."""
    radius, settings = entry.headline, entry.settings
    found = [("Where the distance is measured", _space(entry))]
    if radius > 0 and (picture := _levels(entry, radius)):
        found.append((f"How large {radius:g} is", picture))
    if original := _original(entry):
        found.append(("For the images as they were given", original))
    found.append(
        (
            "Whose answer",
            (
                "The smoothed classifier: the label that most copies of the image get under"
                f" {escaped(settings.get('noise', 'gaussian'))} noise of σ ="
                f" {escaped(_number(settings.get('sigma')))}, each behind {escaped(_denoiser(entry))} and"
                f" read by {escaped(settings.get('provider', 'an unnamed provider'))}. It says nothing of a"
                " single call without noise."
            ),
        )
    )
    alpha = settings.get("alpha")
    if isinstance(alpha, float):
        found.append(("How sure one certificate is", _error(entry, alpha)))
    found.append(("How sure the share is", _FIXED if entry.claim is None else _CLAIMED))
    found.append(("What counts as right", _judged(entry)))
    return found


def _error(entry: Entry, alpha: float) -> str:
    text = (
        f"Each is wrong with probability at most α = {alpha:g}: of {len(entry.rows):,} images at most "
        f"{alpha * len(entry.rows):.2g} are expected to have a wrong one."
    )
    later = sum(c is not None and c.looks > 1 for c in entry.rows.certificates)
    loose = sum(c is not None and c.exploratory for c in entry.rows.certificates)
    if later:
        text += (
            f" {later:,} of them had been asked about before; what all answers about one image risk together"
            " is in its line."
        )
    if loose:
        text += (
            f" {loose:,} are exploratory: their votes are read in a way chosen after they were seen, for"
            " which no bound holds."
        )
    return text


_FIXED: Final = (
    "The interval is exact (Clopper and Pearson 1934) at this one radius, for images drawn at random from"
    " those the claim is meant for. Images picked by hand have no such interval."
)
_CLAIMED: Final = (
    "The bound of the claim holds however often it was looked at, for images in random order. The intervals"
    " and bands of this page are for a number of images fixed beforehand; this run stopped when its claim was"
    " decided, so they only tell where it stood."
)


def _claimed(entry: Entry, claimed: Mapping[str, Any]) -> str:
    """The sentence of a run that was made for a claim, by what became of it."""
    of = "images like these" if claimed["population"] is None else f"the {claimed['population']:,} images"
    sure = f'<span class="nw">{100 * claimed["confidence"]:g} %</span> confidence'
    looked = f"{claimed['certified']:,} of {claimed['looked']:,} looked at are certified"
    right = (
        f"{escaped(_classifier(entry))} answers rightly, and no change of {entry.norm} size up to "
        f"<strong>{claimed['radius']:g}</strong> makes it give that up"
    )
    wanted = percent(claimed["at_least"])
    if claimed["state"] == "proved":
        share = f'<strong class="nw">{percent(_down(claimed["lower"]))}</strong>'
        return f"Proved with {sure}: of {of} at least {share} are such that {right} ({looked})."
    if claimed["state"] == "refuted":
        share = f'<strong class="nw">{percent(_up(claimed["upper"]))}</strong>'
        return (
            f"Refuted with {sure}: of {of} at most {share} would be certified, not {wanted}, as ones where"
            f" {right} ({looked})."
        )
    share = f'<strong class="nw">{percent(_down(claimed["lower"]))}</strong>'
    return (
        f"Not decided: with {sure} at least {share} of {of} are such that {right}; {wanted} is not shown"
        f" ({looked})."
    )


def _down(share: float) -> float:
    return math.floor(1000 * share + 1e-9) / 1000


def _up(share: float) -> float:
    return math.ceil(1000 * share - 1e-9) / 1000


def _at(entry: Entry, radius: float) -> tuple[int, float, float]:
    step = entry.curve.at(radius)
    return int(entry.curve.k[step]), float(entry.curve.low[step]), float(entry.curve.high[step])


def _classifier(entry: Entry) -> str:
    return (
        f"{entry.settings.get('provider', 'the classifier')} behind noise of σ ="
        f" {_number(entry.settings.get('sigma'))}"
    )


def _rightly(entry: Entry) -> str:
    if not entry.is_judged:
        return "alike"
    return "rightly" if entry.judged_by_truth else "as it does without noise"


def _right(entry: Entry) -> str:
    if not entry.is_judged:
        return "smoothed"
    return "right" if entry.judged_by_truth else "usual"


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _denoiser(entry: Entry) -> str:
    name = entry.settings.get("denoiser")
    return "no denoiser" if name is None else f"the denoiser {str(name).partition('@')[0]}"


def _space(entry: Entry) -> str:
    spaces = Counter(c.space for c in entry.rows.certificates if c is not None and min(c.space) > 0)
    if not spaces:
        return f"{entry.norm} distance of the pixel values in [0, 1], as the file's own program has them."
    (height, width), _ = spaces.most_common(1)[0]
    others = f" ({len(spaces) - 1} other sizes occur)" if len(spaces) > 1 else ""
    return (
        f"{entry.norm} distance over the {height} × {width} × 3 values, each in [0, 1], of the image as it"
        f" enters the noise{others}: after resizing, before the denoiser."
    )


def _levels(entry: Entry, radius: float) -> str | None:
    space = next((c.space for c in entry.rows.certificates if c is not None and min(c.space) > 0), None)
    if space is None:
        return None
    values = 3 * space[0] * space[1]
    each = 255 * radius / (math.sqrt(values) if entry.norm == "ℓ2" else values)
    one = min(255.0, 255 * radius)
    return (
        f"As much as one value changed by {one:.0f} of its 255 levels, or all {values:,} values by {each:.2g}"
        " levels each. The pictures below show both."
    )


def _original(entry: Entry) -> str | None:
    pairs = [
        (c.radius, c.radius_original)
        for c in entry.rows.certificates
        if c is not None and c.label is not None and c.radius > 0
    ]
    if not pairs or all(a == b for a, b in pairs):
        return None
    originals = sorted(b for _, b in pairs)
    middle = floored(originals[len(originals) // 2])
    return (
        "Each certificate also has the radius for the file before it was resized, in that file's own values:"
        f" half of them reach {middle:g} or more. The curves here do not speak of it."
    )


def _judged(entry: Entry) -> str:
    summary, rows = entry.summary, entry.rows
    if not entry.judged_by_truth:
        if any(rows.clean):
            return (
                "No true label is known: an image counts where its smoothed label is the answer without"
                " noise."
            )
        return (
            "Neither a true label nor an answer without noise is known: an image counts whatever its"
            " label is."
        )
    parts = ["The label that the data set gives."]
    if summary.unmapped:
        parts.append(
            f"That of {summary.unmapped:,} images is no class of the provider’s label map: they count as not"
            " certified."
        )
    if summary.failed.k:
        parts.append(f"So do {summary.failed.k:,} that failed or could not be read.")
    if summary.planned > summary.images:
        parts.append(
            f"{summary.planned - summary.images:,} of {summary.planned:,} images were not come to and are in"
            " no figure."
        )
    return " ".join(parts)

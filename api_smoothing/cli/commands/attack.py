"""Attack a data set: how near is an image that is answered otherwise, and does any lie inside a certified radius?

Without --smoothed the answers to images as they are are attacked: pgd-l2 and pgd-linf follow the gradients of a local
model, square sees scores and hopskipjump answers alone, of any provider, on the budget. With --smoothed each image is
certified and then attacked with gradients through noise and denoiser, within its certified radius, where no more may
turn than α allows, and at four times that, which shows that the attack can. Distances are in [0,1] units of the image
as it was given; every attacked image has 8 bits and lies in its ball, which whole numbers decide.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.cli.consent import agreed_to_range
from api_smoothing.cli.datasets import add_dataset_flags, open_named
from api_smoothing.cli.json_output import print_json
from api_smoothing.cli.limits import limited
from api_smoothing.cli.progress import Progress
from api_smoothing.cli.resume import (
    how_to_resume,
    is_limited,
    run_name,
    what_is_left,
    with_larger_budget,
)
from api_smoothing.cli.settings import add_setting_flags
from api_smoothing.cli.smoothing import (
    FACADE,
    add_retry_flag,
    add_sandbox_flag,
    add_yes_flag,
    complain,
    open_api,
    settings_of,
)
from api_smoothing.cli.stopping import exit_code
from api_smoothing.errors import BudgetError, ConfigurationError, ProviderError
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api_smoothing.attacks import Attacked, Verdict
    from api_smoothing.attacks.undefended import Attack
    from api_smoothing.datasets import DataSet
    from api_smoothing.smoothed import SmoothedAPI

SUMMARY = "attack a data set, inside certified radii too"
EXAMPLE = "api-smooth attack cat.png --attack pgd-linf --eps 0.03 --steps 5"
SETTINGS = ("n", *FACADE)
ATTACKS: Final = ("pgd-l2", "pgd-linf", "square", "hopskipjump")
_RADIUS: Final = {"pgd-l2": 0.5, "pgd-linf": 8 / 255, "square": 8 / 255}
_CERTIFY: Final = 1_000
#: Of PGD, without --smoothed and with it.
_STEPS: Final = {False: 40, True: 20}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="+", metavar="DATASET|IMAGE", help="a data set, or images and folders"
    )
    parser.add_argument(
        "--attack", choices=ATTACKS, default="pgd-l2", metavar="NAME", help=f"{', '.join(ATTACKS)} (pgd-l2)"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--radius", type=float, metavar="R", help="the ℓ2 ball of pgd-l2 (0.5)")
    size.add_argument(
        "--eps", type=float, metavar="E", help="the ℓ∞ ball of pgd-linf and square (8/255, 0.0314)"
    )
    parser.add_argument("--steps", type=int, metavar="K", help="of PGD (40; 20 with --smoothed)")
    parser.add_argument(
        "--restarts", type=int, default=2, metavar="K", help="of PGD, each with both losses (2)"
    )
    parser.add_argument(
        "--queries",
        type=int,
        default=1000,
        metavar="K",
        help="most an image, of square and hopskipjump (1000)",
    )
    parser.add_argument("--attack-seed", type=int, default=0, metavar="N", help="other random starts (0)")
    smoothed = parser.add_argument_group("the smoothed classifier")
    smoothed.add_argument("--smoothed", action="store_true", help="certify each image, then attack that")
    smoothed.add_argument(
        "--factors", default="1,4", metavar="F,F,…", help="times the certified radius (1,4); or --radius R"
    )
    smoothed.add_argument("--eot", type=int, default=8, metavar="K", help="draws of the noise a step (8)")
    smoothed.add_argument(
        "--votes", type=int, default=1000, metavar="K", help="fresh ones on what is found (1000)"
    )
    add_dataset_flags(parser)
    add_setting_flags(parser, SETTINGS, n=f"answers for a certificate, with --smoothed (default: {_CERTIFY})")
    add_sandbox_flag(parser)
    add_retry_flag(parser)
    add_yes_flag(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write the images that turned the answer"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    settings = settings_of(args, SETTINGS)
    _check(args)
    if not isinstance(settings.n, int):
        settings = replace(settings, n=_CERTIFY)
    limits = limited(settings, sandbox=args.sandbox)
    settings = limits.settings
    if settings.run is None and is_limited(settings):
        settings = replace(settings, run=run_name(settings, args.source, about=f"attack {args.sandbox}"))
    data = open_named(args, args.source)
    usd = 0.0 if limits.price is None or limits.sandbox else limits.price.micro_usd / 1e6
    if usd and not agreed_to_range(usd * len(data), usd * len(data) * (args.queries + 1), yes=args.yes):
        return 0
    progress = Progress(sys.stderr, 0, summaries=False)
    progress.say("loading …")
    done: list[Attacked] = []
    try:
        with open_api(settings, sandbox=args.sandbox, retry_failures=args.retry_failures) as api:
            limits.told()
            for one in _attacked(args, api, data, settings.n):
                done.append(one)
                progress.say(f"{len(done):,} of {len(data):,} images")
    except KeyboardInterrupt as stop:
        progress.clear()
        complain(f"interrupted; {how_to_resume(settings, argv, answered=bool(done))}")
        return exit_code(stop)
    except ProviderError as error:
        progress.clear()
        complain(f"error: {error}; {how_to_resume(settings, argv, answered=bool(done))}")
        return error.exit_code
    progress.clear()
    found = _verdict(args, done)
    if args.output is not None:
        _write(done, data, args.output)
    if args.json:
        print_json(_facts(args, data, done, found))
    else:
        _print(args, done, found)
    if len(done) < len(data):
        again = with_larger_budget(settings, argv, account=limits.account)
        complain(
            f"error: the budget {what_is_left(settings, limits.account)}; {len(done):,} of {len(data):,} images "
            f"attacked, {how_to_resume(settings, again, answered=bool(done))}"
        )
        return BudgetError.exit_code
    return 0 if found is None or found.holds else 1


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together, before anything is loaded."""
    if args.smoothed and args.attack != "pgd-l2":
        raise ConfigurationError(f"--smoothed certifies in ℓ2 and is attacked by pgd-l2, not {args.attack}")
    if args.radius is not None and args.attack != "pgd-l2":
        raise ConfigurationError(f"--radius is the ball of pgd-l2; {_other_ball(args.attack)}")
    if args.eps is not None and args.attack not in ("pgd-linf", "square"):
        raise ConfigurationError(f"--eps is the ball of pgd-linf and square; {_other_ball(args.attack)}")
    _factors(args.factors)


def _other_ball(attack: str) -> str:
    if attack == "hopskipjump":
        return "hopskipjump has none: it looks for the nearest image"
    return f"{attack} takes {'--radius' if attack == 'pgd-l2' else '--eps'}"


def _factors(text: str) -> tuple[float, ...]:
    try:
        found = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        found = ()
    if not found or min(found) <= 0:
        raise ConfigurationError(
            f"--factors must be numbers above 0 with commas between, such as 1,4, not {text!r}"
        )
    return found


def _attacked(args: argparse.Namespace, api: SmoothedAPI, data: DataSet, n: Any) -> Iterator[Attacked]:
    from api_smoothing.attacks import Holding, attack_answers, attack_certificates
    from api_smoothing.datasets import map_truths

    truths = map_truths(data, api.label_map, api.card.labels)
    for line in truths.told:
        complain(line)
    if not args.smoothed:
        return attack_answers(api, data, truths, _attack(args))
    holding = Holding(
        factors=_factors(args.factors),
        radius=args.radius,
        steps=args.steps or _STEPS[True],
        restarts=args.restarts,
        eot=args.eot,
        votes=args.votes,
        seed=args.attack_seed,
    )
    return attack_certificates(api, data, truths, holding, n=n)


def _attack(args: argparse.Namespace) -> Attack:
    from api_smoothing.attacks import PGD, HopSkipJump, Square

    given = args.radius if args.attack == "pgd-l2" else args.eps
    radius = _RADIUS.get(args.attack, 0.0) if given is None else given
    if args.attack == "hopskipjump":
        return HopSkipJump(queries=args.queries, seed=args.attack_seed)
    if args.attack == "square":
        return Square(radius=radius, queries=args.queries, seed=args.attack_seed)
    return PGD(
        norm="l2" if args.attack == "pgd-l2" else "linf",
        radius=radius,
        steps=args.steps or _STEPS[False],
        restarts=args.restarts,
        seed=args.attack_seed,
    )


def _verdict(args: argparse.Namespace, done: Sequence[Attacked]) -> Verdict | None:
    from api_smoothing.attacks import verdict

    if not args.smoothed:
        return None
    found = verdict(done)
    return found if found.images else None


def _turned(done: Iterable[Attacked]) -> dict[str, Any]:
    """How many of those that could be attacked were turned, with the exact 95 % interval."""
    from api_smoothing.claims import intervals

    tried = [one for one in done if not one.reason]
    k = sum(one.distance is not None for one in tried)
    low, high = intervals.exact(k, len(tried))
    return {"k": k, "n": len(tried), "low": low, "high": high}


def _facts(
    args: argparse.Namespace, data: DataSet, done: Sequence[Attacked], found: Verdict | None
) -> dict[str, Any]:
    right = [one for one in done if one.right is not None]
    return {
        "dataset": data.name,
        "attack": args.attack,
        "smoothed": args.smoothed,
        "images": [one.to_dict() for one in done],
        "turned": _turned(done),
        "right": {"k": sum(bool(one.right) for one in right), "n": len(right)},
        "right_and_not_turned": sum(bool(one.right) and one.distance is None for one in right),
        "verdict": None if found is None else found.to_dict(),
    }


def _print(args: argparse.Namespace, done: Sequence[Attacked], found: Verdict | None) -> None:
    rows = [("image", "label", "certified", "≤ true ≤", "attack", "queries", "")]
    for one in done:
        rows.append(
            (
                one.id,
                one.label or "none",
                "–" if one.certified is None else f"{one.certified:.4f}",
                "",
                "none found" if one.distance is None else f"{one.distance:.4f}",
                f"{one.queries:,}",
                one.reason or "; ".join(_votes(attempt) for attempt in one.attempts),
            )
        )
    widths = [max(len(shown(row[i])) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [f"{shown(cell):<{width}}" for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, shown(row[-1])]).rstrip())
    for line in _totals(args, done, found):
        print(line)


def _votes(attempt: Any) -> str:
    where = f"{attempt.radius:.4g}" if attempt.factor is None else f"{attempt.factor:g} ×"
    if attempt.votes is None:
        return f"{where}: nothing to change"
    return f"{where}: {attempt.votes.k} of {attempt.votes.n} votes"


def _totals(args: argparse.Namespace, done: Sequence[Attacked], found: Verdict | None) -> Iterator[str]:
    turned = _turned(done)
    share = f"95 % interval {turned['low']:.1%} to {turned['high']:.1%}"
    yield f"turned: {turned['k']} of {turned['n']} ({share})"
    right = [one for one in done if one.right is not None]
    if right:
        kept = sum(bool(one.right) and one.distance is None for one in right)
        yield f"right: {sum(bool(one.right) for one in right)} of {len(right)}; right and not turned: {kept}"
    if found is not None:
        yield (
            f"inside the certified radius: {found.turned} of {found.images} turned "
            f"(95 % interval {found.low:.1%} to {found.high:.1%}); "
            + (
                f"α allows that (p = {found.p_value:.2g})"
                if found.holds
                else f"that is more than α allows (p = {found.p_value:.2g}): these certificates do not hold"
            )
        )
        if found.outside:
            most = max(_factors(args.factors))
            yield f"the same attack at {most:g} times the radius: {found.power} of {found.outside} turned"
    if args.output is not None:
        yield f"{shown(str(args.output))}: the images that turned the answer: {turned['k']}"


def _write(done: Sequence[Attacked], data: DataSet, folder: Path) -> None:
    from PIL import Image

    from api_smoothing.corruptions.writing import file_names

    files = file_names(data)
    for one in done:
        if one.image is None:
            continue
        path = folder / files[one.id]
        if one.path is not None and path.resolve() == Path(one.path).resolve():
            raise ConfigurationError(f"--output {folder} would write over {one.path}: name another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one.image).save(path)

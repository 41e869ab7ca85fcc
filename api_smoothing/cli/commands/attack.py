"""Attack a data set: how near is an image that is answered otherwise, and does any lie inside a certified radius?

Without --smoothed the answers to images as they are are attacked: pgd-l2 and pgd-linf follow the gradients of a local
model, square sees scores and hopskipjump answers alone, of any provider, on the budget. With --smoothed each image is
certified and then attacked with gradients through noise and denoiser, within its certified radius, where no more may
turn than α allows, and at four times that, which shows that the attack can. A run file of `evaluate` in place of a data
set has its certificates attacked so; what was found lies beside it, as RUN.attacks.jsonl, for `report`. --from lends
the gradients of local models to a provider that has none. Distances are in [0,1] units of the image as it was given;
every attacked image has 8 bits and lies in its ball, which whole numbers decide.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
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
from api_smoothing.cli.settings import Settings, add_setting_flags
from api_smoothing.cli.smoothing import (
    FACADE,
    add_retry_flag,
    add_sandbox_flag,
    add_yes_flag,
    complain,
    open_api,
    settings_of,
)
from api_smoothing.cli.stopping import exit_code, tell
from api_smoothing.errors import BudgetError, ConfigurationError, CredentialsError, ProviderError
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api_smoothing.attacks import Attacked, Verdict
    from api_smoothing.attacks.ball import Norm
    from api_smoothing.attacks.twins import Twin
    from api_smoothing.attacks.undefended import Attack
    from api_smoothing.datasets import DataSet, Truths
    from api_smoothing.recorded import Run
    from api_smoothing.smoothed import SmoothedAPI

SUMMARY = "attack a data set, inside certified radii too"
EXAMPLE = "api-smooth attack cat.png --attack pgd-linf --eps 0.03 --steps 5"
SETTINGS = ("n", *FACADE)
ATTACKS: Final = ("pgd-l2", "pgd-linf", "square", "square-l2", "hopskipjump")
_RADIUS: Final = {"pgd-l2": 0.5, "pgd-linf": 8 / 255, "square": 8 / 255, "square-l2": 0.5}
_L2: Final = ("pgd-l2", "square-l2")
_LINF: Final = ("pgd-linf", "square")
#: Of a run file's settings, the flags that they stand for where none is given.
_OF_RUN: Final = ("sigma", "alpha", "noise", "size")
_CERTIFY: Final = 1_000
#: Of PGD, without --smoothed and with it.
_STEPS: Final = {False: 40, True: 20}
_NARROW: Final = 4  # of a run file: what is reported is to be near the truth


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="+",
        metavar="DATASET|IMAGE|RUN",
        help="a data set, or images and folders; or a run file (.jsonl), with its data set where that has no files",
    )
    parser.add_argument(
        "--attack", choices=ATTACKS, default="pgd-l2", metavar="NAME", help=f"{', '.join(ATTACKS)} (pgd-l2)"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--radius", type=number, metavar="R", help="the ℓ2 ball of pgd-l2 and square-l2 (0.5)")
    size.add_argument(
        "--eps", type=number, metavar="E", help="the ℓ∞ ball of pgd-linf and square (8/255, 0.0314)"
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
    parser.add_argument(
        "--from",
        dest="lenders",
        metavar="NAME,NAME,…",
        help="follow the gradients of these local models in place of the provider's: cifar10, a torchvision model, or "
        "FOLDER/NAME",
    )
    parser.add_argument("--attack-seed", type=int, default=0, metavar="N", help="other random starts (0)")
    smoothed = parser.add_argument_group("the smoothed classifier")
    smoothed.add_argument("--smoothed", action="store_true", help="certify each image, then attack that")
    smoothed.add_argument(
        "--factors", default="1,4", metavar="F,F,…", help="times the certified radius (1,4); or --radius R"
    )
    smoothed.add_argument(
        "--narrow",
        type=int,
        metavar="K",
        help="attacks more on what was turned, each halving what is left to the certified radius (0; of a run file 4)",
    )
    smoothed.add_argument(
        "--path",
        choices=("resampled", "fixed"),
        default="resampled",
        metavar="HOW",
        help="the chance of a denoiser's reverse path, in each draw: resampled, as certified, or fixed (resampled)",
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


def number(text: str) -> float:
    """As 0.03 or 8/255. Raises ValueError."""
    try:
        return float(Fraction(text))
    except (ZeroDivisionError, OverflowError):
        raise ValueError(text) from None


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    recorded = _run_of(args)
    settings = settings_of(args, SETTINGS)
    _check(args)
    if not isinstance(settings.n, int):
        settings = replace(settings, n=_CERTIFY)
    limits = limited(settings, sandbox=args.sandbox)
    settings = limits.settings
    if settings.run is None and is_limited(settings):
        settings = replace(settings, run=run_name(settings, args.source, about=f"attack {args.sandbox}"))
    data = open_named(args, args.source) if recorded is None else _images_of(args, recorded)
    usd = 0.0 if limits.price is None or limits.sandbox else limits.price.micro_usd / 1e6
    least, most = _queries(args, 0 if recorded else settings.n)
    if usd and not agreed_to_range(usd * len(data) * least, usd * len(data) * most, yes=args.yes):
        return 0
    progress = Progress(sys.stderr, 0, summaries=False)
    progress.say("loading …")
    done: list[Attacked] = []
    begun = False
    try:
        with open_api(
            settings,
            sandbox=args.sandbox,
            retry_failures=args.retry_failures,
            goes_on=recorded is not None,
        ) as api:
            limits.told()
            begun = True  # from now on an image may have been paid for in part
            for one in _attacked(args, api, data, settings, recorded):
                done.append(one)
                progress.say(f"{len(done):,} of {len(data):,} images")
    except KeyboardInterrupt as stop:
        progress.clear()
        complain(f"interrupted; {how_to_resume(settings, argv, answered=begun)}")
        return exit_code(stop)
    except ProviderError as error:
        progress.clear()
        asked = begun and (bool(done) or not isinstance(error, CredentialsError))
        complain(f"error: {error}; {how_to_resume(settings, argv, answered=asked)}")
        return error.exit_code
    progress.clear()
    found = _verdict(args, done)
    if args.json:
        print_json(_facts(args, data, done, found))
    else:
        _print(args, done, found)
    if args.output is not None:  # last: where that cannot be written, what was paid for is told
        _write(done, data, args.output)
    if recorded is not None:
        from api_smoothing.recorded.attacked import file_beside

        tell(f"written: {file_beside(recorded.path)}, which `api-smooth report {recorded.path}` joins")
    if len(done) < len(data):
        again = with_larger_budget(settings, argv, account=limits.account)
        complain(
            f"error: the budget {what_is_left(settings, limits.account)}; {len(done):,} of {len(data):,} images "
            f"attacked, {how_to_resume(settings, again)}"
        )
        return BudgetError.exit_code
    return 0 if found is None or found.holds else 1


def _run_of(args: argparse.Namespace) -> Run | None:
    """The run file on the command line, if there is one; its settings are those that no flag gives."""
    if not args.source[0].endswith(".jsonl"):
        return None
    from api_smoothing.datasets.base import at_least_one
    from api_smoothing.recorded import read_run

    found = read_run(args.source[0])
    if args.sample is not None or args.sample_seed is not None:
        raise ConfigurationError(
            "the certificates of a run file are attacked in its order: --limit K takes the first"
        )
    if args.limit is not None:
        found = replace(found, certificates=found.certificates[: at_least_one("--limit", args.limit)])
        args.limit = None  # of the certificates, not of the data set
    settings = found.header.settings
    args.smoothed, args.source = True, args.source[1:]
    given = {name: settings.get(name) for name in _OF_RUN}
    provider, _, model = str(settings.get("provider", "")).partition("/")
    provider, _, where = provider.partition("@")
    args.sandbox |= where == "sandbox"
    given |= {"provider": provider}
    if provider == "torchvision" and args.provider is None:
        given |= {"model": model}
    given |= {"denoiser": str(settings["denoiser"] or "none").partition("@")[0]}
    if settings.get("label_map"):
        given |= {"labels": str(settings["label_map"]).partition("@")[0]}
    for name, value in given.items():
        if getattr(args, name, None) is None and value is not None:
            setattr(args, name, "x".join(map(str, value)) if isinstance(value, list) else str(value))
    return found


def _images_of(args: argparse.Namespace, recorded: Run) -> DataSet:
    """The images of a run: of the data set that is named beside it, or the files that it names."""
    from api_smoothing.datasets.base import DataSet, Example
    from api_smoothing.recorded.run import item_of

    named = {example.id: example for example in (open_named(args, args.source) if args.source else ())}
    examples = []
    for found in recorded.certificates:
        item = item_of(found)
        path = found.item["path"] if found.item is not None else found.image
        if item in named:
            examples.append(named[item])
        elif path is not None:
            examples.append(Example(id=item, image=path, path=path))
    if not examples:
        raise ConfigurationError(
            f"{recorded.path} has no certified image that is a file: name its data set after it"
        )
    return DataSet(name=recorded.name, examples=tuple(examples))


def _queries(args: argparse.Namespace, n: int | Any) -> tuple[int, int]:
    """The fewest and the most an image may take."""
    if not args.smoothed:
        return 1, 1 + (args.queries if args.attack not in ("pgd-l2", "pgd-linf") else 1)
    attempts = 1 if args.radius is not None else len(_factors(args.factors))
    return n, n + (attempts + (args.narrow or 0)) * args.votes


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together, before anything is loaded."""
    if args.smoothed and args.attack != "pgd-l2":
        raise ConfigurationError(f"--smoothed certifies in ℓ2 and is attacked by pgd-l2, not {args.attack}")
    if args.lenders is not None and not args.attack.startswith("pgd"):
        raise ConfigurationError(
            f"--from lends gradients, which pgd-l2 and pgd-linf follow, not {args.attack}"
        )
    if args.narrow is not None and args.narrow < 0:
        raise ConfigurationError(f"--narrow must be 0 or more, not {args.narrow}")
    if args.radius is not None and args.attack not in _L2:
        raise ConfigurationError(f"--radius is the ball of pgd-l2 and square-l2; {_other_ball(args.attack)}")
    if args.eps is not None and args.attack not in _LINF:
        raise ConfigurationError(f"--eps is the ball of pgd-linf and square; {_other_ball(args.attack)}")
    _factors(args.factors)


def _other_ball(attack: str) -> str:
    if attack == "hopskipjump":
        return "hopskipjump has none: it looks for the nearest image"
    return f"{attack} takes {'--radius' if attack in _L2 else '--eps'}"


def _factors(text: str) -> tuple[float, ...]:
    try:
        found = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        found = ()
    if not found or not all(0 < factor < math.inf for factor in found):
        raise ConfigurationError(
            f"--factors must be numbers above 0 with commas between, such as 1,4, not {text!r}"
        )
    return found


def _attacked(
    args: argparse.Namespace, api: SmoothedAPI, data: DataSet, settings: Settings, recorded: Run | None
) -> Iterator[Attacked]:
    from api_smoothing.attacks import Holding, attack_answers, attack_certificates, attack_run
    from api_smoothing.datasets import map_truths
    from api_smoothing.recorded.attacked import file_beside

    twins = _twins(args, settings.device)
    if not args.smoothed:
        return attack_answers(
            api, data, _told(map_truths(data, api.label_map, api.card.labels)), _attack(args), twins=twins
        )
    narrow = _NARROW if args.narrow is None and recorded is not None else args.narrow
    holding = Holding(
        factors=_factors(args.factors),
        radius=args.radius,
        steps=_STEPS[True] if args.steps is None else args.steps,
        restarts=args.restarts,
        eot=args.eot,
        votes=args.votes,
        narrow=narrow or 0,
        seed=args.attack_seed,
    )
    if recorded is not None:
        examples = {example.id: example for example in data}
        return attack_run(
            api, recorded, examples, holding, file_beside(recorded.path), twins=twins, path=args.path
        )
    truths = _told(map_truths(data, api.label_map, api.card.labels))
    return attack_certificates(api, data, truths, holding, n=settings.n, twins=twins, path=args.path)


def _told(truths: Truths) -> Truths:
    for line in truths.told:
        complain(line)
    return truths


def _twins(args: argparse.Namespace, device: str) -> list[Twin]:
    """The models that lend gradients."""
    if args.lenders is None:
        return []
    from api_smoothing.attacks import Twin
    from api_smoothing.convnet import CLASSES
    from api_smoothing.engine import parts
    from api_smoothing.purification import load_named_classifier

    place, found = parts.device(device), []
    for name in map(str.strip, args.lenders.split(",")):
        net, names = load_named_classifier(name, place)
        side = 32 if names == CLASSES else None
        found.append(Twin(name=name, model=net, names=names, side=side, device=place))
    return found


def _attack(args: argparse.Namespace) -> Attack:
    from api_smoothing.attacks import PGD, HopSkipJump, Square

    given = args.radius if args.attack in _L2 else args.eps
    radius = _RADIUS.get(args.attack, 0.0) if given is None else given
    if args.attack == "hopskipjump":
        return HopSkipJump(queries=args.queries, seed=args.attack_seed)
    norm: Norm = "l2" if args.attack in _L2 else "linf"
    if args.attack.startswith("square"):
        return Square(norm=norm, radius=radius, queries=args.queries, seed=args.attack_seed)
    return PGD(
        norm=norm,
        radius=radius,
        steps=_STEPS[False] if args.steps is None else args.steps,
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


def _right(done: Iterable[Attacked]) -> dict[str, int]:
    """Of the images whose truth is known, those answered rightly: turned or not, or never attacked, see `reason`."""
    known = [one for one in done if one.right is not None]
    right = [one for one in known if one.right]
    return {
        "k": len(right),
        "n": len(known),
        "kept": sum(one.distance is None and not one.reason for one in right),
        "unattacked": sum(bool(one.reason) for one in right),
    }


def _facts(
    args: argparse.Namespace, data: DataSet, done: Sequence[Attacked], found: Verdict | None
) -> dict[str, Any]:
    right = _right(done)
    return {
        "dataset": data.name,
        "attack": args.attack,
        "smoothed": args.smoothed,
        "from": args.lenders.split(",") if args.lenders else [],
        "path": args.path if args.smoothed else None,
        "images": [one.to_dict() for one in done],
        "turned": _turned(done),
        "right": {"k": right["k"], "n": right["n"]},
        "right_and_not_turned": right["kept"],
        "right_and_not_attacked": right["unattacked"],
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
                one.reason or "; ".join([*_broken(one), *(_votes(attempt) for attempt in one.attempts)]),
            )
        )
    widths = [max(len(shown(row[i])) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [f"{shown(cell):<{width}}" for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, shown(row[-1])]).rstrip())
    for line in _totals(args, done, found):
        print(line)


def _broken(one: Attacked) -> list[str]:
    """What must be seen at once."""
    return ["TURNED INSIDE ITS CERTIFIED RADIUS"] if one.inside is not None and one.inside.turned else []


def _votes(attempt: Any) -> str:
    where = f"{attempt.radius:.4g}" if attempt.factor is None else f"{attempt.factor:g} ×"
    if attempt.votes is None:
        return f"{where}: nothing to change"
    return f"{where}: {attempt.votes.k} of {attempt.votes.n} votes"


def _totals(args: argparse.Namespace, done: Sequence[Attacked], found: Verdict | None) -> Iterator[str]:
    turned = _turned(done)
    share = f"95 % interval {turned['low']:.1%} to {turned['high']:.1%}"
    yield f"turned: {turned['k']} of {turned['n']} ({share})"
    right = _right(done)
    if right["n"]:
        left_out = f"; right and not attacked: {right['unattacked']}" if right["unattacked"] else ""
        yield f"right: {right['k']} of {right['n']}; right and not turned: {right['kept']}{left_out}"
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
            factor = f"{max(_factors(args.factors)):g} times the radius"
            where = factor if args.radius is None else f"radius {args.radius:g}, beyond the certified one"
            little = ", so that a clean count inside says little" if 2 * found.power < found.outside else ""
            yield f"the same attack at {where}: {found.power} of {found.outside} turned{little}"
    for said in sorted({one.gradients for one in done if one.gradients}):
        yield f"followed: {said}"
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

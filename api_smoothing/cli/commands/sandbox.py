"""Serve a provider's real wire protocol on this machine, free of charge, until Ctrl-C.

The bundled classifier answers in the provider's own vocabulary. Standard output has the environment to export,
and on Ctrl-C the bill the provider would have sent.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from api_smoothing.cli.stopping import SIGNALS
from api_smoothing.errors import ConfigurationError
from api_smoothing.sandbox import KINDS, Faults, Meter, Request, Sandbox
from api_smoothing.shown import shown

if TYPE_CHECKING:
    from types import FrameType

SUMMARY = "serve a provider's wire protocol on this machine"
EXAMPLE = "api-smooth sandbox aws --fault 503=0.1 --rate 5"

_DEFAULT: Final = "http"  # needs no SDK
_STEPS: Final = 10_000  # rates of faults count in hundredths of a percent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "provider", nargs="?", default=_DEFAULT, metavar="PROVIDER",
        help=f"one with a sandbox, such as aws (default: {_DEFAULT}; a wrong name lists them)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=int, default=0, metavar="P", help="to listen on (default: any free one)"
    )
    parser.add_argument("--latency", type=float, default=0.0, metavar="S", help="seconds an answer takes")
    parser.add_argument("--rate", type=float, metavar="I", help="images a second, beyond which it throttles")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND=RATE",
        help="a share of requests that fail in this way, such as 503=0.1 (again for more; --fault list)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="of the faults (default: 0)")
    parser.add_argument("--verbose", action="store_true", help="a line on standard error for each request")
    parser.add_argument("--json", action="store_true", help="one JSON object at the start, one at the end")


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    if args.fault == ["list"]:
        print("\n".join(f"{kind:<21} {text}" for kind, text in KINDS.items()))
        return 0
    sandbox = Sandbox(
        args.provider,
        faults=_faults(args.fault, args.seed),
        latency=args.latency,
        rate=args.rate,
        port=args.port,
    )
    if args.verbose:
        sandbox.meter = _LoudMeter(micro_usd=sandbox.declared.micro_usd)
    stopped = threading.Event()
    heeded = [n for n in (signal.SIGINT, *SIGNALS) if signal.getsignal(n) is not signal.SIG_IGN]
    previous = [(number, signal.signal(number, _stop(stopped))) for number in heeded]
    try:
        with sandbox:
            print(json.dumps(_facts(sandbox)) if args.json else _describe(sandbox), flush=True)
            stopped.wait()
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
    print(json.dumps(_bill(sandbox.meter)) if args.json else _describe_bill(sandbox.meter))
    return 0


def _stop(stopped: threading.Event) -> Any:
    def handle(number: int, frame: FrameType | None) -> None:
        stopped.set()

    return handle


def _faults(given: Sequence[str], seed: int) -> Faults:
    """Faults of several kinds, each with a rate of its own."""
    steps: dict[str, int] = {}
    for text in given:
        kind, _, number = text.partition("=")
        if kind not in KINDS:
            raise ConfigurationError(
                f"--fault {text}: unknown kind {kind!r}; see: api-smooth sandbox --fault list"
            )
        try:
            rate = float(number)
        except ValueError:
            rate = math.nan
        if not 0 <= rate <= 1:
            raise ConfigurationError(f"--fault {text}: write KIND=RATE with a rate from 0 to 1")
        steps[kind] = steps.get(kind, 0) + round(rate * _STEPS)
    total = sum(steps.values())
    if total > _STEPS:
        raise ConfigurationError(f"the rates of --fault add up to {total / _STEPS:g}, more than 1")
    # Faults are drawn evenly from the kinds: one that is listed more often comes more often.
    common = math.gcd(*steps.values()) or 1
    kinds = [kind for kind, count in steps.items() for _ in range(count // common)]
    return Faults(rate=total / _STEPS, kinds=kinds, seed=seed)


class _LoudMeter(Meter):
    """A meter that also says what it sees."""

    def record(self, request: Request) -> None:
        super().record(request)
        images = f"{request.images} image{'' if request.images == 1 else 's'}"
        fault = f", fault {request.fault}" if request.fault else ""
        line = f"{time.strftime('%H:%M:%S')} {shown(request.operation)}: {images}, {request.status}{fault}"
        print(f"{line}, {request.billed} billed", file=sys.stderr, flush=True)


def _facts(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "provider": sandbox.provider,
        "endpoint": sandbox.endpoint,
        "environment": sandbox.environment(),
    }


def _bill(meter: Meter) -> dict[str, Any]:
    return {
        "requests": meter.requests,
        "images": meter.images,
        "billed": meter.billed,
        "micro_usd": meter.micro_usd,
    }


def _describe(sandbox: Sandbox) -> str:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in sandbox.environment().items()]
    settings = (
        "--labels cifar10 --sigma 0.12 --radius 0.1"  # what the bundled classifier can be certified for
    )
    example = f"api-smooth certify cat.png --provider {sandbox.provider}{_flags(sandbox)} {settings}"
    return "\n".join(
        [
            f"The {sandbox.provider} sandbox listens on {sandbox.endpoint}. In another terminal:",
            "",
            *exports,
            example,
            "",
            "Ctrl-C stops it and shows the bill.",
        ]
    )


def _flags(sandbox: Sandbox) -> str:
    """What the provider's flags must say: its options, and the address where no variable has that."""
    options = dict(sandbox.declared.example)
    model = options.pop("model", None) or sandbox.options().get("model")
    if sandbox.endpoint not in sandbox.environment().values():
        options |= {"endpoint": sandbox.endpoint, "endpoint_id": "sandbox"}
    told = ",".join(
        f"{name}={'|'.join(value) if isinstance(value, list) else value}" for name, value in options.items()
    )
    return (f" --model {model}" if model else "") + (f" --options {shlex.quote(told)}" if told else "")


def _describe_bill(meter: Meter) -> str:
    return (
        f"{meter.requests:,} requests with {meter.images:,} images, {meter.billed:,} of them billed: "
        f"${meter.micro_usd / 1e6:,.4f} at list prices; nothing was charged"
    )

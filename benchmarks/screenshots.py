"""Pictures of a report in a real browser, and what it finds: `python benchmarks/screenshots.py REPORT --out DIR`.

REPORT is a page or run files. At 390 and 1280 pixels, light and dark, without a script, and as it prints: a PNG
each (and a PDF).
Exit code 1 where the page asks the network for anything, complains, is wider than the window, or where axe-core (`--axe
axe.min.js`, from `npm pack axe-core`) finds something serious. Chromium is Debian's: `apt-get install chromium`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # also as a script, which is run from elsewhere

import browser

VIEWS = [(390, False), (390, True), (1280, False), (1280, True)]
#: Control, its selector, a key, and what the key must change.
USES = [
    ("theme", ".theme", "Enter", "getComputedStyle(document.body).backgroundColor"),
    ("slider", "#radius", "ArrowRight", "document.querySelector('#radius-is').textContent"),
    (
        "sort",
        "#all th:nth-child(5) button",
        "Enter",
        "document.querySelector('#all th:nth-child(5)').ariaSort",
    ),
    (
        "sort back",
        "#all th:nth-child(5) button",
        "Enter",
        "document.querySelector('#all th:nth-child(5)').ariaSort",
    ),
    ("outcome", "#outcome", "ArrowDown", "document.querySelector('#page-is').textContent"),
    ("gallery", "#kind", "ArrowDown", "document.querySelector('#card-count').textContent"),
]
SERIOUS = ("serious", "critical")


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    program = browser.find(args.browser)
    if program is None:
        print("no browser: apt-get install chromium, or --browser PROGRAM", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    page = args.report[0] if args.report[0].suffix == ".html" else _made(args.report, args.out)
    axe = None if args.axe is None else args.axe.read_text(encoding="utf-8")
    with browser.opened(program) as opened:
        faults = shots(opened, page, args.out, axe)
    print(
        "\n".join(faults) or f"no fault; pictures in {args.out}" + ("" if axe else "; axe-core was not asked")
    )
    return 1 if faults else 0


def shots(opened: browser.Page, page: Path, out: Path, axe: str | None) -> list[str]:
    """Takes all pictures; the faults found on the way."""
    faults = []
    for width, dark in VIEWS:
        name = f"{width}-{'dark' if dark else 'light'}"
        opened.open(page, width=width, height=900, dark=dark)
        opened.picture(out / f"{name}.png")
        wide = opened.value("document.documentElement.scrollWidth")
        if wide > width:
            faults.append(f"{name}: the page is {wide} pixels wide")
        if axe is not None:
            faults += [f"{name}: {found}" for found in checked(opened, axe)]
    faults += used(opened)
    opened.send("Emulation.setScriptExecutionDisabled", value=True)
    opened.open(page, width=1280, height=900, dark=False)
    opened.picture(out / "no-script.png")
    opened.open(page, width=794, height=1123, dark=True, media="print")
    opened.picture(out / "print.png")
    opened.pdf(out / "print.pdf")
    faults += [f"network: {url}" for url in opened.called]
    faults += [f"console: {text}" for text in opened.complaints]
    return faults


def used(opened: browser.Page) -> list[str]:
    """What does not work by keyboard alone, in the page that is open: the theme, the slider, sorting, filters."""
    faults = []
    for name, focus, key, script in USES:
        before = opened.value(script)
        opened.value(f"document.querySelector({json.dumps(focus)}).focus()")
        opened.press(key)
        after = opened.value(script)
        if before == after:
            faults.append(f"keyboard: {name}: {key} changes nothing ({before!r})")
    return faults


def checked(opened: browser.Page, axe: str) -> list[str]:
    """What axe-core finds that is serious or worse: rule, how often, where first."""
    opened.value(axe + ";0")
    found: list[dict[str, Any]] = opened.value(
        "axe.run({resultTypes: ['violations']}).then(r => r.violations.map(v => "
        "({id: v.id, impact: v.impact, count: v.nodes.length, where: v.nodes[0].html.slice(0, 160), "
        "why: v.nodes[0].failureSummary})))"
    )
    for one in found:
        if one["impact"] not in SERIOUS:
            print(f"axe, {one['impact']}: {one['id']}, {one['count']} times, as {one['where']}")
    return [
        f"axe, {one['impact']}: {one['id']}, {one['count']} times, as {one['where']}: {one['why']}"
        for one in found
        if one["impact"] in SERIOUS
    ]


def _made(runs: list[Path], out: Path) -> Path:
    from api_smoothing import report

    page = out / "report.html"
    page.write_text(report.html([report.read(run) for run in runs]), encoding="utf-8")
    return page


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", nargs="+", type=Path, help="a page (.html), or run files to make one of")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pictures go")
    parser.add_argument("--axe", type=Path, metavar="FILE", help="axe.min.js of axe-core")
    parser.add_argument("--browser", metavar="PROGRAM", help="default: the first Chromium there is")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

"""Figures and names as the report writes them: rounded so that nothing claims more, safe in HTML, without a home."""

from __future__ import annotations

import html
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from api_smoothing.shown import shown

#: A key inside a longer text; `shown.as_shown` knows those that stand alone.
_KEY: Final = re.compile(r"(AIza|AKIA|ASIA|ya29\.|sk-|Bearer )[\w./+=-]{8,}")
_HOME: Final = re.compile(r"(?:/home/|/Users/|[A-Za-z]:\\Users\\)[^/\\\s\"']+|/root(?=[/\s\"']|$)")
_LONGEST: Final = 80  # characters of a name, so that 10,000 of them stay small


def told(text: object) -> str:
    """Text from a file as it may be shown to others: on one line, without a key and without whose home it was."""
    here, home = str(text), os.path.expanduser("~")
    if len(home) > 1:
        here = here.replace(home, "~")
    return shown(_KEY.sub("(a key)", _HOME.sub("~", here)))


def escaped(text: object) -> str:
    """`told` text for HTML, in an element or in a quoted attribute."""
    return html.escape(told(text), quote=True)


def short(text: object, most: int = _LONGEST) -> str:
    """`told` text of at most `most` characters: what is too much leaves the middle."""
    whole = told(text)
    if len(whole) <= most:
        return whole
    head = (most - 1) // 3
    return f"{whole[:head]}…{whole[len(whole) - (most - 1 - head) :]}"


def file_name(text: object) -> str:
    """`told` text; of a whole path its last part alone."""
    whole = told(text).rstrip("/\\")
    return re.split(r"[/\\]", whole)[-1] if re.match(r"/|\\|~|[A-Za-z]:[/\\]", whole) else whole


def named(text: object) -> str:
    """A label as HTML, of a length that a page can bear."""
    return escaped(short(text))


def in_script(value: Any) -> str:
    """Compact JSON that may stand in a <script> element: nothing in it can end one, or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def percent(share: float | None, digits: int = 1) -> str:
    """A share as "47.0 %"; a dash where there is none."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def between(low: float, high: float) -> str:
    """An interval of shares, rounded outwards: "39.9–54.3 %"."""
    return f"{math.floor(1000 * low + 1e-9) / 10:.1f}–{math.ceil(1000 * high - 1e-9) / 10:.1f} %"


def points(low: float, high: float) -> str:
    """An interval of a difference in percentage points, rounded outwards: "−3.1 to +4.0"."""
    return f"{signed(math.floor(1000 * low + 1e-9) / 10)} to {signed(math.ceil(1000 * high - 1e-9) / 10)}"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, the true minus: "+1.5", "−0.3", "0.0"."""
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else f"{'−' if value < 0 else '+'}{text}"


def p_value(p: float) -> str:
    """A p-value: "0.031", "< 0.0001"; rounded up."""
    return "< 0.0001" if p < 1e-4 else f"{min(1.0, math.ceil(p * 1e4 - 1e-6) / 1e4):.4g}"


def floored(radius: float, digits: int = 4) -> float:
    """A radius rounded down: a report never shows more than was certified."""
    scale: float = 10.0**digits
    return math.floor(radius * scale + 1e-9) / scale


def dollars(usd: float) -> str:
    """An amount: "$0.0042", "$12.50"."""
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"


def average(value: float, low: float, high: float) -> tuple[str, str]:
    """A mean radius and its interval, rounded outwards; dashes where there is none."""
    if any(map(math.isnan, (value, low, high))):
        return "–", "–"
    return f"{value:.4f}", f"{floored(low):.4f}–{math.ceil(high * 1e4 - 1e-9) / 1e4:.4f}"


def duration(seconds: float) -> str:
    """A time in its two largest units; a dash for 0, which stands for one that is not known."""
    if not seconds:
        return "–"
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def common_folder(paths: Iterable[str]) -> str:
    """The folder that all `paths` lie in, with its last slash; "" where there is none."""
    every = list(paths)
    if not every:
        return ""
    low, high = min(every), max(every)
    same = next(
        (i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high))
    )
    return low[: low[:same].rfind("/") + 1]

"""A page a table or figure: ours beside the published, what differs, what was not run; and one page of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from api_smoothing.recorded.summary import share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_RUN = "not run"


@dataclass(kw_only=True)
class Page:
    """One table or figure. `about` says what is measured, on which images, with which n; `picture` shows it."""

    name: str
    title: str
    about: str
    tables: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    picture: Figure | None = None
    caption: str = ""

    def text(self, paper: str, level: int = 1) -> str:
        """Its Markdown; the picture is named as `write` names it."""
        parts = [f"{'#' * level} {self.title}", self.about, *self.tables]
        if self.picture is not None:
            parts.append(f"![{self.caption or self.title}]({paper}-{self.name}.png)")
        for words, items in (("What differs", self.differs), ("Not run", self.missing)):
            if items:
                parts.append(f"**{words}:** {'; '.join(items)}.")
        return "\n\n".join(parts) + "\n"


def write(
    pages: Sequence[Page], out: Path, *, paper: str, title: str, lead: str, absent: Sequence[str] = ()
) -> Path:
    """`PAPER-NAME.md` and `PAPER-NAME.png` for each page, and all of them as `PAPER.md`, which is returned.

    That one ends with what is `absent`.
    """
    out.mkdir(parents=True, exist_ok=True)
    for page in pages:
        (out / f"{paper}-{page.name}.md").write_text(page.text(paper), encoding="utf-8")
        if page.picture is not None:
            page.picture.savefig(out / f"{paper}-{page.name}.png", metadata={"Software": None})
    parts = [f"# {title}\n\n{lead}\n", *(page.text(paper, level=2) for page in pages)]
    if absent:
        parts.append(f"## What was not run\n\nOf the script's pages: {', '.join(absent)}.\n")
    whole = out / f"{paper}.md"
    whole.write_text("\n".join(parts), encoding="utf-8")
    return whole


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a row that is shorter than the head is filled up."""
    lines = [list(head), ["---"] * len(head), *([*row, *[""] * (len(head) - len(row))] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def per_cent(k: int, n: int) -> str:
    """`k` of `n` in per cent, with its exact 95 % interval."""
    found = share(k, n)
    return (
        NOT_RUN
        if found.value is None
        else f"{100 * found.value:.0f} ({100 * found.low:.0f}–{100 * found.high:.0f})"
    )


def published(value: float | str) -> str:
    """A figure that is not ours; a dash stays one."""
    return f"*{value:g}*" if isinstance(value, float | int) else value


def plain(text: str) -> str:
    """A row's name without its marks, as pictures have it."""
    return text.replace("*", "").replace("`", "")

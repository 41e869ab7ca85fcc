"""What mkdocs needs to build the site from the repository as it is: its hooks.

README, CHANGELOG, CONTRIBUTING and the benchmarks' own page become pages, with their links turned; files of the
repository that pages link to come along, so that no link leads outside. Pages that the navigation expects and that are
not there are left out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Pages of the site that lie elsewhere in the repository.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
#: Pages that the navigation has room for, whether they are there or not.
EXPECTED = ("evaluate.md", "claims.md", "evidence.md", "attacks.md", "store.md")
_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)]*)?(\))")


def in_site(path: Path) -> str:
    """Where a file of the repository lies in the site, relative to its top."""
    name = path.relative_to(ROOT).as_posix()
    return PAGES.get(name, name.removeprefix("docs/"))


def turned(text: str, source: Path) -> tuple[str, set[Path]]:
    """The text of a page with its links as they are in the site, and the files of the repository that come along."""
    brought = set()
    here = os.path.dirname(in_site(source))

    def turn(found: re.Match[str]) -> str:
        start, target, anchor, end = found.groups(default="")
        path = Path(os.path.normpath(source.parent / target))
        if path.is_file() and ROOT in path.parents:
            if path.parent != ROOT / "docs" and in_site(path) not in PAGES.values():
                brought.add(path)
            target = os.path.relpath(in_site(path), here or ".")
        return f"{start}{target}{anchor}{end}"

    return _LINK.sub(turn, text), brought


def on_config(config: Any) -> Any:
    """Leave out what is expected and not there."""
    config.nav = _kept(config.nav)
    return config


def _kept(entries: list[Any]) -> list[Any]:
    return [entry for entry in map(_there, entries) if entry is not None]


def _there(entry: Any) -> Any:
    if isinstance(entry, dict):
        ((title, inside),) = entry.items()
        kept = _kept(inside) if isinstance(inside, list) else _there(inside)
        return {title: kept} if kept else None
    return None if entry in EXPECTED and not (ROOT / "docs" / entry).is_file() else entry


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie elsewhere, and the files that pages link to."""
    from mkdocs.structure.files import File

    brought: set[Path] = set()
    for page in [*(ROOT / name for name in PAGES), *sorted((ROOT / "docs").glob("*.md"))]:
        text, files_of = turned(page.read_text(encoding="utf-8"), page)
        brought |= files_of
        if page.parent != ROOT / "docs":
            files.append(File.generated(config, in_site(page), content=text))
    for path in sorted(brought):
        files.append(File.generated(config, in_site(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of the pages in docs; those from elsewhere have been turned."""
    source = ROOT / "docs" / page.file.src_uri
    return turned(markdown, source)[0] if source.is_file() else markdown

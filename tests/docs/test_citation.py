"""CITATION.cff: of this version, and with the papers that the README names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api_smoothing.version import __version__

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_it_is_of_this_version() -> None:
    """Version and licence are the package's."""
    assert re.search(rf"^version: {re.escape(__version__)}$", TEXT, flags=re.M)
    assert re.search(r"^license: MIT$", TEXT, flags=re.M)


def test_the_papers_are_those_of_the_readme() -> None:
    """Each title among the README's references has its entry."""
    references = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## References\n")[2]
    titles = [title.rstrip(".").lower() for title in re.findall(r"\*([^*]+)\*", references)]
    assert len(titles) == 6
    assert not [title for title in titles if title not in TEXT.lower()]


def test_it_is_citation_file_format() -> None:
    """It is YAML with what the format asks for, in the file and in every reference."""
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load(TEXT)
    assert content["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(content)
    for reference in content["references"]:
        assert {"type", "title", "authors", "year"} <= set(reference)
        assert reference["type"] in ("article", "conference-paper")

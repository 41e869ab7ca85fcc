"""The documentation site: every link leads somewhere, every page has its place, and nothing is fetched by a reader."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

import api_smoothing

ROOT = Path(__file__).parents[2]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")),
         *sorted((ROOT / "docs").glob("*.md"))]  # fmt: skip
NAV = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """docs/hooks.py, which makes the site's pages of the repository's."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prose(page: Path) -> str:
    """The text of a page without its blocks of code, in which nothing is a heading or a link."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$|^<!--.*?-->$", "", text, flags=re.M | re.S)


def headings(page: Path) -> set[str]:
    """The anchors of a page that both the site and the repository's own view give to its headings."""
    found = [re.sub(r"[`*]", "", line) for line in re.findall(r"^#+ (.*)", prose(page), flags=re.M)]
    here = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
    plain = (unicodedata.normalize("NFKD", one).encode("ascii", "ignore").decode() for one in found)
    site = {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", one).strip().lower()) for one in plain}
    return here & site


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link or picture names a file that is there, and a heading that is in it."""
    targets = re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page))
    for target in targets:
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.is_file(), f"{page.name}: {target}"
        if heading:
            assert heading in headings(path), f"{page.name}: {target}"


def test_every_page_has_its_place(hooks: ModuleType) -> None:
    """The navigation names each page once, and none that is not there but those that are expected."""
    named = re.findall(r"^ +- [^\n]*?: (\S+\.md)(?: *#.*)?$", NAV, flags=re.M)
    there = {hooks.in_site(page) for page in PAGES}
    assert len(named) == len(set(named))
    assert there <= set(named)
    assert set(named) - there <= set(hooks.EXPECTED)


def test_an_expected_page_is_left_out_until_it_is_there(
    hooks: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The navigation keeps a place, and a group without any page has none."""
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    nav = [{"A": "index.md"}, {"Evidence": [{"B": "claims.md"}, {"C": "attacks.md"}]}]
    kept = type("Config", (), {"nav": nav})
    assert hooks.on_config(kept).nav == [{"A": "index.md"}]
    (tmp_path / "docs" / "claims.md").touch()
    kept.nav = nav
    assert hooks.on_config(kept).nav == [{"A": "index.md"}, {"Evidence": [{"B": "claims.md"}]}]


def test_links_are_turned_for_the_site(hooks: ModuleType) -> None:
    """Links between pages keep their headings, files come along, and addresses stay."""
    text = "[a](docs/places.md#x) [b](examples/quickstart.py) [c](https://e.org/docs/a.md) [d](CHANGELOG.md) [e](#f)"
    turned, brought = hooks.turned(text, ROOT / "README.md")
    assert (
        turned
        == "[a](places.md#x) [b](examples/quickstart.py) [c](https://e.org/docs/a.md) [d](changelog.md) [e](#f)"
    )
    assert brought == {ROOT / "examples" / "quickstart.py"}
    assert (
        hooks.turned("[a](../README.md) [b](what.md)", ROOT / "docs" / "scale.md")[0]
        == "[a](index.md) [b](what.md)"
    )


def test_everything_public_is_in_the_reference() -> None:
    """Each public name has its entry, under the name by which it is imported."""
    told = re.findall(
        r"^ +heading: (\S+)$", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), flags=re.M
    )
    assert {*api_smoothing.__all__} - {"__version__"} <= set(told)


class Fetched(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag != "a":
            canonical = tag == "link" and given.get("rel") in ("canonical", "next", "prev")
            self.found += (
                [] if canonical else [value for name in ("src", "href") if (value := given.get(name))]
            )


def test_the_site_is_built_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    """`mkdocs build --strict` finds nothing to say, and the site's pages load nothing from elsewhere."""
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    pytest.importorskip("mkdocstrings_handlers.python", reason="mkdocstrings is not installed")
    build = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert {"index.html", "reference.html", "choosing.html"} <= {page.name for page in pages}
    for page in pages:
        reader = Fetched()
        reader.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in reader.found if re.match(r"(https?:)?//", address)], page.name
    reference = (tmp_path / "site" / "reference.html").read_text(encoding="utf-8")
    assert "Certifies the answers of a vision model that can only be called." in reference

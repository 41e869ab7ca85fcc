from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from run_files import CLASSES, certificates, renamed, run_file, settings, write
from scipy.stats import binomtest

from api_smoothing.errors import ConfigurationError
from api_smoothing.report import html, read

HOSTILE = "</script><img src=x onerror=alert(1)>'\"&<!--\u202e"


class Outline(HTMLParser):
    """What a browser would make of a page: its elements, the text of each table's cells, and the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._in: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th"):
            self.cells[-1].append("")
        if tag in ("script", "style"):
            self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._in and tag == self._in[-1]:
            self._in.pop()

    def handle_data(self, data: str) -> None:
        if self._in:
            (self.scripts if self._in[-1] == "script" else self.styles).append(data)
            return
        self.text += data
        if self.cells and self.cells[-1]:
            self.cells[-1][-1] += data

    def row(self, name: str, place: int = 0) -> list[str]:
        """The cells of the row of that name."""
        return [cells for cells in self.cells if cells and cells[0] == name][place]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def page(*paths: Path, pictures: int = 0) -> str:
    return html([read(path) for path in paths], pictures=pictures)


def test_the_figures_are_those_of_the_file(tmp_path: Path) -> None:
    """Certified accuracy at each radius and its interval, abstentions, queries and dollars, counted from the lines."""
    path = run_file(tmp_path / "run.jsonl", 300, seed=3)
    made = Outline(page(path))
    _, *lines = lines_of(path)
    images = [line for line in lines if line["schema"] == "api-smooth/certificate/1"]
    for radius in (0.0, 0.1, 0.25, 0.5):
        k = sum(
            line["label"] is not None and line["label"] == line["item"]["truth"] and line["radius"] >= radius
            for line in images
        )
        low, high = binomtest(k, 300).proportion_ci(0.95, method="exact")
        cell = made.row(f"{radius:g}")[1]
        share, first, last = re.findall(r"[\d.]+", cell)
        assert float(share) == pytest.approx(100 * k / 300, abs=0.0501)
        assert float(first) <= 100 * low < float(first) + 0.1001
        assert float(last) - 0.1001 < 100 * high <= float(last)
    abstained = sum(line["label"] is None for line in images)
    assert made.row("Abstained")[1].startswith(f"{100 * abstained / 300:.1f} %")
    assert made.row("Queries")[1].startswith(f"{sum(line['queries'] for line in lines):,} ")
    assert made.row("Dollars")[1] == f"${sum(line['cost_usd'] for line in lines):,.2f}"
    assert {line["queries"] + line["cached"] for line in images} == {1000}
    assert "Every image took 1,000 queries; canaries and kept answers count." in made.text
    assert hashlib.sha256(path.read_bytes()).hexdigest() in made.text


def test_every_image_is_in_the_page(tmp_path: Path) -> None:
    """The rows the script shows are the file's, radii rounded down, and its curve is the count of them."""
    path = run_file(tmp_path / "run.jsonl", 120, seed=3)
    (run,) = data_of(page(path))["runs"]
    words = data_of(page(path))["words"]
    images = [line for line in lines_of(path) if line["schema"] == "api-smooth/certificate/1"]
    assert len(run["rows"]) == len(images)
    for row, line in zip(run["rows"], images, strict=True):
        assert row[0] == line["item"]["id"]
        assert words[row[1]] == line["item"]["truth"]
        assert row[2] == -1 if line["label"] is None else words[row[2]] == line["label"]
        if line["label"] is not None:
            assert 0 <= line["radius"] - row[5] < 1.01e-4
        assert row[6:] == [line["votes"], line["n"], line["queries"] + line["cached"]]
    right = [one["radius"] for one in images if one["label"] == one["item"]["truth"]]
    for r, k in zip(run["curve"]["r"][:-1], run["curve"]["k"][:-1], strict=True):
        assert k == sum(radius >= r for radius in right)


def test_hostile_text_is_text(tmp_path: Path) -> None:
    """Labels, names, providers and settings that are HTML add no element, end no script, and run nothing."""
    given = settings(provider=HOSTILE, data=HOSTILE, denoiser=HOSTILE, seed=f"public:{HOSTILE}")
    plain = settings()
    found = certificates(8, plain, seed=1)
    bad = [
        replace(c, label=HOSTILE, runner_up=HOSTILE, counts={HOSTILE: c.votes, "x": c.n - c.votes})
        for c in renamed(found, [f"{HOSTILE}{i}" for i in range(8)])
    ]
    path = write(tmp_path / "run.jsonl", given, bad, clean={f"{HOSTILE}0": HOSTILE}, unreadable=[HOSTILE])
    tame = write(tmp_path / "tame.jsonl", plain, found, clean={c.image: "cat" for c in found[:1]})
    text = page(path, tame)
    made = Outline(text)
    assert not [tag for tag, attributes in made.tags if any(name.startswith("on") for name in attributes)]
    assert {tag for tag, _ in made.tags} - {"br"} == {tag for tag, _ in Outline(page(tame, tame)).tags}
    assert text.count("<script") == text.count("</script") == 2
    assert "\u202e" not in text
    assert "<!--" not in text


def test_nothing_runs_but_what_the_policy_names(tmp_path: Path) -> None:
    """The policy allows the one style and the one script by hash; there is no style attribute, and no address."""
    text = page(run_file(tmp_path / "run.jsonl", 30), run_file(tmp_path / "other.jsonl", 30, sigma=0.5))
    made = Outline(text)
    (policy,) = [a["content"] for _, a in made.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert hash_of(made.styles[0]) in policy
    assert hash_of(made.scripts[1]) in policy
    assert policy.count("sha256-") == 2
    assert not [attributes for _, attributes in made.tags if "style" in attributes]
    for _, attributes in made.tags:
        for name in ("src", "href", "action", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert not re.findall(r"url\(|@import|https?:|fetch\(|XMLHttpRequest|eval\(", text)


def test_a_reader_without_eyes_or_mouse_finds_the_way(tmp_path: Path) -> None:
    """Landmarks, one h1, headed tables, a name for each control and picture, sorting told, ids only once."""
    text = page(run_file(tmp_path / "run.jsonl", 30), run_file(tmp_path / "other.jsonl", 30, sigma=0.5))
    made = Outline(text)
    tags = [tag for tag, _ in made.tags]
    assert {tags.count(one) for one in ("main", "nav", "header", "footer", "h1")} == {1}
    assert tags.count("caption") == tags.count("table")
    assert all(a.get("scope") for tag, a in made.tags if tag == "th")
    assert all(a.get("aria-label") or a.get("aria-hidden") for tag, a in made.tags if tag == "svg")
    assert all("alt" in a for tag, a in made.tags if tag == "img")
    assert [a["aria-sort"] for tag, a in made.tags if "aria-sort" in a] == ["none"] * 7
    ids = [a["id"] for _, a in made.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in made.tags:
        if (
            target := attributes.get("aria-labelledby") or (attributes.get("href") or "").removeprefix("#")
        ) != "":
            assert target in ids


@pytest.mark.slow
def test_ten_thousand_images_fit_in_five_megabytes(tmp_path: Path) -> None:
    """With names of 200 letters too, and no two radii alike."""
    found = certificates(10_000, settings(n=100_000), seed=1)
    long = renamed(found, [f"{'ö' * 190}{i:010}" for i in range(10_000)])
    text = page(write(tmp_path / "run.jsonl", settings(n=100_000), long))
    assert len(text.encode()) < 5_000_000
    assert len(data_of(text)["runs"][0]["rows"]) == 10_000


def test_an_empty_run_claims_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no images yet"):
        page(write(tmp_path / "run.jsonl", settings(), []))


@pytest.mark.parametrize("radius", [float("nan"), float("inf")])
def test_a_radius_that_is_no_number_is_told(tmp_path: Path, radius: float) -> None:
    path = run_file(tmp_path / "run.jsonl", 3)
    *lines, last = path.read_text().splitlines()
    lines.append(json.dumps({**json.loads(last), "label": "cat", "radius": radius}))
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigurationError, match="no number"):
        page(path)


def test_a_label_of_a_megabyte_makes_no_page_of_many(tmp_path: Path) -> None:
    found = [
        replace(c, label="x" * 1_000_000, counts={"x" * 1_000_000: 9}) for c in certificates(3, settings())
    ]
    assert len(page(write(tmp_path / "run.jsonl", settings(), found))) < 200_000


def test_a_run_where_nothing_is_certified(tmp_path: Path) -> None:
    """The share is 0 with an interval; there is no cost per certificate, and no division by none."""
    found = [replace(c, label=None, radius=0.0) for c in certificates(40, settings())]
    made = Outline(page(write(tmp_path / "run.jsonl", settings(), found)))
    assert "0 of 40 images" in made.text
    assert made.row("0.25")[1] == "0.0 % 0.0–8.9 %"
    assert "Cost against radius" not in made.text


def test_a_run_without_truths_is_judged_by_the_answer_without_noise(tmp_path: Path) -> None:
    """An image counts where its label is that of the unsmoothed answer, and the page says so."""
    found = certificates(50, settings(), truths=False, seed=2)
    clean = {c.image: c.label if i % 2 else "nothing of it" for i, c in enumerate(found)}
    made = Outline(page(write(tmp_path / "run.jsonl", settings(), found, clean=clean)))
    k = sum(c.label is not None and c.radius >= 0.25 and i % 2 for i, c in enumerate(found))
    assert f"For {k} of 50 images" in made.text
    assert "No true label is known" in made.text
    assert "usual answer" in made.text


def test_a_run_of_which_nothing_is_known_counts_whatever_is_certified(tmp_path: Path) -> None:
    """As `certify` writes them: no accuracy is claimed of it, nor an average radius of right answers."""
    found = [replace(c, item=None) for c in certificates(50, settings(), seed=2)]
    made = Outline(page(write(tmp_path / "run.jsonl", settings(question=None), found)))
    k = sum(c.label is not None and c.radius >= 0.25 for c in found)
    assert f"For {k} of 50 images" in made.text
    assert "share certified" in made.text
    assert "an image counts whatever its label is" in made.text
    assert "accuracy" not in made.text.lower().replace("accuracy and answers", "")
    assert made.row("Average certified radius")[1] == "– –"


def test_truths_that_are_no_class_of_the_provider_are_never_met(tmp_path: Path) -> None:
    """All of them unknown to it, nothing counts: that is not a run without truths."""
    found = [
        replace(c, item={**c.item, "truth": None}, extra={"truth_given": "llama"})  # type: ignore[typeddict-item]
        for c in certificates(20, settings(), seed=2)
    ]
    made = Outline(page(write(tmp_path / "run.jsonl", settings(), found)))
    assert "For 0 of 20 images" in made.text
    assert "That of 20 images is no class" in made.text


def test_what_could_not_be_read_counts_against_the_claim(tmp_path: Path) -> None:
    """Unreadable images stand in the denominator and in the table; those cut short are told apart."""
    found = certificates(20, settings(), seed=2)
    found[0] = replace(found[0], label=None, radius=0.0, stopped="failed", counts={}, votes=0, n=0)
    text = page(write(tmp_path / "run.jsonl", settings(), found, unreadable=["test/cat/broken.png"]))
    assert "of 21 images" in Outline(text).text
    rows = data_of(text)["runs"][0]["rows"]
    outcomes = data_of(text)["outcomes"]
    assert outcomes[rows[0][4]] == "cut short"
    assert (rows[-1][0], outcomes[rows[-1][4]]) == ("test/cat/broken.png", "unreadable")


def test_two_runs_are_compared(tmp_path: Path) -> None:
    """The differences stand with the exact test's p, and the settings in which the runs differ are marked."""
    first, second = run_file(tmp_path / "a.jsonl", 200), run_file(tmp_path / "b.jsonl", 200, sigma=0.5)
    made = Outline(page(first, second))
    certified = []
    for path in (first, second):
        images = [line for line in lines_of(path) if line["schema"] == "api-smooth/certificate/1"]
        certified.append(
            {x["image"] for x in images if x["label"] == x["item"]["truth"] and x["radius"] >= 0.25}
        )
    only = len(certified[0] - certified[1]), len(certified[1] - certified[0])
    row = next(cells for cells in made.cells if cells[:2] == ["σ = 0.5", "0.25"])
    assert row[4:6] == [str(only[0]), str(only[1])]
    assert float(row[6].removeprefix("< ")) == pytest.approx(
        binomtest(only[0], sum(only)).pvalue, abs=1.01e-4
    )
    assert made.row("sigma differs")[1:] == ["0.25", "0.5"]


def test_no_home_stands_in_the_page(tmp_path: Path) -> None:
    """Images are named below their data set, whosever folder that is in."""
    names = [f"/home/ann/secret-project/set/{CLASSES[i % 3]}/{i}.png" for i in range(9)]
    found = renamed(certificates(9, settings()), names)
    given = settings(data="/home/ann/secret-project/set", model="/home/ann/model.pt@1234")
    text = page(write(tmp_path / "run.jsonl", given, found))
    assert "/home/" not in text
    assert "ann/" not in text
    assert "secret-project" not in text
    assert data_of(text)["runs"][0]["rows"][0][0] == "airplane/0.png"


def data_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Outline(text).scripts[0])
    return found


def hash_of(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("proved", "Proved with 95 % confidence: of the 500 images at least 40.1 % are such that"),
        (
            "refuted",
            "Refuted with 95 % confidence: of the 500 images at most 61.3 % would be certified, not 40.0 %",
        ),
        ("open", "Not decided: with 95 % confidence at least 40.1 % of the 500 images are such that"),
    ],
)
def test_a_run_for_a_claim_says_what_became_of_it(tmp_path: Path, state: str, said: str) -> None:
    """With its own bound, rounded to the safe side; that of a fixed number of images is said not to hold."""
    path = run_file(tmp_path / "run.jsonl", 50, radii=[0.1], radius=0.1, n=None, at_least=0.4)
    facts = {"at_least": 0.4, "radius": 0.1, "confidence": 0.95, "population": 500, "lower": 0.40199}
    claim = {**facts, "upper": 0.61201, "looked": 50, "certified": 31, "state": state, "statement": ""}
    with path.open("a") as file:
        file.write(json.dumps({"schema": "api-smooth/claim/1", **claim}) + "\n")
    text = Outline(page(path)).text
    assert said in text
    assert "31 of 50 looked at are certified" in text
    assert "this run stopped when its claim was decided" in text
    assert "The interval is exact" not in text


def test_a_run_whose_file_is_gone_is_shown_all_the_same(tmp_path: Path) -> None:
    """An evaluation without an output has none; nothing but digests is missing."""
    path = run_file(tmp_path / "run.jsonl", 5)
    run = read(path)
    path.unlink()
    assert "sha256 of the run file" not in html([run], pictures=0)


def test_what_one_certificate_risks_is_said_of_all_images(tmp_path: Path) -> None:
    """α is spent on every image, certified or not; readings chosen afterwards have no bound, and are counted."""
    found = certificates(200, settings())
    found[3] = replace(found[3], looks=2, alpha_total=None, exploratory=True)
    text = Outline(page(write(tmp_path / "run.jsonl", settings(), found))).text
    assert "of 200 images at most 0.2 are expected to have a wrong one" in text
    assert "1 are exploratory" in text

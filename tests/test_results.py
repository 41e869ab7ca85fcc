"""Certificates and run headers: how they grow, how they read back, and what they say of themselves."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from api_smoothing.results import SCHEMA, Certificate, CostEstimate, Prediction, Provenance, RunHeader

CERTIFICATE = Certificate(
    label="cat", radius=0.1, radius_original=0.1, p_lower=0.9, votes=99, n=100, n0=0, sigma=0.25, alpha=0.001,
    norm="l2", method="fixed", target_radius=None, reached=None, stopped="n", reason="", runner_up=None,
    counts={"cat": 99}, failed=0, queries=100, cached=0, cost_usd=0.0, provider="toy", model="", model_version=None,
    denoiser=None, label_map=None, noise="gaussian", seed="public:7", image="a.png", image_sha256="0" * 64,
    space=(32, 32), created="2026-01-01T00:00:00+00:00",
)  # fmt: skip
HEADER = RunHeader(settings={"sigma": 0.25}, version="0.1.0", created="2026-01-01T00:00:00+00:00")
NEWER = {"from_later": {"a": [1, None, "é"]}, "extra": 7, "of_no_value": None}


def changed(value: Certificate | RunHeader, **new: Any) -> str:
    return json.dumps({**value.to_dict(), **new})


def test_a_certificate_reads_back_equal() -> None:
    """Every field survives JSON, those that are tuples too."""
    full = replace(
        CERTIFICATE,
        space_original=(480, 640),
        radii=({"radius": 0.1, "label": "cat", "reached": True, "n": 40},),
        item={"id": "1", "path": "a.png", "truth": "cat"},
    )
    assert Certificate.from_json(full.to_json()) == full
    assert Certificate.from_dict(full.to_dict()) == full
    assert set(full.to_dict()) == {f.name for f in fields(Certificate)} - {"extra"}


@pytest.mark.parametrize("value", [CERTIFICATE, HEADER], ids=["certificate", "header"])
@pytest.mark.parametrize("minor", ["", ".1", ".13"])
def test_what_a_newer_minor_wrote_is_kept(value: Certificate | RunHeader, minor: str) -> None:
    """Fields that are not known here, and the minor, are read, kept, and written back as they were."""
    text = changed(value, schema=value.schema + minor, **NEWER)
    found = type(value).from_json(text)
    assert found.extra == NEWER
    assert json.loads(found.to_json()) == json.loads(text)
    assert type(value).from_json(found.to_json()) == found
    assert found != value


def test_an_unknown_field_hides_no_known_one() -> None:
    """What stands in `extra` never takes the place of a field."""
    odd = replace(CERTIFICATE, extra={"label": "dog", "new": 1})
    assert odd.to_dict()["label"] == "cat"
    assert odd.to_dict()["new"] == 1


def test_what_an_older_version_wrote_gets_defaults() -> None:
    """A line without the later fields is a certificate of the top label, looked at once as far as it says."""
    values = CERTIFICATE.to_dict()
    later = ("kind", "threshold", "linf_radius", "space_original", "looks", "alpha_total", "exploratory", "radii",
             "parent", "prior", "epoch", "item", "original", "unbounded")  # fmt: skip
    for name in later:
        del values[name]
    found = Certificate.from_dict(values)
    assert [getattr(found, name) for name in later] == [
        "label", None, None, None, 1, None, False, (), None, None, None, None, None, None,
    ]  # fmt: skip
    assert found == CERTIFICATE


@pytest.mark.parametrize("value", [CERTIFICATE, HEADER], ids=["certificate", "header"])
def test_another_major_is_refused_in_one_line(value: Certificate | RunHeader) -> None:
    """A schema of another major says what it is and what to do; another schema is no certificate at all."""
    for schema in ("/2", "/2.1", "/11"):
        other = value.schema.removesuffix("/1") + schema
        with pytest.raises(ValueError, match=f"{other}.*upgrade") as caught:
            type(value).from_json(changed(value, schema=other))
        assert "\n" not in str(caught.value)
    for strange in ("api-smooth/else/1", None, 1, ""):
        with pytest.raises(ValueError, match="of schema"):
            type(value).from_json(changed(value, schema=strange))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", changed(CERTIFICATE, space=7), json.dumps({"schema": SCHEMA})]
)
def test_what_is_no_certificate_is_a_value_error(text: str) -> None:
    """Whatever the text is: a certificate, or a ValueError of one line."""
    with pytest.raises(ValueError, match="not a Certificate") as caught:
        Certificate.from_json(text)
    assert "\n" not in str(caught.value)


def test_half_a_character_is_written_as_one_line() -> None:
    """A label with a lone surrogate, which JSON can hold, is escaped, and reads back."""
    odd = replace(CERTIFICATE, label="\ud83d", counts={"\ud83d": 99})
    assert odd.to_json().encode()
    assert Certificate.from_json(odd.to_json()) == odd


PRESENT = replace(CERTIFICATE, kind="present", threshold=0.5)
ABSENT = replace(CERTIFICATE, label="not: cat", counts={"not: cat": 99}, kind="absent", threshold=0.7)


@pytest.mark.parametrize(
    ("value", "claim"),
    [
        (CERTIFICATE, "cat"),
        (replace(CERTIFICATE, label=None), None),
        (PRESENT, "cat present at 0.5 or more"),
        (replace(PRESENT, label=None), "cat present at 0.5 or more"),
        (replace(PRESENT, label=None, counts={}), None),
        (replace(PRESENT, threshold=None), "cat present"),
        (ABSENT, "cat absent: not reported with 0.7 or more"),
        (replace(ABSENT, threshold=None), "cat absent: not reported"),
        (replace(CERTIFICATE, kind="top-3"), "cat top-3"),
    ],
)
def test_a_claim_is_said_in_words(value: Certificate, claim: str | None) -> None:
    """The words tell presence, absence and a later version's kinds from a top label, proved or not."""
    assert value.claim == claim


def test_a_notebook_shows_which_claim_it_is() -> None:
    """The table of a presence certificate says present at its score, and that of an abstention what is not proved."""
    assert "<th>label</th><td>cat</td>" in CERTIFICATE._repr_html_()
    assert "<th>claim</th><td>cat present at 0.5 or more</td>" in PRESENT._repr_html_()
    assert "abstained: cat present at 0.5 or more is not proved" in replace(PRESENT, label=None)._repr_html_()
    assert "<th>label</th><td>abstained</td>" in replace(CERTIFICATE, label=None)._repr_html_()
    assert "derived" in replace(CERTIFICATE, linf_radius=0.0018)._repr_html_()
    assert "<b>" not in replace(PRESENT, label="<b>")._repr_html_()


def test_a_notebook_shows_predictions_and_estimates() -> None:
    """Both are tables: what was found or would be paid, words from outside escaped, every assumption told."""
    found = Prediction(
        label="<b>", p_value=0.00012, votes=61, n=64, counts={"<b>": 61}, failed=2, sigma=0.25, alpha=0.001,
        queries=60, cached=4, cost_usd=0.06, provider="toy", image="a.png", image_sha256="0" * 64, looks=2,
        alpha_total=0.002,
    )  # fmt: skip
    shown = found._repr_html_()
    assert "<th>label</th><td>&lt;b&gt;</td>" in shown
    assert "<td>61 of 64, 2 failed</td>" in shown
    assert "question 2 about these votes" in shown
    assert "60 sent, 4 cached, $0.0600" in shown
    assert "nothing charged ($0.0600 at list prices)" in replace(found, provider="toy@sandbox")._repr_html_()
    assert "abstained" in replace(found, label=None)._repr_html_()
    cost = CostEstimate(
        images=3, queries_low=60, queries_expected=1200, queries_high=3000, usd_low=0.06, usd_expected=1.2,
        usd_high=3.0, seconds_low=12.0, seconds_expected=240.0, seconds_high=600.0, max_radius=0.5,
        assumptions=["shares of <some> table"],
    )  # fmt: skip
    shown = cost._repr_html_()
    assert "<tr><th>queries</th><td>60</td><td>1,200</td><td>3,000</td></tr>" in shown
    assert '<td colspan="3">0.5000 at most</td>' in shown
    assert "shares of &lt;some&gt; table" in shown
    assert "no cap" in replace(cost, max_radius=None)._repr_html_()


def test_a_certificate_is_neither_true_nor_false() -> None:
    """`if certificate:` would mean nothing, and is refused."""
    with pytest.raises(TypeError, match="neither"):
        bool(CERTIFICATE)


def test_provenance_is_a_value() -> None:
    """It is frozen, equal by its fields, and a plain object in the order of a run file's settings."""
    one = Provenance(
        provider="toy", model="", denoiser=None, label_map=None, sigma=0.25, alpha=0.001, method="auto",
        noise="gaussian", seed="public:7",
    )  # fmt: skip
    assert one == replace(one)
    assert len({one, replace(one), replace(one, sigma=0.5)}) == 2
    assert list(one.to_dict()) == [
        "provider", "model", "denoiser", "label_map", "sigma", "alpha", "method", "noise", "seed",
    ]  # fmt: skip
    with pytest.raises(FrozenInstanceError):
        one.sigma = 0.5  # type: ignore[misc]

"""Several paths a query: what is sent, how it is counted, and what it costs."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, combinations_with_replacement
from typing import Any

import pytest
import torch
from torch import Tensor

from api_smoothing import Budget, SmoothedAPI, denoisers
from api_smoothing.adapters.base import AdapterCard, Answer, Label, Verdict
from api_smoothing.certify.base import FAILED
from api_smoothing.certify.presence import most_polled
from api_smoothing.denoisers.paths import Paths
from api_smoothing.denoisers.reverse import Reverse
from api_smoothing.engine.paths import PathVotes, poll
from api_smoothing.noise import NoiseStream

SIDE = 32


def image() -> Any:
    """A grey image with a light square."""
    import numpy as np

    pixels = np.full((SIDE, SIDE, 3), 110, np.uint8)
    pixels[8:20, 8:20] = 190
    return pixels


def denoiser(paths: int) -> Paths:
    """Two steps of the bundled U-Net, `paths` of them a query."""
    plain = denoisers.load("unet-cifar10-mse", dtype="fp32")
    return Paths(reverse=Reverse(denoiser=plain, steps=2), paths_per_query=paths)


class Model:
    """Two classes by a threshold on a pixel, so that paths differ; keeps what it was sent."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor) -> list[str]:
        self.seen += list(images)
        return ["light" if self.light(image) else "dark" for image in images]

    @staticmethod
    def light(image: Tensor) -> bool:
        return bool(image[:, 8, 8].mean() > 0.55)


def api(model: Model, paths: int, **options: Any) -> SmoothedAPI:
    return SmoothedAPI(model, sigma=0.25, denoiser=denoiser(paths), size=SIDE, seed=3, cache=False, **options)


def test_a_vote_is_the_majority_of_its_paths() -> None:
    """The votes are those of the K images of each noisy copy, drawn by hand; n counts votes, queries all images."""
    model, k, n = Model(), 3, 20
    with api(model, k) as smoothed:
        found = smoothed.predict(image(), n=n)
        stream = smoothed._noise_stream(__import__("api_smoothing").images.load(image(), size=SIDE))
    assert isinstance(stream, NoiseStream)
    noisy = torch.from_numpy(image().astype("int32")[None] + stream.sample(range(n))).permute(0, 3, 1, 2)
    ends = denoiser(k).paths(noisy.float() / 255, 0.25).clamp(0, 1).mul(255).round().div(255)
    votes = Counter(
        Counter("light" if Model.light(end) else "dark" for end in ends[:, i]).most_common(1)[0][0]
        for i in range(n)
    )
    assert (found.n, found.queries) == (n, n * k)
    assert len(model.seen) == n * k
    assert found.counts == dict(votes)
    for i in range(n):
        for j in range(k):
            assert torch.equal(model.seen[i * k + j], ends[j, i])


def test_one_path_of_many_is_the_same_path() -> None:
    """Path j of noise i is the same image whatever K is."""
    few, many = Model(), Model()
    with api(few, 2) as a, api(many, 4) as b:
        a.predict(image(), n=6)
        b.predict(image(), n=6)
    for i in range(6):
        for j in range(2):
            assert torch.equal(few.seen[2 * i + j], many.seen[4 * i + j])


def test_the_estimate_names_the_price_of_paths() -> None:
    """A fixed number of votes is estimated at K queries each, as many as are sent; a target at K times one path's."""
    model = Model()
    with api(model, 3) as three, api(Model(), 1) as one:
        told = three.estimate([image()], n=40)
        assert told.queries_low == told.queries_expected == told.queries_high == 120
        assert any("costs 3 queries" in line for line in told.assumptions)
        assert not any("paths" in line for line in one.estimate([image()], n=40).assumptions)
        thrice, once = (a.estimate(5, radius=0.2) for a in (three, one))
        assert thrice.queries_expected == pytest.approx(3 * once.queries_expected, abs=2)
        assert (thrice.queries_low, thrice.queries_high) == pytest.approx(
            (3 * once.queries_low, 3 * once.queries_high), abs=3
        )
        assert three.certify(image(), n=40).queries == 120
        assert three.estimate([image()], n=40).queries_expected == 0


def test_a_budget_of_queries_buys_a_third_as_many_votes() -> None:
    """The budget is in queries: no image is begun that cannot be decided, and never is one query more sent."""
    model = Model()
    with api(model, 3, budget=Budget(queries=100)) as smoothed:
        found = smoothed.certify(image(), radius=0.05)
    assert len(model.seen) <= 100
    assert found.n <= 33
    assert found.queries == len(model.seen)
    with api(Model(), 3, budget=Budget(queries=100)) as smoothed:
        assert smoothed.estimate(1, n=34).queries_expected == 0


def test_paths_are_polled_by_what_they_say() -> None:
    """Most paths decide; of equals the first; a failed path fails the vote; of several labels those most report."""
    assert poll(["a", "b", "b"]) == "b"
    assert poll(["b", "a", "a", "b"]) == "b"
    assert poll([None, None, "a"]) is None
    assert poll(["a", FAILED, "a"]) is FAILED
    sets = [frozenset("ab"), frozenset("a"), frozenset("bc"), frozenset("a")]
    assert poll(sets) == frozenset("a")


def test_an_empty_report_is_a_report() -> None:
    """Reports are counted label by label: one that names nothing, however it says so, is no vote over whole sets."""
    for nothing in (frozenset[str](), None):
        assert poll([nothing, frozenset("ab"), frozenset("a")]) == frozenset("a")
        assert poll([frozenset("a"), nothing, nothing]) == frozenset()
    assert poll([frozenset[str]()] * 3) == frozenset()
    assert poll([frozenset("a"), FAILED, frozenset("a")]) is FAILED


def test_no_poll_reports_more_than_its_bound() -> None:
    """Of K reports of at most M labels none has more than ⌊K·M/(⌊K/2⌋+1)⌋ in most, and some have as many."""
    for paths, most, names in (
        (1, 2, "abc"),
        (2, 2, "abc"),
        (3, 1, "abc"),
        (3, 2, "abcd"),
        (4, 2, "abcd"),
        (5, 2, "abcd"),
    ):
        reports = [frozenset(of) for size in range(most + 1) for of in combinations(names, size)]
        sizes = {len(poll(taken)) for taken in combinations_with_replacement(reports, paths)}
        assert max(sizes) == most_polled(most, paths)


def tagger(*rows: str, most: int) -> Any:
    """Answers query i with the letters of row i mod len(rows); says that it has `most` labels at most."""

    class Tagger:
        card = AdapterCard(name="tagger", fingerprint="", accepts="tensor", batch=256, max_labels=most)
        seen = 0

        def label(self, images: Tensor, /) -> list[Answer]:
            first, self.seen = self.seen, self.seen + len(images)
            return [
                Answer(labels=tuple(Label(name=name, score=0.9) for name in rows[i % len(rows)]))
                for i in range(first, self.seen)
            ]

        def verdict(self, error: Exception, /) -> Verdict:
            return Verdict.FATAL

    return Tagger()


def presences_of(adapter: Any, paths: int, **options: Any) -> set[str | None]:
    with SmoothedAPI(adapter, sigma=0.25, denoiser=denoiser(paths), size=SIDE, seed=3, cache=False) as api:
        return {found.label for found in api.certify_labels(image(), n=60, **options)}


def test_what_most_paths_report_is_reported() -> None:
    """With an empty report among the paths, neither is a label of most paths absent nor one of few present."""
    found = presences_of(
        tagger("", "ab", "a", most=10), 3, thresholds={"a": 0.5, "b": 0.5}, absent=["a", "b"]
    )
    assert found == {"a", "not: b", None}


def test_a_poll_may_report_more_labels_than_an_answer() -> None:
    """Three labels that two of three paths report each are certified, though no answer has more than two."""
    assert presences_of(tagger("ab", "bc", "ac", most=2), 3, thresholds=0.5) == {"a", "b", "c"}


def test_an_answer_with_more_labels_than_its_provider_says_is_no_vote() -> None:
    """The level is divided among as many as may come: more make a failed answer, told, and no crash."""
    with SmoothedAPI(tagger("abc", most=2), sigma=0.25, denoiser=None, seed=3, cache=False) as api:
        (found,) = api.certify_labels(image(), n=60, thresholds=0.5)
    assert (found.label, found.stopped) == (None, "failed")
    assert "an answer had 3 labels, where its provider says 2 at most" in found.reason


class Partly:
    """A source whose cache holds the answers of `cached`, and nothing else."""

    def __init__(self, cached: dict[int, str]) -> None:
        self.cached = cached

    def known(self, count: int) -> dict[int, str]:
        return {i: label for i, label in self.cached.items() if i < count}


def test_a_gap_in_the_cache_moves_no_path_to_another_vote() -> None:
    """A vote is known where all of its own queries are cached, and made of those alone."""
    cached = dict(enumerate("aabbbbabb"))
    del cached[1]
    votes = PathVotes(Partly(cached), 3)  # type: ignore[arg-type]
    assert votes.known(3) == {1: "b", 2: "b"}
    assert votes.known(2) == {1: "b"}
    assert votes.known(1) == {}

"""The facade: from an image and a provider to a certificate, with every query accounted for."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from api_smoothing import Budget, Certificate, LabelMap, SmoothedAPI
from api_smoothing.engine.sending import Query
from api_smoothing.errors import ConfigurationError, UnreachableRadiusError
from api_smoothing.events import AnswersCounted, Event, ImageCertified, VotesCounted
from api_smoothing.sandbox.server import declaration_of

GREY = np.full((32, 32, 3), 128, np.uint8)


class Counting:
    """A callable that answers from a function of the image's mean and counts what it is asked."""

    def __init__(self, share: float = 1.0) -> None:
        self.asked = 0
        self._share = share

    def __call__(self, x: torch.Tensor) -> list[str | None]:
        self.asked += len(x)
        # The mean of the noisy image is normal around ½; its fractional part in a fine unit is uniform.
        uniform = (x.double().mean((1, 2, 3)) * 1e5) % 1.0
        return ["cat" if u < self._share else "dog" for u in uniform.tolist()]


def smoothed(provider: Any, **options: Any) -> SmoothedAPI:
    return SmoothedAPI(provider, **{"denoiser": None, "seed": 0, **options})


def test_target_mode_stops_as_soon_as_decided() -> None:
    """A unanimous model is certified at the target with a small multiple of the information limit's answers."""
    model = Counting()
    found = smoothed(model).certify(GREY, radius=0.25)
    assert (found.label, found.reached, found.stopped) == ("cat", True, "target")
    assert found.radius >= 0.25
    assert found.n == found.votes == found.queries == model.asked
    assert 40 <= found.n <= 60


def test_best_radius_mode_spends_n_and_gives_the_no_split_bound() -> None:
    """With n alone all n answers are asked and the radius is that of the no-split rule."""
    found = smoothed(Counting()).certify(GREY, n=120)
    assert (found.n, found.votes, found.reached, found.stopped) == (120, 120, None, "n")
    assert found.radius == pytest.approx(1.5898073 * 0.25, abs=1e-6)


def test_paper_protocol_separates_choosing_from_bounding() -> None:
    """With "clopper-pearson" n0 answers choose and n others bound; both are paid."""
    found = smoothed(Counting(), method="clopper-pearson").certify(GREY, n=100, n0=20)
    assert (found.n0, found.n, found.queries) == (20, 100, 120)
    assert found.radius == pytest.approx(1.5004750 * 0.25, abs=1e-6)


def test_abstains_below_one_half() -> None:
    """A model that is split evenly gets no label and radius 0."""
    found = smoothed(Counting(share=0.5)).certify(GREY, n=300)
    assert (found.label, found.radius, found.radius_original) == (None, 0.0, 0.0)
    assert 0.25 < found.p_lower < 0.5, "what the votes do prove is kept"


def test_hopeless_images_stop_early_as_futile() -> None:
    """A target out of reach of the image is given up long before the cap, and the certificate says so."""
    found = smoothed(Counting(share=0.6)).certify(GREY, radius=0.25, n=10_000)
    assert (found.label, found.reached, found.stopped) == (None, False, "futile")
    assert found.n < 500


def test_asking_again_sends_nothing_and_returns_the_same_votes() -> None:
    """The noise is fixed per image, so a repeated certification is read from the cache: it cannot be fished for."""
    model = Counting(share=0.97)
    api = smoothed(model)
    first = api.certify(GREY, radius=0.25)
    again = api.certify(GREY, radius=0.25)
    assert (again.queries, again.cached) == (0, first.n)
    assert (again.counts, again.label, again.n) == (first.counts, first.label, first.n)
    more = api.certify(GREY, n=first.n + 50)
    assert (more.queries, more.cached) == (50, first.n)
    assert model.asked == first.n + 50


def test_answers_on_disk_serve_another_object(tmp_path: Path) -> None:
    """With a fingerprint the answers outlive the object; without one, or under another, they do not."""
    options = {"cache": tmp_path, "fingerprint": "v1"}
    smoothed(Counting(), **options).certify(GREY, n=50)
    assert smoothed(Counting(), **options).certify(GREY, n=60).queries == 10
    assert smoothed(Counting(), **{**options, "fingerprint": "v2"}).certify(GREY, n=60).queries == 60
    assert smoothed(Counting(), cache=tmp_path).certify(GREY, n=60).queries == 60


@pytest.mark.parametrize("change", [{"sigma": 0.5}, {"seed": 1}, {"noise": "uniform"}, {"size": 16}])
def test_settings_that_change_an_answer_change_the_stream(tmp_path: Path, change: dict[str, Any]) -> None:
    """Answers are never reused under another noise, seed or size."""
    options = {"cache": tmp_path, "fingerprint": "v1"}
    smoothed(Counting(), **options).certify(GREY, n=50)
    assert smoothed(Counting(), **{**options, **change}).certify(GREY, n=50).cached == 0


def test_budget_holds_over_all_images() -> None:
    """Images share one budget; what cannot pay for a decision any more is not spent, and the certificate says so."""
    model = Counting()
    api = smoothed(model, budget=Budget(queries=130))
    pictures = [np.full((32, 32, 3), level, np.uint8) for level in (100, 120, 140)]
    found = list(api.certify_many(pictures, n=60))
    assert [c.n for c in found] == [60, 60, 0]
    assert [c.stopped for c in found] == ["n", "n", "budget"]
    assert model.asked == 120
    assert found[2].label is None


def test_a_target_the_budget_cannot_decide_is_stopped_by_the_budget() -> None:
    """When the rest of the budget cannot bring the target, it is kept, and nothing is called futile."""
    model = Counting(share=0.95)
    found = smoothed(model, budget=Budget(queries=60)).certify(GREY, radius=0.25)
    assert (found.label, found.reached, found.stopped) == (None, False, "budget")
    assert model.asked < 60
    assert smoothed(Counting(share=0.95)).certify(GREY, radius=0.25).reached


def test_unreachable_radius_is_refused_before_the_first_query() -> None:
    """A radius that no answers could certify costs nothing, and the message says what is reachable."""
    model = Counting()
    with pytest.raises(UnreachableRadiusError, match=r"0\.3\d+"):
        smoothed(model).certify(GREY, radius=0.5, n=100)
    assert model.asked == 0


@pytest.mark.parametrize(
    ("options", "question", "word"),
    [
        ({"sigma": 0.0}, {"n": 10}, "sigma"),
        ({"sigma": -1.0}, {"n": 10}, "sigma"),
        ({"sigma": float("nan")}, {"n": 10}, "sigma"),
        ({"alpha": 0.0}, {"n": 10}, "alpha"),
        ({"alpha": 1.0}, {"n": 10}, "alpha"),
        ({"method": "best"}, {"n": 10}, "method"),
        ({"noise": "salt"}, {"n": 10}, "noise"),
        ({"budget": Budget(queries=-1)}, {"n": 10}, "budget"),
        ({"concurrency": 0}, {"n": 10}, "concurrency"),
        ({"typo": 1}, {"n": 10}, "typo"),
        ({"model": "cifar10"}, {"n": 10}, "model"),
        ({}, {"n": None}, "radius"),
        ({}, {"n": 0}, "n must"),
        ({}, {"radius": -0.1}, "radius"),
        ({}, {"radius": float("inf")}, "radius"),
    ],
)
def test_settings_outside_their_range_are_refused(options: Any, question: Any, word: str) -> None:
    """Each impossible setting is an error in one line that names it."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        smoothed(Counting(), **options).certify(GREY, **question)
    assert "\n" not in str(caught.value)


def test_what_is_no_provider_is_refused() -> None:
    """A provider is a name, an Adapter, a module or a callable."""
    with pytest.raises(ConfigurationError, match="is a int"):
        SmoothedAPI(3)  # type: ignore[arg-type]


def test_no_label_is_never_certified() -> None:
    """A model that always says nothing gets no certificate, however unanimous."""
    found = smoothed(lambda x: [None] * len(x)).certify(GREY, n=200)
    assert (found.label, found.counts, found.stopped) == (None, {}, "futile")
    assert found.n == found.queries < 200


def test_label_map_decides_the_class(tmp_path: Path) -> None:
    """The map reads the answers; its digest is in the certificate; the cache serves every map."""
    path = tmp_path / "pets.toml"
    path.write_text('name = "pets"\n[classes.pet]\nlabels = ["cat", "dog"]\n', "utf-8")
    options = {"cache": tmp_path / "votes", "fingerprint": "v1"}
    plain = smoothed(Counting(share=0.7), **options).certify(GREY, n=200)
    mapped = smoothed(Counting(share=0.7), labels=path, **options).certify(GREY, n=200)
    assert (mapped.label, mapped.votes, mapped.cached) == ("pet", 200, 200)
    assert set(plain.counts) == {"cat", "dog"}
    assert mapped.label_map == f"pets@{LabelMap.load(path).sha256[:16]}"


def test_predict_answers_or_abstains() -> None:
    """PREDICT returns the leader when the vote is clear, and None when it is not."""
    assert smoothed(Counting()).predict(GREY, n=50).label == "cat"
    split = smoothed(Counting(share=0.5)).predict(GREY, n=50)
    assert split.label is None
    assert sum(split.counts.values()) == split.n == 50


def test_certificate_survives_json() -> None:
    """A certificate is the same after a round trip through JSON, and is no truth value."""
    found = smoothed(Counting(share=0.9)).certify(GREY, n=100)
    assert Certificate.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["schema"] == "api-smooth/certificate/1"
    with pytest.raises(TypeError, match="neither"):
        bool(found)
    for text in ("", "[]", "{}", found.to_json().replace('"votes"', '"voices"')):
        with pytest.raises(ValueError, match="not a Certificate"):
            Certificate.from_json(text)
    assert "<table>" in found._repr_html_()


def test_seed_is_secret_by_default_and_never_shown() -> None:
    """The certificate carries the fingerprint of the installation's key, not the key."""
    api = smoothed(Counting(), seed=None)
    text = api.certify(GREY, n=20).to_json()
    assert '"seed": "secret:' in text
    assert api._seed.key.hex() not in text
    assert smoothed(Counting(), seed=5).certify(GREY, n=20).seed == "public:5"


def test_observers_see_every_round() -> None:
    """Progress events add up to the certificate."""
    events: list[Event] = []
    found = smoothed(Counting(share=0.9), observers=[events.append]).certify(GREY, n=600)
    counted = [e for e in events if isinstance(e, VotesCounted)]
    assert [e.n for e in counted] == sorted(e.n for e in counted)
    assert (counted[-1].n, counted[-1].leader, counted[-1].leader_votes) == (600, "cat", found.counts["cat"])
    assert isinstance(events[-1], ImageCertified)
    assert events[-1].certificate == found


def test_observers_hear_every_answer_once_and_in_order() -> None:
    """Of many images at once: each answer as it was counted, under its number; told again it is kept."""
    events: list[Event] = []
    api = smoothed(Counting(share=0.9), observers=[events.append])
    pictures = [np.full((8, 8, 3), value, np.uint8) for value in (100, 120, 140)]
    for asked, kept in (({"n": 70}, 0), ({"radius": 0.1, "n": 90}, None)):
        events.clear()
        found = list(api.certify_many(pictures, **asked))  # type: ignore[arg-type]
        for index, certificate in enumerate(found):
            told = [e for e in events if isinstance(e, AnswersCounted) and e.index == index]
            answers = [answer for event in told for answer in event.answers]
            assert {event.image_sha256 for event in told} == {certificate.image_sha256}
            assert [answer.number for answer in answers] == list(range(certificate.n))
            assert Counter(answer.vote for answer in answers) == certificate.counts
            assert sum(answer.kept for answer in answers) == certificate.cached
            assert kept is None or certificate.cached == kept
            assert len({answer.sha256 for answer in answers}) == len(certificate.counts), (
                "of all that they say"
            )
    assert any(certificate.cached for certificate in found)


def test_answers_cost_nothing_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """No digest is made."""
    monkeypatch.setattr("api_smoothing.engine.votes.digest_of", lambda answer: 1 / 0)
    assert smoothed(Counting()).certify(GREY, n=20).n == 20
    with pytest.raises(ZeroDivisionError):
        smoothed(Counting(), observers=[lambda event: None]).certify(GREY, n=20)


def test_module_as_provider() -> None:
    """An nn.Module is certified by its best class."""

    class Bright(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = x.mean((1, 2, 3))
            return torch.stack([1 - mean, mean], 1) * 50

    found = smoothed(Bright(), class_names=("dark", "bright")).certify(
        np.full((32, 32, 3), 220, np.uint8), n=100
    )
    assert found.label == "bright"


def test_radius_of_the_original_through_a_resize() -> None:
    """An image that is scaled down by 4 is certified further out in its own pixels, and both radii are given."""
    picture = np.full((128, 128, 3), 128, np.uint8)
    found = smoothed(Counting(), size=32).certify(picture, n=100)
    assert found.space == (32, 32)
    assert found.radius_original > 2 * found.radius


def test_bundled_votes_do_not_depend_on_batches_or_order() -> None:
    """The bundled denoiser and classifier give a query the same answer in portions of 1, 7, 64, and backwards."""

    def votes(sizes: list[int], backwards: bool = False) -> dict[int, Any]:
        api = SmoothedAPI("torchvision", sigma=0.5, seed=3, cache=False)
        from api_smoothing import images

        loaded = images.load(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8), size=32)
        sender = api._session.sender()
        stream = api._inquiry(loaded, api._noise_stream(loaded), sender).stream
        desk = api._session._desk(sender, 0.5)
        edges = np.cumsum([0, *sizes]).tolist()
        parts = [list(range(a, b)) for a, b in pairwise(edges)]
        found: dict[int, Any] = {}
        for part in reversed(parts) if backwards else parts:
            desk.put([Query(stream, index) for index in part])
            found |= {query.number: outcome for query, outcome in desk.step().items()}
        return found

    want = votes([64])
    assert len({a.labels[0].score for a in want.values()}) > 3
    assert votes([1] * 4 + [7] * 6 + [18]) == want
    assert votes([7] * 6 + [22], backwards=True) == want


def test_a_certificate_means_what_it_says() -> None:
    """The certified radius is the bound of Cohen et al. on the reported lower bound, within the noise's slack."""
    found = smoothed(Counting(share=0.93)).certify(GREY, n=1000)
    assert found.radius == pytest.approx(0.25 * NormalDist().inv_cdf(found.p_lower), abs=1e-6)
    assert found.p_lower < found.votes / found.n


def test_the_first_line_works_as_it_stands() -> None:
    """Without a radius and a number the best radius for 100 answers is certified; None asks for no cap, so a radius."""
    with SmoothedAPI(lambda x: ["cat"] * len(x), denoiser=None, seed=1) as api:
        found = api.certify(np.zeros((8, 8, 3), np.uint8))
        assert (found.label, found.n, found.method) == ("cat", 100, "fixed")
        assert found.radius == api.certify(np.zeros((8, 8, 3), np.uint8), n=100).radius
        assert api.estimate(1).queries_high == 100
        with pytest.raises(ConfigurationError, match="radius"):
            api.certify(np.zeros((8, 8, 3), np.uint8), n=None)


def test_a_sandbox_rehearses_from_python(provider: str) -> None:
    """With `sandbox=True` the provider's own SDK asks a server of ours: no cost, no credentials, no server left."""
    picture = np.full((32, 32, 3), 90, np.uint8)
    chosen = declaration_of(provider).example
    with SmoothedAPI(provider, sandbox=True, denoiser=None, sigma=0.12, seed=1, **chosen) as api:
        found = api.certify(picture, n=20)
    assert provider in found.provider
    assert found.provider.endswith("@sandbox")
    assert found.n == 20
    assert found.failed == 0
    with pytest.raises(ConfigurationError, match="sandbox"):
        SmoothedAPI(lambda x: ["cat"] * len(x), sandbox=True)


def test_nobody_is_certified_to_be_nobody() -> None:
    """Clarifai's "no person" is no class; the reading that passes it over has a name, a report of all has none."""
    with SmoothedAPI(
        "clarifai", sandbox=True, denoiser=None, sigma=0.12, size=32, seed=1, store="memory"
    ) as api:
        found = api.certify(GREY, n=20)
        reported = api.certify_labels(GREY, thresholds={"no person": 0.5}, n=20)
    assert not [name for name in found.counts if name.startswith("no person")]
    assert str(found.label_map).startswith("top-label@")
    assert {one.label_map for one in reported} == {None}

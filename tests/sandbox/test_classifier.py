from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from api_smoothing.errors import ConfigurationError
from api_smoothing.sandbox.classifier import CLASSES, bundled_classifier, scripted_brain, to_side


@pytest.fixture(scope="module")
def noise() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(12)]


def enlarged(image: np.ndarray, high: int, wide: int) -> np.ndarray:
    """Each pixel as a block of `high` by `wide`."""
    return image.repeat(high, axis=0).repeat(wide, axis=1)


@pytest.mark.parametrize("factor", [(1, 1), (2, 2), (3, 3), (7, 7), (3, 5), (1, 4)])
def test_an_enlargement_by_whole_factors_is_undone_exactly(
    noise: list[np.ndarray], factor: tuple[int, int]
) -> None:
    """Block means of repeated pixels are these pixels, so the classifier gets the same input, bit by bit."""
    for image in noise:
        assert np.array_equal(to_side(enlarged(image, *factor)), to_side(image))
    assert np.array_equal(to_side(noise[0]), noise[0].transpose(2, 0, 1).astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("shape", [(1, 1), (31, 33), (20, 50), (224, 224), (480, 640), (1000, 32)])
def test_images_of_any_size_come_to_the_networks_side(shape: tuple[int, int]) -> None:
    """Whatever the size, the input is 3×32×32 within [0, 1], and one colour stays that colour."""
    image = np.full((*shape, 3), (255, 128, 0), dtype=np.uint8)
    small = to_side(image)
    assert small.shape == (3, 32, 32)
    assert np.allclose(small, np.array([1.0, 128 / 255, 0.0])[:, None, None], atol=1e-6)


def test_the_brain_names_the_classes_of_the_bundled_network() -> None:
    """Scores are under the names, in the order, of the classifier's own classes."""
    cifar10net = pytest.importorskip("api_smoothing.adapters.local.cifar10net")
    assert CLASSES == cifar10net.CLASSES


def test_scores_are_probabilities(noise: list[np.ndarray]) -> None:
    """Ten scores in [0, 1] that add up to 1 for each image; no images, no scores."""
    classifier = bundled_classifier()
    for scores in classifier(noise):
        assert tuple(scores) == CLASSES
        assert all(0 <= score <= 1 for score in scores.values())
        assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
    assert list(classifier([])) == []


def test_an_image_has_the_same_scores_alone_in_any_batch_enlarged_and_in_any_thread(
    noise: list[np.ndarray],
) -> None:
    """An answer is a function of the image alone: not of its neighbours, its enlargement, or the load."""
    classifier = bundled_classifier()
    together = list(classifier(noise))
    assert [classifier([image])[0] for image in noise] == together
    assert list(classifier([enlarged(image, 3, 3) for image in noise])) == together
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda image: classifier([image])[0], noise * 4)) == together * 4


def test_the_bundled_brain_sees_what_the_network_was_trained_on(shared: Path) -> None:
    """On held-out CIFAR-10 images, enlarged as for a provider's minimum size, at least nine in ten are right."""
    from api_smoothing.training.data import load_images

    data = load_images(shared / "data" / "cifar10", "test")
    answers = bundled_classifier()([enlarged(image, 3, 3) for image in data.images[:100].numpy()])
    assert data.labels is not None
    right = [
        max(answer, key=answer.__getitem__) == CLASSES[int(label)]
        for answer, label in zip(answers, data.labels[:100], strict=True)
    ]
    assert np.mean(right) >= 0.9


def test_a_script_draws_classes_with_the_shares_given() -> None:
    """Over many images each class comes as often as its share says, and the rest of the time nothing is seen."""
    shares = {"cat": 0.6, "dog": 0.25, "truck": 0.1}
    classifier = scripted_brain(shares)
    rng = np.random.default_rng(1)
    count = 8000
    images = [*rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)]
    drawn = Counter(
        max(answer, key=answer.__getitem__) if any(answer.values()) else None for answer in classifier(images)
    )
    for name, share in [*shares.items(), (None, 0.05)]:
        sigma = (count * share * (1 - share)) ** 0.5
        assert abs(drawn[name] - count * share) < 5 * sigma
    assert sum(drawn.values()) == count
    assert set(drawn) == {*shares, None}


def test_a_script_gives_the_same_image_the_same_answer(noise: list[np.ndarray]) -> None:
    """The draw is a function of pixels, shape and seed: repeatable, and different for another seed."""
    shares = {"cat": 0.5, "dog": 0.5}
    many = noise * 3
    first = list(scripted_brain(shares)(many))
    assert list(scripted_brain(shares)(many)) == first
    assert first[: len(noise)] == first[len(noise) : 2 * len(noise)]
    assert any(list(scripted_brain(shares, seed=seed)(many)) != first for seed in (1, 2, 3))
    turned = [image.reshape(16, 64, 3) for image in noise]
    assert any(a != b for a, b in zip(scripted_brain(shares)(turned), first, strict=False))


@pytest.mark.parametrize(
    "shares", [{"lion": 1.0}, {"cat": 0.7, "dog": 0.4}, {"cat": -0.1}, {"cat": float("nan")}]
)
def test_shares_must_be_probabilities_of_known_classes(shares: dict[str, float]) -> None:
    """Unknown classes and shares that are no probabilities are refused in one line."""
    with pytest.raises(ConfigurationError) as refused:
        scripted_brain(shares)
    assert "\n" not in str(refused.value)

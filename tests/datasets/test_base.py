"""A data set's order, its random samples, and what makes one."""

from __future__ import annotations

import pytest

from api_smoothing.datasets.base import DataSet, Example, assembled
from api_smoothing.errors import ConfigurationError


def make(count: int, start: int = 0) -> DataSet:
    return assembled(
        "set", [Example(id=f"{k:04d}.png", image="x", truth="a") for k in range(start, start + count)]
    )


def ids(data: DataSet) -> list[str]:
    return [example.id for example in data]


def test_a_sample_is_the_documented_one() -> None:
    """The order is by the documented digest, and never changes: these ids were computed with coreutils."""
    # for k in 0 … 9: printf 'api-smooth sample 1\0007\000000%s.png' $k | sha256sum; sorted
    assert ids(make(10).sampled(3, 7)) == ["0006.png", "0004.png", "0002.png"]


def test_a_sample_does_not_depend_on_the_order_and_is_without_replacement() -> None:
    """The same ids in another order give the same sample; smaller samples are its beginnings."""
    whole = make(200)
    turned = assembled("set", whole.examples[::-1])
    drawn = whole.sampled(50, 1)
    assert ids(drawn) == ids(turned.sampled(50, 1))
    assert len(set(ids(drawn))) == 50
    assert ids(whole.sampled(20, 1)) == ids(drawn)[:20]
    assert ids(whole.sampled(50, 2)) != ids(drawn)
    assert (drawn.sample, drawn.sample_seed) == (50, 1)


def test_every_image_is_as_likely_in_a_sample() -> None:
    """Over 2,000 seeds each of 20 ids is in a sample of 5 near 500 times (5 standard deviations are 97)."""
    whole = make(20)
    seen = dict.fromkeys(ids(whole), 0)
    for seed in range(2000):
        for name in ids(whole.sampled(5, seed)):
            seen[name] += 1
    assert max(abs(count - 500) for count in seen.values()) < 97


def test_a_sample_of_more_than_there_are_is_all_and_is_told() -> None:
    """It is shuffled, recorded with its true size, and one sentence says so."""
    drawn = make(5).sampled(9, 3)
    assert sorted(ids(drawn)) == ids(make(5))
    assert drawn.sample == 5
    assert drawn.told == ("a sample of 9 is asked for; the set has 5 images: all are taken",)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_a_count_is_a_whole_number_of_one_or_more(count: object) -> None:
    """Nothing else is a limit or a sample."""
    for draw in (make(3).first, make(3).sampled):
        with pytest.raises(ConfigurationError, match="whole number of 1 or more"):
            draw(count)  # type: ignore[arg-type]


def test_a_set_needs_images_with_ids_of_their_own() -> None:
    """An empty set and an id that is there twice are refused."""
    with pytest.raises(ConfigurationError, match="no images"):
        assembled("set", [])
    with pytest.raises(ConfigurationError, match=r"'0000\.png' is there twice"):
        assembled("set", [*make(2), *make(1)])


def test_images_without_a_label_are_told_where_others_have_one() -> None:
    """A set without any label needs no word about it."""
    bare = [Example(id="b", image="x")]
    assert assembled("set", [*make(2), *bare]).told == ("1 of 3 images have no label",)
    assert assembled("set", bare).told == ()


def test_an_example_reads_its_image_when_asked() -> None:
    """A function is called, anything else is the image."""
    assert Example(id="a", image="a.png").read() == "a.png"
    assert Example(id="a", image=lambda: b"data").read() == b"data"

"""The arithmetic of turns."""

from __future__ import annotations

from array import array

import pytest

from api_smoothing.adapters.base import Quota
from api_smoothing.engine.storage.flow import Flow, Lane


def test_a_turn_comes_one_window_after_that_count_places_before() -> None:
    """With a margin of 2 %, and no closer to the last one than half an even flow."""
    lane = Lane(Quota(unit="image", count=3, seconds=10.0))
    times = []
    for _ in range(4):
        at = lane.next(1, 100.0)
        lane.take(1, at)
        times.append(at)
    assert times == pytest.approx([100.0, 101.7, 103.4, 110.2])


def test_a_turn_is_that_of_the_slowest_quota() -> None:
    """Images and requests are counted each by their own quota."""
    flow = Flow(
        {
            "images": Lane(Quota(unit="image", count=100, seconds=1.0)),
            "requests": Lane(Quota(unit="request", count=1, seconds=5.0)),
        }
    )
    flow.take(8, 50.0)
    assert flow.next(8, 50.0) == pytest.approx(55.1)


@pytest.mark.parametrize("images", [1, 3, 12])
def test_what_is_given_back_was_never_taken(images: int) -> None:
    """Also of a batch that fills several windows."""
    lane = Lane(Quota(unit="image", count=5), array("d", [1.0, 2.0]))
    lane.take(images, 7.0)
    lane.give_back(images, 7.0)
    assert list(lane.past) == [1.0, 2.0]


def test_a_request_counts_again_where_it_may_have_arrived() -> None:
    """Later than everything that left meanwhile, in order."""
    flow = Flow({"k": Lane(Quota(unit="image", count=5), array("d", [1.0, 9.0]))})
    flow.pass_by(1, 4.0)
    assert list(flow.lanes["k"].past) == [1.0, 9.0, 9.0]

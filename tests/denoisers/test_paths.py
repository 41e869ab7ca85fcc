"""Several paths from one noisy image, and the one they agree on."""

from __future__ import annotations

import pytest
import torch
from gaussian_pixels import MU, Exact, blur, draw, gaussian

from api_smoothing import denoisers
from api_smoothing.denoisers.paths import Paths, majority, middle
from api_smoothing.denoisers.reverse import Reverse
from api_smoothing.errors import ConfigurationError


def test_paths_are_numbered() -> None:
    """Path j is the same whatever K, all K differ, and the single image is one of them."""
    paths = Paths(reverse=Reverse(denoiser=gaussian(), steps=3), paths_per_query=4)
    x = MU + 0.3 * draw(2, 3, 8, 8)
    ends = paths.paths(x, 0.25)
    assert ends.shape == (4, 2, 3, 8, 8)
    assert torch.equal(paths.paths(x, 0.25, 2), ends[:2])
    assert len({end.numpy().tobytes() for end in ends}) == 4
    chosen = paths(x, 0.25)
    assert all(any(torch.equal(chosen[row], end[row]) for end in ends) for row in range(2))
    for reverse in (Reverse(denoiser=gaussian(), eta=0.0), Reverse(denoiser=gaussian(), steps=1)):
        with pytest.raises(ConfigurationError, match="chance"):
            Paths(reverse=reverse)


def test_the_middle_path_is_the_nearest_to_the_mean() -> None:
    """Of paths along a line the one nearest their mean is taken, row by row."""
    ends = torch.tensor([[0.0, 5.0], [1.0, 0.0], [5.0, 1.0]])[:, :, None, None, None].expand(3, 2, 3, 2, 2)
    assert middle(ends)[:, 0, 0, 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("labels", "winner"),
    [
        (["a", "b", "b"], "b"),
        (["b", "a", "a", "b"], "b"),
        ([None, None, "a"], None),
        (["a"], "a"),
        ([], None),
    ],
)
def test_the_majority_is_a_function_of_the_labels_in_order(
    labels: list[str | None], winner: str | None
) -> None:
    """The label most paths got wins; of equals the first; "no label" may win, and then there is none."""
    assert majority(labels) == winner


class TestPathsSuite(Exact):
    """The middle one of three paths."""

    @pytest.fixture
    def denoiser(self) -> denoisers.Denoiser:
        return Paths(reverse=Reverse(denoiser=blur(), steps=3), paths_per_query=3)

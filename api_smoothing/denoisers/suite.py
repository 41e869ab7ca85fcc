"""The laws every denoiser keeps, as a pytest class to subclass.

```python
class TestMine(DenoiserSuite):
    @pytest.fixture
    def denoiser(self):
        return load("mine")
```
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from api_smoothing.denoisers.adopted import UNKNOWN
from api_smoothing.denoisers.base import Denoiser, ManyPaths
from api_smoothing.errors import ConfigurationError


class DenoiserSuite:
    """Subclass with a `denoiser` fixture; `side` overrides the side length, `tolerance` the largest row difference."""

    side: int | None = None
    tolerance: float = 0.02

    @pytest.fixture
    def denoiser(self) -> Denoiser:
        """The denoiser under test."""
        raise NotImplementedError("give the class a fixture named denoiser")

    def _levels(self, denoiser: Denoiser) -> tuple[float, float, float]:
        low, high = denoiser.card.sigma_range
        return low, (low * high) ** 0.5, high

    def _clean(self, denoiser: Denoiser, count: int = 6) -> Tensor:
        """Smooth images (count,3,side,side) in [0,1]: low-frequency waves of random phase."""
        side = self.side or (denoiser.card.sizes[0] if denoiser.card.sizes else 8 * denoiser.card.multiple)
        draw = torch.Generator().manual_seed(1)
        t = torch.linspace(0, 3.0, side)
        phase = 6.3 * torch.rand((2, count, 3, 1), generator=draw)
        return 0.5 + 0.2 * (torch.sin(t + phase[0])[..., None, :] + torch.cos(t + phase[1])[..., :, None])

    def _noisy(self, denoiser: Denoiser, sigma: float, count: int = 6) -> Tensor:
        clean = self._clean(denoiser, count)
        return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))

    def test_it_has_every_member(self, denoiser: Denoiser) -> None:
        """It tells its arithmetic, and how many queries a noisy image is; several only with a path for each."""
        for member in ("card", "compute", "paths_per_query"):
            assert hasattr(denoiser, member), f"a denoiser has a member {member}"
        assert isinstance(denoiser.compute, str)
        assert denoiser.compute not in {"", UNKNOWN}
        assert isinstance(denoiser.paths_per_query, int)
        assert denoiser.paths_per_query >= 1
        if denoiser.paths_per_query > 1:
            assert isinstance(denoiser, ManyPaths), "several paths a query need path(x, sigma, number)"
            sigma = self._levels(denoiser)[1]
            x = self._noisy(denoiser, sigma, 2)
            for number in range(denoiser.paths_per_query):
                assert denoiser.path(x, sigma, number).shape == x.shape
                assert torch.equal(denoiser.path(x, sigma, number), denoiser.path(x, sigma, number))

    def test_card_is_complete(self, denoiser: Denoiser) -> None:
        """The card names an id, a sha256, and a σ range above zero."""
        card = denoiser.card
        assert card.id
        assert len(card.sha256) == 64
        assert 0 < card.sigma_range[0] <= card.sigma_range[1]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_keeps_shape_type_and_device(self, denoiser: Denoiser, dtype: torch.dtype) -> None:
        """The estimate has the input's shape, type and device, and is finite."""
        x = self._noisy(denoiser, self._levels(denoiser)[1]).to(dtype)
        y = denoiser(x, self._levels(denoiser)[1])
        assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
        assert bool(y.isfinite().all())

    def test_repeats_itself(self, denoiser: Denoiser) -> None:
        """The same input gets the same estimate, bit for bit."""
        sigma = self._levels(denoiser)[1]
        x = self._noisy(denoiser, sigma)
        assert torch.equal(denoiser(x, sigma), denoiser(x, sigma))

    def test_leaves_its_input_alone(self, denoiser: Denoiser) -> None:
        """The input tensor is not written to."""
        sigma = self._levels(denoiser)[1]
        x = self._noisy(denoiser, sigma)
        before = x.clone()
        denoiser(x, sigma)
        assert torch.equal(x, before)

    def test_sigma_may_differ_by_row(self, denoiser: Denoiser) -> None:
        """σ (N,) serves row i with σ_i: rows agree with single-σ calls."""
        levels = self._levels(denoiser)
        x = self._noisy(denoiser, levels[0], len(levels))
        together = denoiser(x, torch.tensor(levels))
        for k, sigma in enumerate(levels):
            torch.testing.assert_close(together[k], denoiser(x, sigma)[k], rtol=0, atol=self.tolerance)

    def test_rows_do_not_see_each_other(self, denoiser: Denoiser) -> None:
        """Row i depends on row i alone: permuting, replacing or dropping the others leaves it."""
        sigma = self._levels(denoiser)[1]
        x = self._noisy(denoiser, sigma)
        y = denoiser(x, sigma)
        order = torch.arange(len(x)).flip(0)
        torch.testing.assert_close(denoiser(x[order], sigma), y[order], rtol=0, atol=self.tolerance)
        other = x.clone()
        other[1:] = 1 - other[1:]
        torch.testing.assert_close(denoiser(other, sigma)[0], y[0], rtol=0, atol=self.tolerance)
        torch.testing.assert_close(denoiser(x[:1], sigma)[0], y[0], rtol=0, atol=self.tolerance)

    def test_sides_are_any_where_the_card_has_no_sizes(self, denoiser: Denoiser) -> None:
        """Sides that are no multiple of the card's are served too, row by row."""
        if denoiser.card.sizes:
            return
        sigma = self._levels(denoiser)[1]
        x = self._noisy(denoiser, sigma, 3)[..., :-1, :-3]
        y = denoiser(x, sigma)
        assert y.shape == x.shape
        assert bool(y.isfinite().all())
        torch.testing.assert_close(denoiser(x[:1], sigma)[0], y[0], rtol=0, atol=self.tolerance)

    def test_refuses_other_sigmas(self, denoiser: Denoiser) -> None:
        """A σ outside the card's range, even in one row, is a one-line ConfigurationError."""
        low, high = denoiser.card.sigma_range
        x = self._noisy(denoiser, low, 2)
        for bad in (low / 2, high * 2, torch.tensor([low, high * 2]), float("nan")):
            with pytest.raises(ConfigurationError) as caught:
                denoiser(x, bad)
            assert "\n" not in str(caught.value)

    def test_denoises(self, denoiser: Denoiser) -> None:
        """On smooth images the estimate is at least 3 dB closer to the clean image than the noisy one."""
        clean = self._clean(denoiser)
        for sigma in self._levels(denoiser)[1:]:
            x = self._noisy(denoiser, sigma)
            left = (denoiser(x, sigma).clamp(0, 1) - clean).square().mean()
            assert left < (x.clamp(0, 1) - clean).square().mean() / 2

    def test_an_empty_batch_is_empty(self, denoiser: Denoiser) -> None:
        """No images in, none out."""
        x = self._noisy(denoiser, self._levels(denoiser)[1])[:0]
        assert denoiser(x, self._levels(denoiser)[1]).shape == x.shape

"""Noise and the way back: rows on their own, copies and paths, costs, and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy_defences import smoother, tensor

from api_smoothing.defences import Cost, Denoised, load
from api_smoothing.defences.base import purified
from api_smoothing.defences.denoised import REFERENCES
from api_smoothing.denoisers.guided import Guided
from api_smoothing.denoisers.paths import Paths
from api_smoothing.denoisers.reverse import Reverse
from api_smoothing.errors import ConfigurationError

KINDS: dict[str, Any] = {
    "oneshot": lambda: smoother(),
    "reverse": lambda: Reverse(denoiser=smoother(), steps=3),
    "guided": lambda: Guided(denoiser=smoother(), steps=3, scale=40.0),
    "vote": lambda: Paths(reverse=Reverse(denoiser=smoother(), steps=3), paths_per_query=2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copies", [1, 2])
def test_a_row_depends_on_itself_and_the_seed(kind: str, copies: int) -> None:
    """8-bit images nearer to the clean ones than the noise; the same in any batch, others for another seed or copy."""
    defence = Denoised(name=kind, denoiser=KINDS[kind](), sigma=0.3, copies=copies)
    clean = tensor(4)
    found = purified(defence, clean, 1)
    assert found.shape[1] == defence.cost.queries == copies * (2 if kind == "vote" else 1)
    assert float((found[:, 0] - clean).square().mean()) < 0.8 * 0.3**2
    torch.testing.assert_close(purified(defence, clean[2:3], 1), found[2:3], rtol=0, atol=1.01 / 255)
    assert not torch.equal(purified(defence, clean, 2), found)
    assert len({copy.numpy().tobytes() for copy in found[0]}) == found.shape[1]


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("denoised", Cost(queries=1, evaluations=1)),
        ("denoised?denoiser=auto?method=ensemble%26views=2", Cost(queries=1, evaluations=2)),
        ("diffusion", Cost(queries=1, evaluations=1)),
        ("reverse?steps=3", Cost(queries=1, evaluations=3)),
        ("guided", Cost(queries=1, evaluations=8)),
        ("guided?weight=1&steps=4", Cost(queries=1, evaluations=8)),
        ("guided?copies=5&steps=4", Cost(queries=5, evaluations=20)),
        ("guided?reference=estimate", Cost(queries=1, evaluations=9)),
        ("densepure?paths=3&steps=4", Cost(queries=3, evaluations=12)),
        ("smoothing?copies=7", Cost(queries=7, evaluations=7)),
    ],
)
def test_costs_are_what_a_name_says(name: str, cost: Cost) -> None:
    """Queries are images; evaluations are those of the denoiser's network, and of a surrogate."""
    assert load(name).cost == cost


def test_a_path_is_held_to_the_input_or_to_the_estimate() -> None:
    """Held hard it ends at what it is held to: of a spot that is not noise, at the spot or without it."""
    spot = torch.full((1, 3, 8, 8), 0.5)
    spot[..., 4, 4] = 1.0
    guided = Guided(denoiser=smoother(), steps=4, scale=1e6)
    ends = {
        name: purified(Denoised(name=name, denoiser=guided, sigma=0.3, reference=name), spot, 1)[0, 0]
        for name in REFERENCES
    }
    far = {name: float((end - spot[0]).square().mean()) for name, end in ends.items()}
    assert far["input"] < far["estimate"]


def test_costs_are_what_was_computed() -> None:
    """As many uses of the network as an object's cost says, for each image."""
    seen = 0

    def counted(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += len(x)
        return x

    from api_smoothing import denoisers

    network = denoisers.wrap(counted, id="counted@1", sigma_range=(0.02, 1.0))
    for denoiser in (
        network,
        Reverse(denoiser=network, steps=3),
        Guided(denoiser=network, steps=4, scale=1.0),
        Paths(reverse=Reverse(denoiser=network, steps=3), paths_per_query=2),
    ):
        defence = Denoised(name="counted", denoiser=denoiser, sigma=0.3, copies=2)
        seen = 0
        purified(defence, tensor(2), 0)
        assert seen == 2 * defence.cost.evaluations


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_go_through(kind: str) -> None:
    """A gradient that is the denoiser's where it has one, never none; the noise is another one at each call."""
    defence = Denoised(name=kind, denoiser=KINDS[kind](), sigma=0.3)
    module = defence.differentiable()
    clean = tensor(1).requires_grad_()
    found = module(clean)
    assert not torch.equal(found, module(clean))
    first = found.flatten()[torch.tensor([found.numel() // 2])].sum()
    (slope,) = torch.autograd.grad(first, clean)
    assert int((slope != 0).sum()) >= (1 if kind == "guided" else 2)


def test_gradients_are_not_kept_where_none_are_asked_for() -> None:
    """Purifying builds no graph."""
    assert not Denoised(name="x", denoiser=smoother()).purify(tensor(), 0).requires_grad


def test_identities_tell_denoisers_apart() -> None:
    """By digest of the weights, and of a sampler's settings."""
    names = ("denoised", "denoised?denoiser=unet-cifar10-mse", "reverse", "reverse?steps=3", "guided")
    found = [getattr(load(name), "identity") for name in names]  # noqa: B009
    assert len(set(found)) == len(names)
    assert all("@" in one for one in found)


def test_numbers_out_of_range_are_refused() -> None:
    """σ above 0, copies from 1 on."""
    for given in ({"sigma": 0.0}, {"copies": 0}, {"reference": "imput"}):
        with pytest.raises(ConfigurationError, match=next(iter(given))):
            Denoised(name="x", **given)  # type: ignore[arg-type]

"""Gradients that are lent: over the classes that all twins have, as answers are read, at the size each was made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from half_space import HalfSpace
from torch import Tensor

from api_smoothing import SmoothedAPI
from api_smoothing.adapters.labels.label_map import LabelMap
from api_smoothing.attacks import PGD, Attacked, Holding, Square, Twin, attack_answers, attack_certificates
from api_smoothing.attacks.twins import together
from api_smoothing.attacks.victim import victim_of
from api_smoothing.datasets import map_truths, open_dataset
from api_smoothing.errors import ConfigurationError

NET = HalfSpace(8)
OTHER = HalfSpace(8, slope=7)
TWIN = Twin(name="other", model=OTHER, names=("up", "down"))


def mute(x: Tensor) -> list[str]:
    """The half-space as a service has it: a word, and nothing to follow."""
    return [("up", "down")[int(row)] for row in NET(x).argmax(1)]


def opened(model: Any = mute, **options: Any) -> SmoothedAPI:
    settings = {"denoiser": None, "store": "memory", "seed": 0, "sigma": 0.08, "class_names": ["up", "down"]}
    return SmoothedAPI(model, **{**settings, **options})


def done(api: SmoothedAPI, given: list[Any], twins: list[Twin], **options: Any) -> list[Attacked]:
    data = open_dataset(given)
    truths = map_truths(data, api.label_map, api.card.labels)
    if "holding" in options:
        return list(attack_certificates(api, data, truths, options.pop("holding"), twins=twins, **options))
    return list(attack_answers(api, data, truths, options.pop("attack"), twins=twins))


def test_what_fools_the_twin_is_asked_about() -> None:
    """A transfer attack: two queries an image, and what was found is answered otherwise by the model that is asked."""
    with opened() as api:
        with pytest.raises(ConfigurationError, match="no gradients"):
            done(api, [NET.at(0.2)], [], attack=PGD(norm="l2", radius=0.4, steps=5))
        (near,) = done(api, [NET.at(0.2)], [TWIN], attack=PGD(norm="l2", radius=0.15, steps=5))
        (far,) = done(api, [NET.at(0.2)], [TWIN], attack=PGD(norm="l2", radius=0.3, steps=5))
    assert (near.distance, near.queries, near.gradients) == (None, 2, "gradients of other")
    assert far.distance is not None
    assert 0.19 < far.distance <= 0.3
    assert mute(torch.from_numpy(far.image).permute(2, 0, 1)[None] / 255) == ["down"]


def test_certificates_of_what_gives_no_gradients_are_attacked() -> None:
    """Through a twin the attack on the smoothed classifier has the power it has through the model itself."""
    holding = Holding(steps=6, restarts=1, eot=4, votes=400)
    with opened() as api:
        (one,) = done(api, [NET.at(0.2)], [TWIN], holding=holding, n=300)
    inside, outside = one.attempts
    assert (inside.turned, outside.turned) == (False, True)
    assert one.gradients == "gradients of other"
    assert one.to_dict()["gradients"] == "gradients of other"


def test_a_twin_that_leads_elsewhere_finds_nothing() -> None:
    """What is attacked is the twin, what is asked is not: another plane's direction does not turn this one."""
    stranger = Twin(name="stranger", model=HalfSpace(8, seed=5), names=("up", "down"))
    with opened() as api:
        (one,) = done(api, [NET.at(0.2)], [stranger], attack=PGD(norm="l2", radius=0.3, steps=5))
    assert one.distance is None


def test_of_several_the_mean_is_attacked_over_common_classes(tmp_path: Path) -> None:
    """Log-probabilities of the classes that all have, several columns of one class read as the best."""
    path = tmp_path / "pets.toml"
    path.write_text(
        'name = "pets"\n[classes.cat]\nlabels = ["tabby", "siamese"]\n[classes.dog]\nlabels = ["poodle"]\n'
        '[classes.bird]\nlabels = ["finch"]\n'
    )

    def gives(*scores: float) -> Any:
        return lambda x: torch.tensor([scores]).repeat(len(x), 1)

    first = Twin(
        name="a", model=gives(1.0, 2.0, 3.0, 9.0, 5.0), names=("tabby", "poodle", "siamese", "car", "finch")
    )
    second = Twin(name="b", model=gives(4.0, 0.0), names=("dog", "cat"))
    model, classes = together([first, second], LabelMap.load(path))
    assert classes == ("cat", "dog")
    want = torch.stack([torch.tensor([3.0, 2.0]).log_softmax(0), torch.tensor([0.0, 4.0]).log_softmax(0)])
    torch.testing.assert_close(model(torch.zeros(2, 3, 4, 4)), want.mean(0).repeat(2, 1))
    with pytest.raises(ConfigurationError, match="no two classes in common"):
        together([first, second], None)
    with pytest.raises(ConfigurationError, match="scores of shape"):
        Twin(name="c", model=gives(1.0), names=("a", "b"))(torch.zeros(1, 3, 4, 4))


def test_a_twin_of_one_size_sees_that_size() -> None:
    """Images of a service have any size; the gradient comes back through the resize."""
    sizes = []

    def model(x: Tensor) -> Tensor:
        sizes.append(tuple(x.shape[2:]))
        return NET(x)

    twin = Twin(name="small", model=model, names=("up", "down"), side=8)
    with opened(lambda x: ["up"] * len(x)) as api:
        victim = victim_of(api, smoothed=False, twins=[twin])
        x = torch.rand((1, 3, 12, 20), requires_grad=True)
        (slope,) = torch.autograd.grad(victim(x)[0, 0], x)
    assert sizes == [(8, 8)]
    assert slope.shape == x.shape
    assert float(slope.abs().max()) > 0


def test_a_class_that_the_twins_lack_is_told() -> None:
    """One image's reason, and the others go on; of attacks that follow nothing twins are refused."""
    names = Twin(name="other", model=OTHER, names=("down", "sideways"))
    given = [NET.at(0.2), NET.at(-0.2)]
    with opened() as api:
        up, down = done(api, given, [names], attack=PGD(norm="l2", radius=0.3, steps=3))
        assert "no class 'up'" in up.reason
        assert not down.reason
        up, down = done(api, given, [names], holding=Holding(steps=2, restarts=1, eot=2, votes=60), n=100)
        assert "no class 'up'" in up.reason
        assert down.attempts
        with pytest.raises(ConfigurationError, match="pgd-l2 and pgd-linf"):
            done(api, given, [TWIN], attack=Square(radius=0.1))


def test_names_of_local_networks() -> None:
    """The bundled classifier lends its gradients under its own names."""
    from api_smoothing.convnet import CLASSES
    from api_smoothing.purification import load_named_classifier

    net, names = load_named_classifier("cifar10", "cpu")
    assert names == CLASSES
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, len(names))
    assert np.isfinite(net(torch.zeros(1, 3, 32, 32)).detach().numpy()).all()

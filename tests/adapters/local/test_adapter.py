"""Modules and functions of the user: asked row by row, in evaluation mode, on copies, and given back as they came."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from api_smoothing import SmoothedAPI
from api_smoothing.adapters import Adapter, AdapterCard, Answer, Label, Verdict
from api_smoothing.adapters.local.adapter import CallableAdapter, ModuleAdapter, ReplicatedAdapter
from api_smoothing.errors import ConfigurationError, ProviderError

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
X = torch.rand(3, 3, 8, 8)
SETTINGS: dict[str, Any] = {"sigma": 0.25, "denoiser": None, "seed": 1, "cache": False}


class Says(nn.Module):
    """Gives what `function` gives."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def names_in(function: Any) -> tuple[str, ...]:
    return function.__code__.co_freevars if hasattr(function, "__code__") else ()


def row(*numbers: float) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.tensor([numbers]).repeat(len(x), 1)


@pytest.mark.parametrize("times", [5, 0])
def test_another_number_of_rows_is_refused(times: int) -> None:
    """Five crops an image, or none, are no scores of the images in their order."""
    crops = Says(lambda x: row(1.0, 2.0)(x).repeat_interleave(times, 0))
    with pytest.raises(ProviderError, match="one row of output an image"):
        ModuleAdapter(crops).label(X)
    with pytest.raises(ProviderError, match="returned"):
        CallableAdapter(crops).label(X)


def test_a_module_is_asked_in_evaluation_mode_and_given_back_as_it_came() -> None:
    """Each part has its own mode again, each time, and also after an error."""
    seen: list[bool] = []
    net = nn.Sequential(nn.Dropout(0.5), Says(lambda x: seen.append(net.training) or row(1.0, 0.0)(x)))
    net.train()
    net[0].eval()
    adapter = ModuleAdapter(net)
    for _ in range(2):
        adapter.label(X)
        assert (net.training, net[0].training, net[1].training) == (True, False, True)
    assert seen == [False, False]
    net[1].function = lambda x: 1 / 0
    with pytest.raises(ProviderError):
        adapter.label(X)
    assert (net.training, net[0].training) == (True, False)


def test_writing_into_the_input_changes_nobody_elses() -> None:
    """Every attempt has a copy of its own, also of a tensor whose strides would do as they are."""

    def blackens(x: Tensor) -> Tensor:
        return row(1.0, 0.0)(x.zero_())

    for images in (X.clone(), X.clone().contiguous(memory_format=torch.channels_last)):
        before = images.clone()
        for adapter in (CallableAdapter(blackens), ModuleAdapter(Says(blackens))):
            adapter.label(images)
            assert torch.equal(images, before)


def test_no_inference_tensor_reaches_the_users_code() -> None:
    """What a module keeps of its first call can be trained on afterwards."""
    kept: list[Tensor] = []
    for provider in (
        lambda x: kept.append(x) or row(1.0, 0.0)(x),
        Says(lambda x: kept.append(x) or row(1.0, 0.0)(x)),
    ):
        with SmoothedAPI(provider, **SETTINGS) as api:
            api.predict(IMAGE, n=3)
    assert kept
    assert not any(x.is_inference() or x.requires_grad for x in kept)


def test_the_users_own_exception_is_told_and_chained() -> None:
    """Its text is in the one line, and its traceback in the chain."""

    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("weights of\nlayer seven are missing")

    for provider in (broken, Says(broken)):
        with SmoothedAPI(provider, **SETTINGS) as api, pytest.raises(ProviderError) as caught:
            api.certify(IMAGE, n=20)
        assert "RuntimeError: weights of layer seven are missing" in str(caught.value)
        assert "in broken" in "".join(traceback.format_exception(caught.value))


def test_a_function_that_asks_its_own_object_is_an_error() -> None:
    """Not a deadlock, on the first request or a later one."""
    deep = False
    api = SmoothedAPI(
        lambda x: [api.predict(255 - IMAGE, n=2).label] * len(x) if deep else [0] * len(x), **SETTINGS
    )
    for number in range(2):
        image = IMAGE ^ np.uint8(number)
        deep = True
        with pytest.raises(ConfigurationError, match="asks itself"):
            api.predict(image, n=3)
        deep = False
        assert api.predict(image, n=20).label == "0"


@pytest.mark.parametrize(
    ("scores", "outputs", "certified"),
    [
        ((0.99, 0.01, 0.0), None, {"weapon"}),
        ((0.9, 0.8, 0.05), "probabilities", {"weapon", "b"}),
        ((9.0, 0.0, 0.0), None, {"weapon"}),
        ((0.9, 0.8, 0.05), None, None),
    ],
)
def test_a_threshold_is_held_to_probabilities_only(
    scores: tuple[float, ...], outputs: Any, certified: set[str] | None
) -> None:
    """A label is absent only by the model's own probability; what may be logits or not is refused."""
    for provider in (Says(row(*scores)), row(*scores)):
        with SmoothedAPI(
            provider, class_names=["weapon", "b", "c"], outputs=outputs, top=3, **SETTINGS
        ) as api:
            if certified is None:
                with pytest.raises(ConfigurationError, match='say outputs="logits" or "probabilities"'):
                    api.certify_labels(IMAGE, n=100, thresholds=0.5, absent=["weapon"])
                assert api.certify(IMAGE, n=100).label == "weapon"  # the best of them is the best either way
            else:
                found = api.certify_labels(IMAGE, n=100, thresholds=0.5, absent=["weapon"])
                assert {c.label for c in found if c.label} == certified


def test_ties_go_to_the_first_output() -> None:
    """The argmax is certified, not the name that comes first in the alphabet."""
    with SmoothedAPI(Says(row(2.0, 2.0)), class_names=["zebra", "ant"], **SETTINGS) as api:
        assert api.certify(IMAGE, n=20).label == "zebra"


def test_wrong_settings_are_refused_before_anything_is_asked() -> None:
    """One line each."""
    for make in (CallableAdapter, ModuleAdapter):
        for wrong in ({"outputs": "scores"}, {"top": 0}, {"class_names": ["a", ""]}):
            with pytest.raises(ConfigurationError):
                make(nn.Identity(), **wrong)


def test_kept_answers_are_those_of_the_function_as_it_is() -> None:
    """Weights, numbers and closures changed between two images of one object: nothing kept before counts."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    net[1].weight.data.zero_()
    share = [1.0]
    for provider in (net, lambda x: net(x), lambda x: net(x) * share[0]):
        net[1].bias.data.copy_(torch.tensor([5.0, 0.0, 0.0]))
        with SmoothedAPI(provider, **SETTINGS) as api:
            assert api.certify(IMAGE, n=20).counts == {"0": 20}
            net[1].bias.data.copy_(torch.tensor([0.0, 5.0, 0.0]))
            assert api.certify(IMAGE, n=40).counts == {"1": 40}
            assert api.certify(IMAGE, n=40).cached == 40
            share[0] *= 2
            assert api.certify(IMAGE, n=40).cached == (40 if "share" not in names_in(provider) else 0)


def test_a_fingerprint_covers_everything_else() -> None:
    """Of one name for the code: weights, names, `top` and `outputs` are part of it, taken anew."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    for make, thing in ((ModuleAdapter, net), (CallableAdapter, lambda x: net(x))):
        one = make(thing, fingerprint="1")
        options: list[dict[str, Any]] = [
            {"class_names": ["a", "b", "c"]},
            {"class_names": ["a", "b", "d"]},
            {"top": 2},
            {"outputs": "logits"},
        ]
        prints = [one.card.fingerprint, make(thing, fingerprint="2").card.fingerprint]
        prints += [make(thing, fingerprint="1", **more).card.fingerprint for more in options]
        assert prints[0] == make(thing, fingerprint="1").card.fingerprint
        net[1].weight.data.add_(1e-6)
        prints.append(one.card.fingerprint)
        assert len(set(prints)) == len(prints)
        assert make(thing).card.fingerprint == ""


def test_a_function_without_weights_in_sight_is_named_as_ever() -> None:
    """What was bought through it before is found again."""
    assert CallableAdapter(len, fingerprint="len-1").card.fingerprint == "len-1"


def test_answers_cut_off_by_a_smaller_top_hold_no_threshold() -> None:
    """Those of earlier versions may be of another `top`, in which a label that is absent was only left out."""
    adapter = ModuleAdapter(nn.Identity(), class_names=["a", "b", "c"], fingerprint="1")
    whole = Answer(labels=tuple(Label(name=n, score=s) for n, s in zip("abc", (0.6, 0.3, 0.1), strict=True)))
    assert not adapter.doubt(whole)
    assert "cache clear" in adapter.doubt(Answer(labels=whole.labels[:1]))
    assert "cache clear" in CallableAdapter(len).doubt(Answer(labels=(Label(name="a", score=9.0),)))


class Answers:
    """A model that answers with one name, which does no arithmetic."""

    card = AdapterCard(name="says", fingerprint="says-1", accepts="tensor")

    def __init__(self, name: str) -> None:
        self.name = name

    def label(self, images: Any, /) -> list[Answer]:
        return [Answer(labels=(Label(name=self.name),))] * len(images)

    def verdict(self, error: Exception, /) -> Verdict:
        return Verdict.REFUSED


def test_images_are_answered_where_they_lie() -> None:
    """By the replica on their device; those from elsewhere by the first."""
    found = {"cpu": Answers("here"), "meta": Answers("there")}
    for replicas, device, want in (
        (found, "cpu", "here"),
        (found, "meta", "there"),
        ({"cuda:0": found["cpu"], "cuda:1": found["meta"]}, "meta", "here"),
    ):
        answers = ReplicatedAdapter(replicas).label(torch.zeros(2, 3, 4, 4, device=device))
        assert [answer.labels[0].name for answer in answers if isinstance(answer, Answer)] == [want] * 2


def test_it_is_one_provider() -> None:
    """With the card of its replicas, which are the same, and what they say of themselves."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    one = ModuleAdapter(module, fingerprint="linear-1", outputs="logits", top=2)
    unnamed = ModuleAdapter(module)
    both, plain = ReplicatedAdapter({"cuda:0": one, "cuda:1": one}), Answers("x")
    assert isinstance(both, Adapter)
    assert both.card == one.card
    assert both.state() == one.state() == ""
    assert ReplicatedAdapter({"cpu": unnamed}).state() == unnamed.state() != ""
    strange = Answer(labels=(Label(name="0", score=7.0), Label(name="1", score=6.0)))
    assert both.doubt(strange) == one.doubt(strange) != ""
    assert ReplicatedAdapter({"cpu": plain}).doubt(strange) == ReplicatedAdapter({"cpu": plain}).state() == ""
    assert ReplicatedAdapter({"cpu": plain}).verdict(ValueError()) == Verdict.REFUSED

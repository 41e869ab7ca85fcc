"""Networks see batches of one shape, which follows from the device and the images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from api_smoothing.adapters.local.batches import (
    check_repeatable,
    cuda_batch,
    micro_batch,
    most_at_once,
    run_in_micro_batches,
)
from api_smoothing.errors import ConfigurationError


def test_answers_do_not_depend_on_the_batch() -> None:
    """An image's scores are the same bits whatever else is in its batch."""
    network = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 9)
    )
    x = torch.rand(70, 3, 32, 32)
    with torch.inference_mode():
        whole = run_in_micro_batches(network, x, 32)
        parts = torch.cat([run_in_micro_batches(network, x[i : i + 7], 32) for i in range(0, 70, 7)])
    assert torch.equal(whole, parts)


def test_large_images_are_padded_to_fewer() -> None:
    """64 small images at once on a processor, 8 of 224×224: a request for one must not cost 64 of those."""
    assert [micro_batch("cpu", side * side) for side in (32, 64, 128, 224, 1024)] == [64, 64, 16, 8, 8]
    rows: list[int] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        rows.append(len(x))
        return x.mean((1, 2, 3))

    for side, count in ((224, 9), (32, 9)):
        run_in_micro_batches(network, torch.zeros(count, 3, side, side))
    assert rows == [8, 8, 64]


def test_a_card_is_filled_by_its_memory_and_the_images() -> None:
    """By what the card has, which is the same tomorrow, and not by what is free; of large images there are few."""
    sides = (32, 64, 224, 512, 4096)
    assert [cuda_batch(141 << 30, side * side) for side in sides] == [512, 512, 64, 16, 1]
    assert [cuda_batch(15 << 30, side * side) for side in sides] == [512, 256, 16, 4, 1]
    assert [cuda_batch(2 << 30, side * side) for side in sides] == [512, 128, 8, 2, 1]


def test_a_batch_is_handed_over_whole() -> None:
    """A part of one would be padded to a whole one, and cost as much."""
    assert most_at_once("cuda") >= cuda_batch(141 << 30, 1)
    assert most_at_once("cpu") >= micro_batch("cpu", 1)


def test_timing_does_not_choose_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a card whose library would try out algorithms, answers would not repeat; a processor has none of it."""
    check_repeatable("cuda")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    check_repeatable("cpu")
    with pytest.raises(ConfigurationError, match="set it to False"):
        check_repeatable("cuda")


def test_a_card_without_memory_says_what_to_do() -> None:
    """Fewer images at once would be other answers under the same name, so nothing is tried again in silence."""
    asked: list[int] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    with pytest.raises(ConfigurationError, match="too little memory left for 8 images of 224×224") as caught:
        run_in_micro_batches(network, torch.zeros(9, 3, 224, 224))
    assert asked == [8]
    assert "\n" not in str(caught.value)

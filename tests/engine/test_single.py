"""One query without noise: the image as it is, once, and every failure in one line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from paid_service import Service

from api_smoothing import images
from api_smoothing.adapters import Answer, EncodedImage, Label, Quota, Verdict
from api_smoothing.engine.single import ask_once
from api_smoothing.errors import ApiSmoothError, ConfigurationError, ImageError, ProviderError
from api_smoothing.home import home

CAT = Answer(labels=(Label(name="tabby", score=0.9),))


def test_a_small_image_is_enlarged_by_a_whole_factor() -> None:
    """Below the least side every pixel is repeated, as often as needed and no oftener."""
    pixels = np.arange(40 * 41 * 3, dtype=np.uint8).reshape(40, 41, 3)
    service = Service(CAT, min_side=80)
    assert ask_once(service, images.load(pixels)).answer is CAT
    ((sent,),) = service.sent
    assert isinstance(sent, EncodedImage)
    assert (sent.height, sent.width) == (80, 82)
    assert np.array_equal(images.load(sent.data).grid, pixels.repeat(2, 0).repeat(2, 1))
    service = Service(CAT, min_side=40)
    ask_once(service, images.load(pixels))
    assert service.sent[0][0].height == 40


def test_a_local_model_gets_the_image_on_the_8_bit_grid() -> None:
    """A resized image is rounded to whole levels before it is asked about."""
    service = Service(CAT, accepts="tensor")
    loaded = images.load(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), size=6)
    ask_once(service, loaded)
    (sent,) = service.sent
    assert sent.shape == (1, 3, 6, 6)
    assert torch.equal(sent, (sent * 255).round() / 255)
    exact = loaded.grid / (255 * loaded.sub)
    assert np.abs(sent[0].permute(1, 2, 0).numpy() - exact).max() <= 0.5001 / 255


@pytest.mark.parametrize(
    ("outcome", "error", "needle"),
    [
        (ValueError("fatal"), ProviderError, "it is fatal"),
        (ValueError("transient"), ProviderError, "try again"),
        (ValueError("throttled"), ProviderError, "try again in 7 s"),
        (Verdict(kind="throttled", retry_after=math.inf), ProviderError, "try again in more than a year"),
        (Verdict(kind="throttled", retry_after=0.5), ProviderError, "try again in 0.5 s"),
        (ValueError("refused"), ImageError, "refuses this image: it is refused"),
        (Verdict(kind="refused", message="too dark"), ImageError, "too dark"),
        (Verdict(kind="transient"), ProviderError, "try again"),
        (ConfigurationError("no region"), ConfigurationError, "no region"),
    ],
)
def test_a_failed_question_is_one_line_and_one_request(
    outcome: Exception | Verdict, error: type[ApiSmoothError], needle: str
) -> None:
    """Nothing is repeated, and the message is the verdict's."""
    service = Service(outcome)
    with pytest.raises(error) as caught:
        ask_once(service, images.load(np.zeros((8, 8, 3), np.uint8)))
    assert needle in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(service.sent) == 1


def test_a_wrong_number_of_answers_is_an_error() -> None:
    """One question has one answer."""
    with pytest.raises(ProviderError, match="2 answers to one query"):
        ask_once(Service(CAT, CAT), images.load(np.zeros((8, 8, 3), np.uint8)))


def test_it_takes_its_turn() -> None:
    """The request counts in the account's quota, which other processes share, and its seconds are its own."""
    quota = Quota(unit="image", count=3, seconds=0.1)
    reply = ask_once(Service(CAT, quotas=(quota,)), images.load(np.zeros((8, 8, 3), np.uint8)))
    assert 0 <= reply.seconds < 60
    assert (home() / "rate.db").is_file()

"""One query without noise: what the provider says about an image as it is."""

from __future__ import annotations

import numpy as np

from api_smoothing.adapters.base import Adapter, Answer, Verdict
from api_smoothing.engine.sending.pipeline import encode, enlargement
from api_smoothing.errors import ApiSmoothError, ImageError, ProviderError
from api_smoothing.images import Loaded
from api_smoothing.noise import to_uint8


def ask_clean(adapter: Adapter, loaded: Loaded) -> Answer:
    """The answer to the image on the 8-bit grid, enlarged by the same whole factor as noisy queries.

    Exactly one request, never repeated and outside any budget: the caller has said what it costs.

    Raises ConfigurationError for an image of a size the provider does not take, before anything is sent;
    ImageError when it refuses the image; ProviderError for every other failure, in one line.
    """
    pixels = to_uint8(loaded.grid, loaded.sub)
    try:
        if adapter.card.accepts == "tensor":
            import torch

            image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
            answers = adapter.label(image)
        else:
            answers = adapter.label([encode(pixels, enlargement(*loaded.size, adapter.card))])
    except ApiSmoothError:
        raise
    except Exception as error:
        raise _failure(adapter, loaded, adapter.verdict(error), type(error).__name__) from error
    if len(answers) != 1:
        raise ProviderError(f"provider {adapter.card.name} gave {len(answers)} answers to one query")
    if isinstance(answers[0], Verdict):
        raise _failure(adapter, loaded, answers[0], "no reason given")
    return answers[0]


def _failure(adapter: Adapter, loaded: Loaded, verdict: Verdict, fallback: str) -> ApiSmoothError:
    """The error for a verdict; its message carries no secret, the exception's own text might."""
    said = verdict.message or fallback
    if verdict.kind == "refused":
        return ImageError(f"{loaded.source}: provider {adapter.card.name} refuses this image: {said}")
    again = {
        "fatal": "",
        "transient": "; try again",
        "throttled": f"; try again in {verdict.retry_after:g} s"
        if verdict.retry_after
        else "; try again later",
    }[verdict.kind]
    return ProviderError(f"provider {adapter.card.name} failed: {said}{again}")

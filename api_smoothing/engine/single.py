"""One query without noise: what the provider says about an image as it is."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_smoothing.adapters.base import Adapter, AdapterCard, Answer, Verdict
from api_smoothing.engine.sending import encode, enlargement, in_words
from api_smoothing.engine.storage import FolderStorage, Storage
from api_smoothing.errors import ApiSmoothError, ImageError, ProviderError
from api_smoothing.home import home
from api_smoothing.images import Loaded
from api_smoothing.noise import to_uint8


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, and the `seconds` the request took."""

    answer: Answer
    seconds: float


def ask_once(adapter: Adapter, loaded: Loaded, storage: Storage | None = None) -> Reply:
    """The answer to the image on the 8-bit grid, enlarged by the same whole factor as noisy queries.

    Exactly one request, never repeated and outside any budget: the caller has said what it costs. It waits for its turn
    in the account's quota, which runs of other processes may be using, by the limiter of `storage`: the installation's
    folder, when None.

    Raises ConfigurationError for an image of a size the provider does not take, before anything is sent;
    ImageError when it refuses the image; ProviderError for every other failure, in one line.
    """
    card = adapter.card
    query = _query(to_uint8(loaded.grid, loaded.sub), card)
    _wait_for_a_turn(card, storage or FolderStorage(home()))
    start = perf_counter()
    try:
        answers = adapter.label(query)
    except ApiSmoothError:
        raise
    except Exception as error:
        raise _failure(card, loaded, adapter.verdict(error), type(error).__name__) from error
    seconds = perf_counter() - start
    if len(answers) != 1:
        raise ProviderError(f"{card.provider} broke its contract: {len(answers)} answers to one query")
    if isinstance(answers[0], Verdict):
        raise _failure(card, loaded, answers[0], "no reason given")
    return Reply(answer=answers[0], seconds=seconds)


def _query(pixels: NDArray[np.uint8], card: AdapterCard) -> Any:
    """The image as the adapter takes it."""
    if card.accepts == "tensor":
        import torch

        return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
    height, width = pixels.shape[:2]
    return [encode(pixels, enlargement(height, width, card))]


def _wait_for_a_turn(card: AdapterCard, storage: Storage) -> None:
    limiter = storage.limiter(card.quota_key or card.name, card.quotas)
    if limiter is not None:
        with closing(limiter):
            limiter.wait(1)


def _failure(card: AdapterCard, loaded: Loaded, verdict: Verdict, fallback: str) -> ApiSmoothError:
    """The error for a verdict; its message carries no secret, the exception's own text might."""
    reason, wait = verdict.message or fallback, verdict.retry_after
    if verdict.kind == "refused":
        return ImageError(f"{card.provider} refuses this image: {reason} ({loaded.source})")
    then = {
        "fatal": "no query can succeed until this is put right",
        "transient": "it may work the next time: try again",
        "broken": "what it answered can be no vote",
        "throttled": f"try again in {in_words(wait)}" if wait else "try again later",
    }[verdict.kind]
    return ProviderError(f"{card.provider} failed: {reason}; {then}")

"""One request to a provider: tried again while its error is transient, given up in an orderly way."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from api_smoothing.adapters.base import Adapter, Answer, Verdict
from api_smoothing.errors import ApiSmoothError, ProviderError

ATTEMPTS = 4


def attempt(request: Callable[[], list[Answer]], adapter: Adapter, count: int) -> list[Answer | None]:
    """The `count` answers of one request; all None when it was refused or stayed transient to the end.

    Raises ProviderError when the provider failed for good or broke its contract.
    """

    def transient(error: BaseException) -> bool:
        return isinstance(error, Exception) and _verdict(adapter, error) is Verdict.TRANSIENT

    retrying = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.5, max=20),
        retry=retry_if_exception(transient),
        reraise=True,
    )
    try:
        answers = retrying(request)
    except ApiSmoothError:
        raise
    except Exception as error:
        if _verdict(adapter, error) is Verdict.FATAL:
            text = " ".join(str(error).split())[:300]
            raise ProviderError(
                f"provider {adapter.card.name} failed: {type(error).__name__}: {text}"
            ) from error
        return [None] * count
    if len(answers) != count:
        raise ProviderError(f"provider {adapter.card.name} gave {len(answers)} answers to {count} queries")
    return list(answers)


def _verdict(adapter: Adapter, error: Exception) -> Verdict:
    return Verdict.FATAL if isinstance(error, ApiSmoothError) else adapter.verdict(error)

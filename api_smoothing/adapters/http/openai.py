"""Chat completions under a name of their own: the description "openai", with the model in its usual place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from api_smoothing.adapters.http import adapter

_DESCRIPTION: Final = "openai"

#: Whether the key is in the environment.
credentials = partial(adapter.credentials, model=_DESCRIPTION)


def load(
    *,
    model: str | None = None,
    vision_model: str | None = None,
    classes: str | Sequence[str] | None = None,
    endpoint: str | None = None,
    endpoint_id: str | None = None,
    key: str | None = None,
    usd_per_query: float | None = None,
    rate: float | None = None,
    timeout: float = 30.0,
    version_at: str | Sequence[str] | None = None,
    **variables: Any,
) -> adapter.HttpAdapter:
    """`http` with model="openai": the same adapter, whose answers are kept under the same name.

    `model` (or `vision_model`) is the service's, `classes` are the labels it may answer with; the rest is as for
    `http`.
    """
    given = {"vision_model": vision_model or model, "classes": classes, **variables}
    return adapter.load(
        model=_DESCRIPTION,
        endpoint=endpoint,
        endpoint_id=endpoint_id,
        key=key,
        usd_per_query=usd_per_query,
        rate=rate,
        timeout=timeout,
        version_at=version_at,
        **{name: value for name, value in given.items() if value is not None},
    )

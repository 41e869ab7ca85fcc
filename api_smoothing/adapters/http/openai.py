"""Chat completions under a name of their own: the description "openai", with the model in its usual place."""

from __future__ import annotations

from functools import partial, wraps
from typing import Any, Final

from api_smoothing.adapters.http import adapter

_DESCRIPTION: Final = "openai"

#: Whether the key is in the environment.
credentials = partial(adapter.credentials, model=_DESCRIPTION)


@wraps(adapter.load, assigned=())  # the same options, whose types are read from there
def load(*, model: str | None = None, vision_model: str | None = None, **options: Any) -> adapter.HttpAdapter:
    """`http` with model="openai": the same adapter, whose answers are kept under the same name.

    `model` (or `vision_model`) is the service's, `classes` are the labels it may answer with; the rest is as for
    `http`.
    """
    given = {"vision_model": vision_model or model, **options}
    return adapter.load(
        model=_DESCRIPTION, **{name: value for name, value in given.items() if value is not None}
    )

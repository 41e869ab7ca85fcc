"""The one error tree. Every message is one line: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from api_smoothing.shown import shown


class ApiSmoothError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line returns for it.

    Its text may quote a service or a file, and is shown without what could forge another line.
    """

    exit_code = 2

    def __str__(self) -> str:
        return shown(super().__str__())


class ConfigurationError(ApiSmoothError):
    """A setting is outside its range, unknown, or in conflict with another one."""


class ImageError(ApiSmoothError):
    """An input image is missing, unreadable, unsafe to decode, or of an unsupported kind."""


class UnreachableRadiusError(ConfigurationError):
    """The radius asked for cannot be certified at this σ, α and cap, whatever the answers are."""


class WeightsError(ApiSmoothError):
    """Weights are missing, do not fit the network, or do not have the pinned sha256."""


class MissingExtraError(ApiSmoothError):
    """An optional dependency is not installed; the message carries the pip line."""


class BudgetError(ApiSmoothError):
    """The budget is exhausted and there is no partial result to return."""

    exit_code = 3


class ProviderError(ApiSmoothError):
    """The provider failed for good (credentials, quota, or an answer that breaks its contract)."""

    exit_code = 4


class CredentialsError(ProviderError):
    """A provider's credentials are missing or rejected; the message names the variable and the test command."""


class DriftError(ProviderError):
    """The provider's model changed within one certificate, which voids it."""


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """The message for a name nobody knows, with the nearest known ones."""
    import difflib

    near = difflib.get_close_matches(name, known, n=3) or known[:5]
    return f"unknown {kind} {name!r}; did you mean {' or '.join(near)}?"

"""The one error tree. Every message is one line: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from api_smoothing.shown import shown

_FEW: Final = 12  # names that are listed whole


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


class DiskError(ProviderError, ConfigurationError):
    """The disk does not take what must be kept. It ends a run as a provider that failed does, so that no request
    leaves that could not be remembered; what is wrong is the folder.
    """


class CredentialsError(ProviderError):
    """A provider's credentials are missing or rejected; the message names the variable and the test command."""


class DriftError(ProviderError):
    """The provider's model changed within one certificate, which voids it."""


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """The message for a name nobody knows, with the nearest of all that are known."""
    return f"unknown {kind} {name!r}; did you mean {' or '.join(nearest(name, known))}?"


def nearest(name: str, known: Sequence[str], most: int = 3) -> list[str]:
    """Of `known` those most like `name`, in any case: some near ones, else all of a few, else the nearest."""
    import difflib

    plain = {one.lower(): one for one in reversed(known)}
    near = difflib.get_close_matches(name.lower(), plain, n=most)
    if not near and len(known) <= _FEW:
        return list(known)
    return [plain[one] for one in near or difflib.get_close_matches(name.lower(), plain, n=most, cutoff=0.0)]


class UnknownOption(ConfigurationError):
    """An argument that nobody takes: `option`, and those of its name's `owner` that are `known`."""

    def __init__(self, owner: str, option: str, known: Sequence[str]) -> None:
        near = nearest(option, known, most=1)
        super().__init__(f"{owner} has no option {option!r}; did you mean {' or '.join(near)}?")
        self.owner, self.option, self.known = owner, option, tuple(known)

    def beside(self, more: Sequence[str]) -> UnknownOption:
        """The same where the names in `more` would have been taken as well."""
        return UnknownOption(self.owner, self.option, [*self.known, *more])

"""Providers: a folder each, one interface. `names()` imports nothing heavy.

All that an adapter is made of is here, for the built-in ones as for those of other packages: the interface, what calls
to a service have in common, label maps and the filters made of them, and the declaration.
"""

from __future__ import annotations

from api_smoothing.adapters._transport import (
    BadRequest,
    BrokenContract,
    OtherWords,
    body_of,
    bound_boto,
    check_encrypted,
    check_proxy,
    is_sendable,
    missing_credentials,
    name_of,
    on_this_machine,
    one_image,
    one_line,
    place,
    place_of,
    plain_session,
    rate_quota,
    read_each,
    sdk,
    seconds_limit,
    seconds_of,
    seconds_told,
    setting_of,
    within,
)
from api_smoothing.adapters.base import (
    Adapter,
    AdapterCard,
    Answer,
    Credentials,
    EncodedImage,
    Label,
    Quota,
    Verdict,
    VerdictKind,
)
from api_smoothing.adapters.labels import LabelMap, filter_of
from api_smoothing.adapters.provider import Provider, SandboxDeclaration, usual_options
from api_smoothing.adapters.registry import load, names

__all__ = [
    "Adapter",
    "AdapterCard",
    "Answer",
    "BadRequest",
    "BrokenContract",
    "Credentials",
    "EncodedImage",
    "Label",
    "LabelMap",
    "OtherWords",
    "Provider",
    "Quota",
    "SandboxDeclaration",
    "Verdict",
    "VerdictKind",
    "body_of",
    "bound_boto",
    "check_encrypted",
    "check_proxy",
    "filter_of",
    "is_sendable",
    "load",
    "missing_credentials",
    "name_of",
    "names",
    "on_this_machine",
    "one_image",
    "one_line",
    "place",
    "place_of",
    "plain_session",
    "rate_quota",
    "read_each",
    "sdk",
    "seconds_limit",
    "seconds_of",
    "seconds_told",
    "setting_of",
    "usual_options",
    "within",
]

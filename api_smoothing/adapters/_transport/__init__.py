"""What calls to a service have in common, under one name: nothing here imports an SDK before it is used.

`calls`: one image, a place, a key, a time limit, the account's rate. `service`: SDKs, missing credentials, broken
contracts, messages without secrets. `proxies`: an address that is none. `sessions`: HTTP with nothing added.
`grpc`: addresses, connections and statuses. `wire`: a request that breaks a provider's wire format, for servers that
speak it.
"""

from api_smoothing.adapters._transport.calls import (
    is_sendable,
    on_this_machine,
    one_image,
    place,
    place_of,
    rate_quota,
    seconds_limit,
    setting_of,
    within,
)
from api_smoothing.adapters._transport.deadline import bound_boto
from api_smoothing.adapters._transport.grpc import (
    Address,
    CallFailed,
    Connection,
    best_first,
    kind_of,
    retry_delay,
    score_of,
)
from api_smoothing.adapters._transport.proxies import (
    check_proxy,
)
from api_smoothing.adapters._transport.service import (
    BrokenContract,
    OtherWords,
    missing_credentials,
    name_of,
    one_line,
    read_each,
    sdk,
    seconds_of,
    seconds_told,
)
from api_smoothing.adapters._transport.sessions import body_of, check_encrypted, plain_session
from api_smoothing.adapters._transport.wire import BadRequest

__all__ = [
    "Address",
    "BadRequest",
    "BrokenContract",
    "CallFailed",
    "Connection",
    "OtherWords",
    "best_first",
    "body_of",
    "bound_boto",
    "check_encrypted",
    "check_proxy",
    "is_sendable",
    "kind_of",
    "missing_credentials",
    "name_of",
    "on_this_machine",
    "one_image",
    "one_line",
    "place",
    "place_of",
    "plain_session",
    "rate_quota",
    "read_each",
    "retry_delay",
    "score_of",
    "sdk",
    "seconds_limit",
    "seconds_of",
    "seconds_told",
    "setting_of",
    "within",
]

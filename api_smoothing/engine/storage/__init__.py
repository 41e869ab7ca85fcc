"""What outlives a query: answers and claims, budgets, the rate limiter, looks, the seed; see `base`."""

from api_smoothing.engine.storage.base import (
    Claim,
    Contents,
    Limiter,
    Looks,
    Shareable,
    Storage,
    VoteCache,
)
from api_smoothing.engine.storage.budget import BudgetAccount, Reservation
from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.engine.storage.memory import MemoryStorage
from api_smoothing.engine.storage.postgres.address import is_address, masked
from api_smoothing.engine.storage.postgres.opening import open_database
from api_smoothing.engine.storage.stream_key import Asked, stream_name

__all__ = [
    "Asked",
    "BudgetAccount",
    "Claim",
    "Contents",
    "FolderStorage",
    "Limiter",
    "Looks",
    "MemoryStorage",
    "Reservation",
    "Shareable",
    "Storage",
    "VoteCache",
    "is_address",
    "masked",
    "open_database",
    "stream_name",
]

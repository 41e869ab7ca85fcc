"""A switch for tests: requests that failed are tried again at once, not after the wait a service would want.

```python
from api_smoothing import testing

with testing.no_waits():
    api.certify(image, n=400)
```

Nothing else changes: attempts, money and the rate limiter's turns are as ever. Never for a real service, which
would be asked again before it has recovered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_waits = True


def waits() -> bool:
    """Whether to wait, with jitter, before another attempt, and to have others wait after a throttle."""
    return _waits


def set_waits(wanted: bool) -> None:
    """Switch the waits of this process on or off."""
    global _waits
    _waits = wanted


@contextmanager
def no_waits() -> Iterator[None]:
    """The waits are off inside the block, and as they were after it."""
    before = waits()
    set_waits(False)
    try:
        yield
    finally:
        set_waits(before)

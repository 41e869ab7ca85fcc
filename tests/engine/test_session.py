"""What the images of a run have in common."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from counting_service import GREY, CountingService, api_of

from api_smoothing.adapters.base import Quota


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="counts the open files of this process")
def test_open_files_do_not_grow_with_the_work() -> None:
    """A run over many images needs no more open files than one over few."""
    service = CountingService(quotas=(Quota(unit="image", count=10_000),))
    with api_of(service, concurrency=8) as api:
        api.certify(GREY, radius=0.1)
        before = len(os.listdir("/dev/fd"))
        for k in range(3):
            api.certify(GREY + np.uint8(k + 1), radius=0.1)
        assert len(os.listdir("/dev/fd")) < before + 60

"""How arithmetic is named."""

from __future__ import annotations

from api_smoothing.precision import arithmetic


def test_arithmetic_is_the_type_and_the_kind_of_device() -> None:
    """The CPU goes without saying; two cards of one kind are one."""
    assert arithmetic("bf16", "cpu") == "bf16"
    assert arithmetic("bf16", "cuda") == arithmetic("bf16", "cuda:1") == "bf16/cuda"
    assert arithmetic("fp32", "mps") == "fp32/mps"

"""How arithmetic is named."""

from __future__ import annotations

import pytest
import torch

from api_smoothing.precision import arithmetic, devices, kind_of


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cards of two models of one compute capability, as torch tells of them."""
    names = ["NVIDIA H100 PCIe", "NVIDIA H200", "NVIDIA H200"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[torch.device(device).index or 0])


def test_arithmetic_is_the_type_and_the_kind_of_device() -> None:
    """The CPU goes without saying; of a card that is not here, CUDA is all that can be said."""
    assert arithmetic("bf16", "cpu") == "bf16"
    assert arithmetic("bf16", f"cuda:{torch.cuda.device_count() + 7}") == "bf16/cuda"
    assert arithmetic("fp32", "mps") == "fp32/mps"


@pytest.mark.usefixtures("cards")
def test_cards_of_one_model_are_one_kind_and_others_are_not() -> None:
    """Two cards that may round differently never share a name, even of one compute capability."""
    assert arithmetic("bf16", "cuda") == arithmetic("bf16", "cuda:0") == "bf16/cuda NVIDIA H100 PCIe"
    assert kind_of("cuda:1") == kind_of("cuda:2") == kind_of("cuda:1,cuda:2") == "cuda NVIDIA H200"
    assert kind_of("cuda:3") == "cuda"


def test_several_devices_are_named_with_commas() -> None:
    """One device is a list of one."""
    assert devices("cpu") == ["cpu"]
    assert devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]


@pytest.mark.usefixtures("cards")
def test_changed_settings_of_the_libraries_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """They round otherwise on a card; as torch comes they go without saying, and the processor knows none of them."""
    card = "cuda NVIDIA H200"
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cudnn, "allow_tf32", False)
        assert kind_of("cuda:1") == f"{card} convolutions=False"
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cudnn, "deterministic", True)
        patch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
        assert kind_of("cuda:1") == f"{card} products=high deterministic=True"
        assert kind_of("cpu") == "cpu"
    assert kind_of("cuda:1") == card

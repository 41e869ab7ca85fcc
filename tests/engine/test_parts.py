"""From a user's settings to the parts they name: what is refused, and which answers may be kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting_service import GREY, CountingService, api_of
from torch import Tensor

from api_smoothing import Budget, SmoothedAPI, adapters, denoisers
from api_smoothing.adapters.base import AdapterCard
from api_smoothing.adapters.labels.label_map import LabelMap
from api_smoothing.adapters.labels.words import Words
from api_smoothing.adapters.local.adapter import ReplicatedAdapter
from api_smoothing.denoisers.adopted import adopt
from api_smoothing.denoisers.base import DenoiserCard
from api_smoothing.denoisers.replicas import Replicas
from api_smoothing.engine import parts
from api_smoothing.engine.session import nameable
from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.engine.storage.memory import MemoryStorage
from api_smoothing.errors import ConfigurationError
from api_smoothing.home import home


@pytest.mark.parametrize(
    "budget", [{"usd": float("inf")}, {"queries": 2.5}, {"usd": "2"}], ids=["inf", "fraction", "text"]
)
def test_a_budget_is_a_number(budget: dict[str, Any]) -> None:
    """What cannot be a budget is refused in one line."""
    with pytest.raises(ConfigurationError):
        api_of(CountingService(), budget=Budget(**budget)).predict(GREY, n=5)


def test_a_cache_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """Whoever names a folder for paid answers gets it, or is told why not."""
    service = CountingService(fingerprint="")
    try:
        for _ in range(2):
            api_of(service, cache=tmp_path).predict(GREY, n=10)
    except ConfigurationError:
        return
    assert service.seen == 10


class Silent:
    """A denoiser of a card alone: whether it computes in float32 or bfloat16 is nowhere told."""

    card = DenoiserCard(id="mine", sha256="4" * 64, sigma_range=(0.1, 1.0))

    def __call__(self, x: Tensor, sigma: float | Tensor, /) -> Tensor:
        return x


class Provider:
    """A service or a local model that could be named for good."""

    def __init__(self, accepts: Any) -> None:
        self.card = AdapterCard(name="p", fingerprint="p-1", batch=8, accepts=accepts)


def test_answers_behind_an_unknown_arithmetic_are_not_kept_on_disk(tmp_path: Path) -> None:
    """In memory they cannot meet another's; a folder that was asked for is refused where answers are paid."""
    silent, whole = (
        adopt(Silent()),
        denoisers.wrap(lambda x, s: x, id="w@1", sigma_range=(0.1, 1.0), fingerprint="w@1"),
    )
    for accepts in ("png", "tensor"):
        provider: Any = Provider(accepts)
        assert not nameable(provider.card, silent)
        assert nameable(provider.card, whole)
    paid: Any = Provider("png")
    parts.check_cache(True, paid, silent)
    with pytest.raises(ConfigurationError, match="give it `compute`, such as 'fp32'"):
        parts.check_cache(tmp_path, paid, silent)


@pytest.mark.parametrize("size", [None, 30, (30, 45)])
def test_what_is_priced_is_certified(size: Any) -> None:
    """A size that is no multiple of what the network takes is estimated, and then certified in as many queries."""
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    with SmoothedAPI(
        lambda x: [0] * len(x),
        sigma=0.25,
        seed=1,
        size=size,
        denoiser="unet-natural",
        cache=False,
        device="cpu",
    ) as api:
        assert api.estimate(image, n=12).queries_high == api.certify(image, n=12).n == 12


def test_an_object_with_a_card_alone_still_serves() -> None:
    """What users hand over need have no more than before."""
    image = np.full((9, 9, 3), 128, np.uint8)
    with SmoothedAPI(lambda x: [0] * len(x), sigma=0.25, seed=1, denoiser=Silent(), device="cpu") as api:  # type: ignore[arg-type]
        assert api.certify(image, n=12).n == 12


def queries(service: CountingService, **options: Any) -> int:
    """How many queries were sent for twenty votes."""
    with SmoothedAPI(service, denoiser=None, **options) as api:
        return api.predict(GREY, n=20).queries


def test_store_memory_writes_nothing() -> None:
    """With "memory" there is no file, not even a seed, and another object starts anew."""
    service = CountingService()
    assert [queries(service, store="memory") for _ in range(2)] == [20, 20]
    assert not home().exists()


def test_a_storage_that_is_handed_in_is_shared_and_left_open() -> None:
    """Objects with one Storage share answers, budgets and seed, also after one of them was closed."""
    service, store = CountingService(), MemoryStorage()
    budget = Budget(queries=25, run="r")
    assert [queries(service, store=store, budget=budget) for _ in range(2)] == [20, 0]
    with SmoothedAPI(service, denoiser=None, store=store, budget=budget, sigma=0.5) as api:
        assert api.predict(GREY, n=20).queries == 5
    assert service.seen == 25
    assert not home().exists()


def test_what_cannot_be_named_is_nobody_elses() -> None:
    """Answers of a provider without a fingerprint are kept for the object only, whatever the storage."""
    service, store = CountingService(fingerprint=""), MemoryStorage()
    assert [queries(service, store=store) for _ in range(2)] == [20, 20]


def test_the_folder_is_the_default(tmp_path: Path) -> None:
    """Without a store the storage is the installation's folder, with its answers where `cache` says."""
    for cache, folder in ((True, home() / "votes"), (str(tmp_path / "x"), tmp_path / "x")):
        storage = parts.storage(None, cache)
        assert isinstance(storage, FolderStorage)
        assert storage.folder == folder


@pytest.mark.parametrize(
    ("store", "cache", "word"),
    [
        ("postgresql://db/x", "folder", "cache"),
        ("mysql://me:secret@db/x", True, r"me:\*\*\*@db"),
        ("redis", True, "'memory'"),
        (7, True, "int"),
        ("memory", "folder", "cache"),
        (MemoryStorage(), "folder", "cache"),
        (MemoryStorage(), False, "cache"),
    ],
)
def test_a_store_that_cannot_be_is_refused(store: Any, cache: Any, word: str) -> None:
    """One line that says what is wrong, before anything is made."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        parts.storage(store, cache)
    assert "\n" not in str(caught.value)
    assert not home().exists()


def test_a_map_of_things_is_not_read_into_the_words_of_another_feature() -> None:
    """SafeSearch speaks of no animals: a map with a class that none of its words mean is refused, whole or in part."""
    card = adapters.load("google", feature="safe-search").card
    bold = Words(labels=("Racy", "adult"))
    for labels in ("cifar10", LabelMap(name="mine", classes={"bold": bold, "cat": Words(labels=("Cat",))})):
        with pytest.raises(ConfigurationError, match="does not fit this feature of google"):
            parts.label_map(labels, card)
    assert parts.label_map(LabelMap(name="mine", classes={"bold": bold}), card) is not None
    assert parts.label_map("cifar10", adapters.load("google").card) is not None
    assert parts.label_map("cifar10", adapters.load("aws", region="x", only=["Cat"]).card) is not None


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models of CUDA cards, as torch tells of them: a stand-in, on which nothing is computed."""
    names = ["NVIDIA H200", "NVIDIA H200"]
    made = torch.empty
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[torch.device(device).index or 0])

    def empty(*size: int, device: str) -> Tensor:
        if (torch.device(device).index or 0) >= len(names):
            raise RuntimeError("invalid device ordinal")
        return made(*size)

    monkeypatch.setattr(torch, "empty", empty)
    return names


def test_several_cards_of_one_model_are_taken_together(cards: list[str]) -> None:
    """All of them by one word, some by their names, one as ever."""
    assert parts.device("cuda:all", several=True) == "cuda:0,cuda:1"
    assert parts.device("cuda:1, cuda:0", several=True) == "cuda:1,cuda:0"
    assert parts.device("cuda", several=True) == parts.device("auto", several=True) == "cuda"
    cards.pop()
    assert parts.device("cuda:all") == "cuda:0"


def test_cards_whose_answers_would_mix_are_refused(cards: list[str]) -> None:
    """Two models, a card twice, a card and a processor, a card that is not here, several where one is meant."""
    for name, several, told in (
        ("cuda:0,cuda:2", True, "NVIDIA H100 PCIe and NVIDIA H200 round differently"),
        ("cuda:all", True, "name cards of one model"),
        ("cuda:0,cuda:0", True, "different CUDA cards"),
        ("cuda:0,cpu", True, "different CUDA cards"),
        ("cuda:0,cuda:3", True, "'cuda:3' is not available"),
        ("cuda:0,cuda:1", False, "runs on one device; choose one of cuda:0, cuda:1"),
    ):
        cards[2:] = ["NVIDIA H100 PCIe"]
        with pytest.raises(ConfigurationError, match=told):
            parts.device(name, several=several)


def test_several_devices_are_for_what_is_loaded_by_name() -> None:
    """A service, a function or an object would be on one of them alone, and is told so before anything is asked."""
    card = AdapterCard(name="p", fingerprint="p-1", batch=8)
    for provider in ("google", lambda x: [0] * len(x), torch.nn.Identity(), CountingService()):
        with pytest.raises(ConfigurationError, match="loaded by name; choose one of cpu, meta"):
            parts.adapter(provider, model=None, device="cpu,meta")
    given = denoisers.wrap(lambda x, s: x, id="w@1", sigma_range=(0.1, 1.0))
    with pytest.raises(ConfigurationError, match="loaded by name; choose one of cpu, meta"):
        parts.denoiser(given, sigma=0.25, size=32, card=card, device="cpu,meta")
    assert parts.denoiser(None, sigma=0.25, size=32, card=card, device="cpu,meta") is None


def test_a_model_and_a_denoiser_are_loaded_once_a_device() -> None:
    """Under one card each; a processor is two devices here, of two names."""
    model = parts.adapter("torchvision", model=None, device="cpu,cpu:0")
    assert isinstance(model, ReplicatedAdapter)
    assert model.card == parts.adapter("torchvision", model=None, device="cpu").card
    chosen = parts.denoiser("unet-cifar10", sigma=0.25, size=32, card=model.card, device="cpu,cpu:0")
    assert isinstance(chosen, Replicas)
    for found in (model._replicas, chosen._replicas):
        assert list(found) == ["cpu", "cpu:0"]
        assert found["cpu"] is not found["cpu:0"]  # type: ignore[index]
    x = torch.zeros(1, 3, 32, 32)
    assert torch.equal(chosen(x, 0.25), denoisers.load("unet-cifar10")(x, 0.25))

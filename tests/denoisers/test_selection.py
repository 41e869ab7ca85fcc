"""Choosing a denoiser: one function for Python and every command, and what it refuses before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from api_smoothing import denoisers
from api_smoothing.convnet import CLASSES
from api_smoothing.denoisers import registry
from api_smoothing.denoisers.ensemble import Ensemble
from api_smoothing.denoisers.selection import PREFERENCE, choose, foresee, select
from api_smoothing.errors import ApiSmoothError, ConfigurationError

MINE = denoisers.wrap(lambda x, s: x, id="mine@1", sigma_range=(0.1, 0.5), sizes=(24, 32))


def test_auto_never_takes_what_knows_certain_classes_only() -> None:
    """A denoiser with a classifier inside decides in the model's place, so it is taken only where it is named."""
    for name in PREFERENCE:
        assert denoisers.load(name).card.classes == ()
    assert denoisers.load("recogniser-cifar10").card.classes == CLASSES


def test_auto_goes_by_the_side() -> None:
    """CIFAR-10's side gets its denoiser, every other the one for photographs, whether or not it fits its steps."""
    sides = (64, 224, 100, 33, 1, (224, 100), (300, 451), (32, 48))
    assert {choose(side=side, sigma=0.25) for side in sides} == {"unet-natural"}
    assert {choose(side=side, sigma=0.25) for side in (None, 32, (32, 32))} == {"unet-cifar10"}
    with pytest.raises(
        ConfigurationError, match=r"side 300×451 at sigma 3 .*for side 32.*any side, sigma 0.05 to 1"
    ):
        choose(side=(300, 451), sigma=3.0)


def test_what_is_chosen_is_what_is_loaded() -> None:
    """A name, a path, "auto" with a method, an object and None each give what `load` or the object itself is."""
    file = registry.WEIGHTS / "unet-natural.safetensors"
    found = {
        choice: select(choice, size=(300, 451), sigma=0.25)
        for choice in ("auto", "unet-natural", file, "auto?method=ensemble&views=2")
    }
    plain = denoisers.load("unet-natural")
    assert {one.card.id for one in found.values() if one} == {"unet-natural", "unet-natural+ensemble2"}
    assert found["auto?method=ensemble&views=2"] is not None
    assert found["auto?method=ensemble&views=2"].card == Ensemble(denoiser=plain, views=2).card
    assert select(MINE, size=32, sigma=0.25) is MINE
    assert select(None, size=32, sigma=3.0) is None


def test_the_models_own_side_only_guides_auto() -> None:
    """Images stay as they are, or are brought to the denoiser's side: only "auto" asks what the model was made for."""
    for choice, native, expected in (
        ("auto", 224, "unet-natural"),
        ("auto", 32, "unet-cifar10"),
        ("unet-cifar10", 224, "unet-cifar10"),
    ):
        found = select(choice, size=None, native_side=native, sigma=0.25)
        assert found is not None
        assert found.card.id == expected
    with pytest.raises(ConfigurationError, match="for sides 32"):
        select("unet-cifar10", size=224, native_side=32, sigma=0.25)


REFUSED: list[tuple[Any, Any, float, str]] = [
    ("unet-cifar10", 64, 0.25, r"unet-cifar10 is for sides 32, not 64; .*--size 32"),
    ("unet-cifar10", (32, 48), 0.25, r"for sides 32, not 32×48"),
    ("unet-cifar10?method=vote", 64, 0.25, "for sides 32, not 64"),
    (MINE, (24, 30), 0.25, r"mine@1 is for sides 24, 32, not 24×30; .*--size 24"),
    ("unet-natural", 224, 2.0, r"sigma 2 is outside what denoiser unet-natural was trained for, \[0.05, 1\]"),
    (MINE, 32, 0.05, "sigma 0.05 is outside"),
    ("auto", 224, 2.0, "no bundled denoiser covers side 224 at sigma 2"),
    ("unet-cifar11", 32, 0.25, "unknown denoiser 'unet-cifar11'; did you mean unet-cifar10"),
    ("unet-natural?method=magic", 32, 0.25, "unknown method 'magic'"),
    ("nowhere.safetensors", 32, 0.25, "no denoiser weights at nowhere"),
    (object(), 32, 0.25, "object is no denoiser"),
]


@pytest.mark.parametrize(("choice", "size", "sigma", "words"), REFUSED)
def test_what_estimates_refuse_is_what_certificates_refuse(
    choice: Any, size: Any, sigma: float, words: str
) -> None:
    """The light look and the loading one refuse the same, in the same one line."""
    with pytest.raises(ApiSmoothError, match=words) as loading:
        select(choice, size=size, sigma=sigma)
    with pytest.raises(ApiSmoothError) as light:
        foresee(choice, size=size, sigma=sigma)
    assert str(light.value) == str(loading.value)
    assert "\n" not in str(light.value)


def test_a_refusal_comes_before_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the card tells, nothing is loaded for a size or σ it does not have."""
    monkeypatch.setattr(registry, "load", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(ConfigurationError, match="for sides 32"):
        select("unet-cifar10", size=64, sigma=0.25)


def test_a_light_look_takes_no_torch() -> None:
    """The card is read off its file."""
    code = """
import sys
from api_smoothing.denoisers.selection import foresee
print(foresee("auto", size=(300, 451), sigma=0.25).id, "torch" in sys.modules)
"""
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert out.stdout == "unet-natural False\n"


def test_a_light_look_at_what_has_no_card_file_loads_it(tmp_path: Path) -> None:
    """Another project's checkpoint tells its card only when it is read."""
    from api_smoothing.denoisers.dncnn import DnCNN

    state = DnCNN(8, 4, norm=False).state_dict()
    renamed = {f"{2 * int(k.split('.')[1])}.{k.split('.')[2]}": v for k, v in state.items()}
    torch.save(renamed, tmp_path / "best.pth")
    choice = f"{tmp_path / 'best.pth'}?sigma=0.25"
    card = foresee(choice, size=37, sigma=0.25)
    loaded = select(choice, size=37, sigma=0.25)
    assert card is not None
    assert loaded is not None
    assert card == loaded.card

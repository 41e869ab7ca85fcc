"""Names of defences with their settings, and plug-ins, of which a broken one is named and breaks nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_defences import tensor

from api_smoothing import defences
from api_smoothing.defences.base import purified
from api_smoothing.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("none", "none"),
        ("jpeg-75", "jpeg-75"),
        ("jpeg", "jpeg-75"),
        ("jpeg?quality=40", "jpeg-40"),
        ("bits-3", "bits-3"),
        ("denoised", "denoised"),
        ("denoised?sigma=0.1", "denoised"),
        (
            "denoised?denoiser=auto?method=ensemble%26views=2",
            "denoised?denoiser=auto?method=ensemble%26views=2",
        ),
        ("guided?guidance=20&sigma=0.2", "guided?sigma=0.2&guidance=20.0"),
    ],
)
def test_a_name_says_the_settings(given: str, name: str) -> None:
    """However they were spelled: equal ones are called the same, and the name loads the same again."""
    found = defences.load(given)
    assert found.name == name
    assert defences.load(found.name).name == name


def test_settings_may_be_arguments() -> None:
    """Of Python's own kind."""
    assert defences.load("jpeg", quality=30).name == "jpeg-30"
    assert defences.load("densepure", paths=2, steps=3).name == "densepure?steps=3&paths=2"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("jpg-75", "unknown defence 'jpg-75'.*jpeg"),
        ("jpeg?paths=3", "jpeg has no setting 'paths'; it takes quality"),
        ("none?sigma=1", "none has no setting 'sigma'"),
        ("jpeg-0", "from 1 to 100"),
        ("reverse?steps=many", "steps='many' is not a whole number"),
        ("reverse?eta=2", "eta must be from 0 to 1"),
        ("denoised?sigma=0", "sigma"),
    ],
)
def test_a_slip_is_told_in_one_line(name: str, why: str) -> None:
    """Before anything is loaded."""
    with pytest.raises(ConfigurationError, match=why) as told:
        defences.load(name)
    assert "\n" not in str(told.value)


PLUGIN = """
import torch
from api_smoothing.defences import Cost
class Mirrored:
    cost = Cost()
    def __init__(self, upside_down=False, **given):
        self.name, self._side = "mirrored", 2 if upside_down else 3
    def purify(self, images, seed):
        return images.flip(self._side)
def fails(**given):
    raise OSError("no weights\\nhere")
def none(**given):
    return None
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package, with a defence that works and three that do not."""
    (tmp_path / "mirrors-1.dist-info").mkdir()
    (tmp_path / "mirrors-1.dist-info" / "METADATA").write_text("Name: mirrors\nVersion: 1\n")
    (tmp_path / "mirrors-1.dist-info" / "entry_points.txt").write_text(
        "[api_smoothing.defences]\nmirrored=mirrors_of_another:Mirrored\ngone=no_such_module:make\n"
        "fails=mirrors_of_another:fails\nnothing=mirrors_of_another:none\n"
    )
    (tmp_path / "mirrors_of_another.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_another_packages_defence_is_loaded_by_its_name(plugin: None) -> None:
    """With its settings, as text where they follow the name."""
    assert "mirrored" in defences.names()
    assert torch.equal(purified(defences.load("mirrored"), tensor(), 0)[:, 0], tensor().flip(3))
    for upside_down in (defences.load("mirrored?upside_down=1"), defences.load("mirrored", upside_down=True)):
        assert torch.equal(purified(upside_down, tensor(), 0)[:, 0], tensor().flip(2))


def test_a_broken_plugin_is_named_and_breaks_nothing_else(plugin: None) -> None:
    """One that cannot be imported, one that fails, one that makes nothing: each is told by its name alone."""
    for name, why in (("gone", "no_such_module"), ("fails", "no weights here"), ("nothing", "NoneType")):
        with pytest.raises(ConfigurationError, match=why) as told:
            defences.load(name)
        assert f"the defence {name}" in str(told.value)
        assert "\n" not in str(told.value)
    assert defences.load("jpeg-75").name == "jpeg-75"


def test_a_packages_settings_are_its_own(plugin: None) -> None:
    """One that it does not take is told with its name."""
    with pytest.raises(ConfigurationError, match="the defence nothing"):
        defences.load("nothing?x=1")

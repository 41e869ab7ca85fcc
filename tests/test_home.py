"""Where files are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_smoothing.home import home, machine, platform_folder


def test_the_environment_names_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """API_SMOOTH_HOME moves the installation, API_SMOOTH_MACHINE what installations share; neither moves the other."""
    monkeypatch.setenv("API_SMOOTH_HOME", str(tmp_path / "a"))
    monkeypatch.setenv("API_SMOOTH_MACHINE", str(tmp_path / "b"))
    assert (home(), machine()) == (tmp_path / "a", tmp_path / "b")
    before = platform_folder()
    monkeypatch.delenv("API_SMOOTH_HOME")
    monkeypatch.delenv("API_SMOOTH_MACHINE")
    assert (home(), machine()) == (before, None)


@pytest.mark.parametrize(
    ("platform", "folder"),
    [
        ("linux", "cache/api-smooth"),
        ("darwin", "me/Library/Caches/api-smooth"),
        ("win32", "local/api-smooth"),
    ],
)
def test_each_platform_has_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, folder: str
) -> None:
    """It is where the platform keeps what programs can make again."""
    monkeypatch.setattr("api_smoothing.home.sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "me")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert platform_folder() == tmp_path / folder

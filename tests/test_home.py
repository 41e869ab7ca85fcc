"""Where files are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api_smoothing.home import home, machine, platform_folder, settings_file, settings_folder


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory of a user of Linux who has set nothing."""
    for name in (
        "API_SMOOTH_HOME",
        "API_SMOOTH_MACHINE",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("api_smoothing.home.sys.platform", "linux")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "me")
    return tmp_path / "me"


def test_the_environment_names_the_folders(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """API_SMOOTH_HOME moves installation and settings, API_SMOOTH_MACHINE what installations share."""
    before = home(), machine()
    monkeypatch.setenv("API_SMOOTH_HOME", str(tmp_path / "a"))
    monkeypatch.setenv("API_SMOOTH_MACHINE", str(tmp_path / "b"))
    assert (home(), machine()) == (tmp_path / "a", tmp_path / "b")
    assert settings_file("config.toml") == tmp_path / "a" / "config.toml"
    assert before == (user / ".local" / "state" / "api-smooth", None)


@pytest.mark.parametrize(
    ("platform", "settings", "state", "cache"),
    [
        ("linux", "config/api-smooth", "state/api-smooth", "cache/api-smooth"),
        (
            "darwin",
            "me/Library/Application Support/api-smooth",
            "me/Library/Application Support/api-smooth",
            "me/Library/Caches/api-smooth",
        ),
        ("win32", "roaming/api-smooth", "local/api-smooth", "local/api-smooth"),
    ],
)
def test_each_platform_has_its_places(
    user: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    settings: str,
    state: str,
    cache: str,
) -> None:
    """Settings, what must not be lost, and what can be made again lie where the platform keeps such files."""
    monkeypatch.setattr("api_smoothing.home.sys.platform", platform)
    for name in ("CACHE", "CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "roaming"))
    assert (settings_folder(), home(), platform_folder()) == (
        tmp_path / settings,
        tmp_path / state,
        tmp_path / cache,
    )


def earlier(user: Path, *names: str) -> Path:
    """The folder of an earlier version, with these files."""
    folder = user / ".cache" / "api-smooth"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_an_earlier_home_is_taken_over_as_it_is(user: Path) -> None:
    """Seed, answers and ledger move out of the cache folder together, and the settings to theirs."""
    folder = earlier(user, "seed", "ledger.db", "votes/paid.db", "config.toml", "pricing.toml")
    new = user / ".local" / "state" / "api-smooth"
    assert home() == new
    assert [(new / name).read_text() for name in ("seed", "ledger.db", "votes/paid.db")] == [
        "seed",
        "ledger.db",
        "votes/paid.db",
    ]
    assert not folder.exists()
    for name in ("config.toml", "pricing.toml"):
        assert settings_file(name) == user / ".config" / "api-smooth" / name
        assert settings_file(name).read_text() == name
        assert not (new / name).exists()


def test_a_cleared_cache_folder_takes_nothing_along(user: Path) -> None:
    """After the move the cache folder may be emptied, and what others put there later is not taken for a home."""
    earlier(user, "seed")
    first = home()
    earlier(user, "seed").joinpath("seed").write_text("another")
    assert home() == first
    assert (first / "seed").read_text() == "seed"


def test_turns_alone_are_no_home(user: Path) -> None:
    """What all installations share in the cache folder stays there."""
    folder = earlier(user, "rate.db")
    assert home() == user / ".local" / "state" / "api-smooth"
    assert (folder / "rate.db").exists()


def test_a_home_that_cannot_be_moved_is_used_where_it_lies(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is bought again because a folder cannot be renamed."""
    folder = earlier(user, "seed", "config.toml")

    def across(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(Path, "rename", across)
    assert home() == folder
    assert settings_file("config.toml") == folder / "config.toml"


def test_a_home_of_its_own_takes_nothing_over(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names a folder leaves the user's own alone."""
    folder = earlier(user, "seed", "config.toml")
    monkeypatch.setenv("API_SMOOTH_HOME", str(tmp_path / "a"))
    home()
    settings_file("config.toml")
    assert sorted(os.listdir(folder)) == ["config.toml", "seed"]

"""Where this program keeps its files: an installation's own folder, settings, and what installations share.

    settings     config.toml, pricing.toml     $XDG_CONFIG_HOME/api-smooth, ~/.config/api-smooth
    state        the seed, answers, ledger     $XDG_STATE_HOME/api-smooth, ~/.local/state/api-smooth
    cache        turns of the rate limiter     $XDG_CACHE_HOME/api-smooth, ~/.cache/api-smooth

and the like elsewhere. $API_SMOOTH_HOME, where it is set, is the folder of settings and state. Earlier versions kept
all in the cache folder, which people clear: what they left there is taken over.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

_NAME: Final = "api-smooth"
#: What earlier versions left in the cache folder that must not be lost.
_KEPT: Final = ("seed", "ledger.db", "votes", "config.toml", "pricing.toml")


def home() -> Path:
    """The folder of the seed, the answers and the ledger: $API_SMOOTH_HOME, or the platform's folder for state.

    An earlier version's is moved there as it is, in one step, or used where it lies if it cannot be moved.
    """
    if chosen := os.environ.get("API_SMOOTH_HOME"):
        return Path(chosen).expanduser()
    state, earlier = _state_folder(), platform_folder()
    if earlier != state and _has_any(earlier, _KEPT) and not _has_any(state, _KEPT):
        with contextlib.suppress(OSError):
            state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            earlier.rename(state)
        # Another process may just have moved it.
        return state if _has_any(state, _KEPT) else earlier
    return state


def settings_file(name: str) -> Path:
    """The user's `name`, such as config.toml, whether it is there or not: in $API_SMOOTH_HOME, or the platform's
    folder for settings. One that an earlier version kept beside the answers is moved there.
    """
    if os.environ.get("API_SMOOTH_HOME"):
        return home() / name
    path, earlier = settings_folder() / name, home() / name
    if earlier != path and earlier.is_file() and not path.exists():
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            earlier.rename(path)
        except OSError:
            return path if path.exists() else earlier
    return path


def settings_folder() -> Path:
    """The folder of config.toml and pricing.toml."""
    if os.environ.get("API_SMOOTH_HOME"):
        return home()
    if sys.platform == "darwin":
        return _state_folder()
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / _NAME
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / _NAME


def answers_folder(home: Path) -> Path:
    """Where an installation keeps its answers, unless told otherwise."""
    return home / "votes"


def machine() -> Path | None:
    """$API_SMOOTH_MACHINE: the folder of what all of a user's installations on a machine share; None if unset."""
    chosen = os.environ.get("API_SMOOTH_MACHINE")
    return Path(chosen).expanduser() if chosen else None


def platform_folder() -> Path:
    """The platform's cache folder for this program, whatever the environment says of `home`."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / _NAME
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / _NAME
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / _NAME


def _state_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _NAME
    if sys.platform == "win32":
        return platform_folder()
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / _NAME


def _has_any(folder: Path, names: tuple[str, ...]) -> bool:
    return any(os.path.lexists(folder / name) for name in names)

"""Where this program keeps its files: an installation's own folder, and what a user's installations share."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def home() -> Path:
    """The folder of the seed, the cache and the ledger: $API_SMOOTH_HOME, or the platform's cache folder."""
    if chosen := os.environ.get("API_SMOOTH_HOME"):
        return Path(chosen).expanduser()
    return platform_folder()


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
        return Path.home() / "Library" / "Caches" / "api-smooth"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "api-smooth"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "api-smooth"

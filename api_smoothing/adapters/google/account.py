"""Where Google's credentials come from, found by looking at variables and files only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from api_smoothing.adapters import Credentials
from api_smoothing.shown import as_shown

#: What to do where there are none.
WAYS: Final = (
    "set GOOGLE_APPLICATION_CREDENTIALS to a key file, run gcloud auth application-default login, "
    "or set GOOGLE_API_KEY"
)


def credentials() -> Credentials:
    """Which credentials a call would use."""
    if found := key_file():
        source, path = found
        if path.is_file():
            return Credentials(found=True, source=source)
        return Credentials(found=False, source=f"{source} names {as_shown(path)}, which is not there; {WAYS}")
    if os.environ.get("GOOGLE_API_KEY", "").strip():
        return Credentials(found=True, source="GOOGLE_API_KEY")
    return Credentials(found=False, source=f"{WAYS} (Google Cloud's own machines need none of them)")


def key_file() -> tuple[str, Path] | None:
    """The file the SDK takes credentials from, after what names it: a variable, or gcloud if it wrote one."""
    if named := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return "GOOGLE_APPLICATION_CREDENTIALS", Path(named)
    if named := os.environ.get("CLOUDSDK_CONFIG"):
        folder = Path(named)
    elif os.name == "nt":
        folder = Path(os.environ.get("APPDATA", "C:/")) / "gcloud"
    else:
        folder = Path.home() / ".config" / "gcloud"
    path = folder / "application_default_credentials.json"
    return ("gcloud auth application-default login", path) if path.is_file() else None

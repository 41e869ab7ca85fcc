"""What the environment says of a Clarifai account: the token, and the certificates to trust."""

from __future__ import annotations

import os
from pathlib import Path

from api_smoothing.adapters import Credentials
from api_smoothing.errors import ConfigurationError
from api_smoothing.shown import as_shown


def credentials() -> Credentials:
    """Whether there is a token, by looking at the environment only."""
    found = bool(os.environ.get("CLARIFAI_PAT", "").strip())
    return Credentials(found=found, source="CLARIFAI_PAT" if found else "set CLARIFAI_PAT")


def roots() -> bytes | None:
    """The certificates to trust in place of gRPC's own, as CLARIFAI_ROOT_CERTIFICATES_PATH names them."""
    path = os.environ.get("CLARIFAI_ROOT_CERTIFICATES_PATH")
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"CLARIFAI_ROOT_CERTIFICATES_PATH: cannot read {as_shown(path)}: {error.strerror}"
        ) from None

"""The installation's secret seed: 128 random bits that an adversary cannot know, made once and kept private.

With a public seed one can search for an image on which the known noise misleads the vote; about 1/α tries
find a false certificate. So the seed is secret by default, and `seed=K` marks a certificate as public.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ConfigurationError
from .home import home
from .private import private_folder, refuse_shared_folder

_SEED_BYTES = 16
_FILE = "seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A 16-byte key for the noise, and its name on a certificate: "secret:<fingerprint>" or "public:K"."""

    key: bytes = field(repr=False)
    label: str


def resolve_seed(value: int | None, folder: Path | None = None) -> Seed:
    """The seed for the user's setting: None is the installation's secret, a whole number a public seed.

    `folder` is the installation's, by default `home()`.
    """
    if value is None:
        key = installation_seed(folder)
        return Seed(key=key, label=f"secret:{fingerprint(key)}")
    return Seed(key=public_seed(value), label=f"public:{value}")


def public_seed(k: int) -> bytes:
    """The 16-byte key of the public seed `k`, the same everywhere."""
    if isinstance(k, bool) or not isinstance(k, int):
        raise ConfigurationError(f"seed must be a whole number, or None for the secret one, not {k!r}")
    return hashlib.sha256(f"api-smooth public seed {k}".encode()).digest()[:_SEED_BYTES]


def of_epoch(seed: Seed, epoch: str | None) -> Seed:
    """The key of a round of fresh votes: another one for every name, of which none gives away another or the seed's."""
    if epoch is None:
        return seed
    key = hashlib.sha256(b"api-smooth epoch\0" + seed.key + epoch.encode()).digest()[:_SEED_BYTES]
    return Seed(key=key, label=seed.label)


def fingerprint(seed: bytes) -> str:
    """16 hexadecimal digits that name a seed and do not give it away."""
    return hashlib.sha256(b"api-smooth seed fingerprint\0" + seed).hexdigest()[:16]


def fresh_seed() -> Seed:
    """A secret seed that nobody else has and that ends with its object."""
    key = secrets.token_bytes(_SEED_BYTES)
    return Seed(key=key, label=f"secret:{fingerprint(key)}")


def installation_seed(folder: Path | None = None) -> bytes:
    """The 16 secret bytes of an installation, made on first use in `folder` (or `home()`) with mode 0600.

    Raises `ConfigurationError` when the file is malformed, cannot be made or read, or is open to other users:
    a key that others may have read is not silently used.
    """
    return kept_secret((folder or home()) / _FILE, "secret seed")


def kept_secret(path: Path, name: str) -> bytes:
    """The 16 secret bytes at `path`, made on first use, as those of `installation_seed`; errors call it `name`."""
    try:
        refuse_shared_folder(path.parent)
        if not os.path.lexists(path):
            _create(path)
        if path.is_symlink():
            raise ConfigurationError(f"the {name} {path} is a link: put the file itself there")
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(4 * _SEED_BYTES)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(
            f"the {name} {path} cannot be made or read ({reason}): set API_SMOOTH_HOME elsewhere"
        ) from error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(
            f"the {name} {path} is open to other users: run chmod 600 on it, or delete it for a new one"
        )
    try:
        seed = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise ConfigurationError(
            f"the {name} {path} is malformed: restore its 32 hex digits, or delete it for a new one"
        )
    return seed


def _create(path: Path) -> None:
    """Put a new secret in place at once and whole; where two processes race, the first one's seed stays."""
    private_folder(path.parent)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_SEED_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, never replaces
    finally:
        draft.unlink()

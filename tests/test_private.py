"""What others may write to is refused, whoever we are."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from whole_storage import use

from api_smoothing.cli import main
from api_smoothing.engine.storage.folder import FolderStorage
from api_smoothing.errors import ConfigurationError
from api_smoothing.home import home
from api_smoothing.private import private_folder, refuse_shared_file, refuse_shared_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")

FILES = ("seed", "ledger.db", "rate.db", "votes/cache.db", "votes/paid.db", "votes/looks.db")
NOBODY = 65534


def test_files_are_their_users_alone(tmp_path: Path) -> None:
    """Whatever the umask, files are 0600 and folders 0700."""
    before = os.umask(0)
    try:
        use(FolderStorage(tmp_path / "home", shared=tmp_path / "home"))
    finally:
        os.umask(before)
    for path in (tmp_path / "home").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    for name in FILES:
        assert (tmp_path / "home" / name).is_file()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
@pytest.mark.parametrize("place", [".", "votes"])
def test_a_folder_others_may_write_to_is_refused(tmp_path: Path, place: str, mode: int) -> None:
    """Home or answers, of a group or of all: one line that names the folder and what to do."""
    storage = FolderStorage(tmp_path / "home", shared=tmp_path / "machine")
    use(storage)
    (tmp_path / "home" / place).chmod(mode)
    with pytest.raises(ConfigurationError, match=r"may be written to by other users.*chmod go-w") as caught:
        use(storage)
    assert str(tmp_path / "home") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["link", "open"])
def test_a_file_others_may_write_to_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    """A link in a file's place is not followed, and a file that others may write to is not believed."""
    storage = FolderStorage(tmp_path / "home", shared=tmp_path / "home")
    use(storage)
    path = tmp_path / "home" / name
    if kind == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.chmod(0o666)
    with pytest.raises(ConfigurationError, match=path.name) as caught:
        use(storage)
    assert "\n" not in str(caught.value)


def test_folders_above_are_made_private_too(tmp_path: Path) -> None:
    """A home that is made for its answers is no less private than one made for its seed."""
    before = os.umask(0)
    try:
        FolderStorage(tmp_path / "a" / "home").answers(paid=True).close()
    finally:
        os.umask(before)
    for folder in ("a", "a/home", "a/home/votes"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700


def test_a_link_to_nothing_is_not_filled(tmp_path: Path) -> None:
    """Nor is anything made where it points."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "seed").symlink_to(tmp_path / "planted")
    with pytest.raises(ConfigurationError, match="link"):
        FolderStorage(home).seed(None)
    assert not (tmp_path / "planted").exists()


def test_a_file_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    """As earlier versions left some."""
    path = tmp_path / "a"
    path.write_text("")
    path.chmod(0o644)
    refuse_shared_file(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_settings_others_may_write_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """They say where a key goes."""
    private_folder(home())
    (home() / "config.toml").write_text("sigma = 0.5\n")
    (home() / "config.toml").chmod(0o666)
    assert main(["cache", "info"]) == 2
    assert "config.toml may be written to by other users" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root, to be another user")
@pytest.mark.parametrize("whose", ["mine", "a stranger's"])
def test_another_users_folder_is_refused(tmp_path: Path, whose: str) -> None:
    """Also where it is closed to all others, and also for root: its owner can change what is in it."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    if whose == "mine":
        os.chown(folder, NOBODY, NOBODY)
        with pytest.raises(ConfigurationError, match="belongs to another user"):
            refuse_shared_folder(folder)
        return
    folder.chmod(0o755)
    for parent in folder.parents:  # so that nobody can get there
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path; from api_smoothing.private import refuse_shared_folder as r;"
        f"os.setuid({NOBODY}); r(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert "belongs to another user (number 0)" in done.stderr


def test_reading_what_is_kept_is_refused_too(tmp_path: Path) -> None:
    """`contents` and `clear` open the same files by the same rule."""
    storage = FolderStorage(tmp_path / "home")
    with closing(storage.answers(paid=True)):
        (tmp_path / "home" / "votes").chmod(0o777)
    with pytest.raises(ConfigurationError, match="chmod go-w"):
        storage.contents()

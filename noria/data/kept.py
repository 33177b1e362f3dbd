"""Documents between two stages of `noria data build`: what passed cleaning, with what duplicates are found by.

A folder holds, for each task, `NNNNN.jsonl` (rows), `.offsets` (where each begins, and where the last ends, uint64), `.digests` (two uint64 a row),
`.bands` and `.sketches` (the signatures of `noria.data.minhash`). All are written as documents come and read by memory map, so their number is no
matter of memory. `.funnel.json` is written last.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from noria.data.contents import Funnel
from noria.data.minhash import NUM_BANDS, SKETCH_BYTES, digest, signature
from noria.store import write_file
from noria.store.files import sync

Row = dict[str, Any]


class KeptWriter:
    """Writes the documents of one task; `finish` makes them count."""

    def __init__(self, folder: Path, rank: int, with_signatures: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stem = folder / f"{rank:05d}"
        self._with_signatures = with_signatures
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Self:
        for kind in ("jsonl", "offsets", "digests", "bands", "sketches"):
            self._files[kind] = Path(f"{self._stem}.{kind}").open("wb")
        return self

    def write(self, row: Row) -> None:
        self._files["offsets"].write(np.uint64(self._files["jsonl"].tell()).tobytes())
        self._files["jsonl"].write(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        self._files["digests"].write(digest(row["text"]).tobytes())
        if self._with_signatures:
            found = signature(row["text"])
            self._files["bands"].write(found.keys.tobytes())
            self._files["sketches"].write(found.sketch.tobytes())

    def finish(self, funnel: Funnel) -> None:
        self._files["offsets"].write(np.uint64(self._files["jsonl"].tell()).tobytes())
        for file in self._files.values():
            sync(file)
            file.close()
        write_file(Path(f"{self._stem}.funnel.json"), [funnel.model_dump_json()])

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:  # on a full disk, closing one fails and the others are to be closed nevertheless
            for file in self._files.values():
                stack.callback(file.close)


class Kept:
    """The documents of all tasks, numbered through."""

    def __init__(self, folder: Path, num_tasks: int) -> None:
        self._stems = [folder / f"{rank:05d}" for rank in range(num_tasks)]
        self._offsets = [_mapped(Path(f"{stem}.offsets"), 1)[:, 0] for stem in self._stems]
        self._begins = np.cumsum([0, *(len(offsets) - 1 for offsets in self._offsets)])

    def __len__(self) -> int:
        return int(self._begins[-1])

    def rows(self, rank: int) -> Iterator[tuple[int, Row]]:
        """Number and row of each document of one task."""
        with Path(f"{self._stems[rank]}.jsonl").open("rb") as file:
            for number, line in enumerate(file, int(self._begins[rank])):
                yield number, _row(line)

    def row(self, number: int) -> Row:
        rank = int(np.searchsorted(self._begins, number, side="right")) - 1
        place = number - int(self._begins[rank])
        start, end = int(self._offsets[rank][place]), int(self._offsets[rank][place + 1])
        return _row(self._texts[rank][start:end].tobytes())

    def digests(self) -> NDArray[np.uint64]:
        return np.concatenate([_mapped(Path(f"{stem}.digests"), 2) for stem in self._stems])

    def sketches(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The sketches of some documents, (len(numbers), SKETCH_BYTES)."""
        found = np.empty((len(numbers), SKETCH_BYTES), np.uint8)
        ranks = np.searchsorted(self._begins, numbers, side="right") - 1
        for rank in np.unique(ranks).tolist():
            here = ranks == rank
            found[here] = self._sketches[rank][numbers[here] - self._begins[rank]]
        return found

    def bands(self) -> Iterator[NDArray[np.uint64]]:
        """The keys of all documents, one band after another."""
        parts = [_mapped(Path(f"{stem}.bands"), NUM_BANDS) for stem in self._stems]
        for band in range(NUM_BANDS):
            yield np.concatenate([part[:, band] for part in parts])

    def funnel(self) -> Funnel:
        return Funnel.sum(Funnel.model_validate_json(Path(f"{stem}.funnel.json").read_bytes()) for stem in self._stems)

    @cached_property
    def _sketches(self) -> list[NDArray[np.uint8]]:
        return [_mapped(Path(f"{stem}.sketches"), SKETCH_BYTES, np.uint8) for stem in self._stems]

    @cached_property
    def _texts(self) -> list[NDArray[np.uint8]]:
        return [_mapped(Path(f"{stem}.jsonl"), 1, np.uint8)[:, 0] for stem in self._stems]


def _mapped(path: Path, width: int, dtype: Any = np.uint64) -> NDArray[Any]:
    if path.stat().st_size == 0:
        return np.zeros((0, width), dtype)
    return np.memmap(path, dtype, "r").reshape(-1, width)


def _row(line: bytes) -> Row:
    return json.loads(line.decode("utf-8", "surrogatepass"))

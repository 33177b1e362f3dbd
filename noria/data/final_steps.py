"""The last two stages of a corpus, as pipeline steps of datatrove's: find the duplicates among all that was kept, then write the corpus files.

In: the folder of `noria.data.kept`. Out: first `duplicates.npz` (which documents go, and for which earlier ones), then `train-RANK.jsonl.gz`,
`validation-RANK.jsonl.gz` and `dropped/duplicates-RANK.jsonl.gz`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from noria.data.build_config import BuildConfig
from noria.data.contents import Contents
from noria.data.corpus import split_by_key, split_by_name
from noria.data.gzip_rows import GzipRows
from noria.data.kept import Kept, Row
from noria.data.minhash import Duplicate, equal_texts, near_duplicates, promising, proposed_pairs
from noria.data.steps import Documents, Step
from noria.data.tally import DroppedWriter, Progress, Tally, num_bytes
from noria.store import write_file

EQUAL, NEAR = "equal", "near"


class Duplicates(NamedTuple):
    """All documents that go, as columns: 25 bytes each, for every worker holds them."""

    numbers: NDArray[np.int64]
    """In order, once they are loaded."""
    originals: NDArray[np.int64]
    similarities: NDArray[np.float64]
    equals: NDArray[np.bool_]

    def with_near(self, near: Iterator[Duplicate]) -> "Duplicates":
        row = np.dtype([("number", np.int64), ("original", np.int64), ("similarity", np.float64), ("equal", np.bool_)])
        found = np.fromiter(((d.number, d.original, d.similarity, d.equal) for d in near), row)
        return Duplicates(
            np.concatenate([self.numbers, found["number"]]),
            np.concatenate([self.originals, found["original"]]),
            np.concatenate([self.similarities, found["similarity"]]),
            np.concatenate([self.equals, found["equal"]]),
        )

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp.npz")
        order = np.argsort(self.numbers)
        np.savez(temporary, **{name: column[order] for name, column in self._asdict().items()})
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Duplicates":
        with np.load(path) as found:
            return cls(*(found[name] for name in cls._fields))

    def find(self, number: int) -> Duplicate | None:
        """The entry of a document, if it goes."""
        place = int(np.searchsorted(self.numbers, number))
        if place == len(self.numbers) or self.numbers[place] != number:
            return None
        original, similarity, equal = int(self.originals[place]), float(self.similarities[place]), bool(self.equals[place])
        return Duplicate(number=number, original=original, similarity=similarity, equal=equal)


class FindDuplicates(Step):
    """One task: which documents are equal, or nearly, to an earlier one that stays."""

    name = "duplicates"

    def __init__(self, kept_dir: Path, num_tasks: int, similarity: float | None, out: Path, progress: Progress) -> None:
        super().__init__()
        self.kept_dir = kept_dir
        self.num_tasks = num_tasks
        self.similarity = similarity
        self.out = out
        self.progress = progress

    def run(self, data: Documents = None, rank: int = 0, world_size: int = 1) -> Documents:
        del data, world_size
        kept = Kept(self.kept_dir, self.num_tasks)
        first = equal_texts(kept.digests())
        equal = np.flatnonzero(first != np.arange(len(first)))
        found = Duplicates(equal, first[equal], np.ones(len(equal)), np.ones(len(equal), bool))
        del first
        if self.similarity is not None:
            removed = np.zeros(len(kept), bool)
            removed[equal] = True
            pairs = promising(proposed_pairs(kept.bands(), removed), kept.sketches, self.similarity)
            near = near_duplicates(
                pairs, lambda number: kept.row(number)["text"], self.similarity, removed, lambda done, total: self.progress.report(rank, done, total)
            )
            found = found.with_near(near)
        found.save(self.out)
        self.progress.report(rank, 1, 1)
        return None


class WriteCorpus(Step):
    """Writes the documents of one task that stay, each to its split, and those that go with the document that stays in their place."""

    name = "write"

    def __init__(self, config: BuildConfig, kept_dir: Path, num_tasks: int, duplicates: Path, out: Path, progress: Progress) -> None:
        super().__init__()
        self.config = config
        self.kept_dir = kept_dir
        self.num_tasks = num_tasks
        self.duplicates = duplicates
        self.out = out
        self.progress = progress

    def run(self, data: Documents = None, rank: int = 0, world_size: int = 1) -> Documents:
        del data, world_size
        kept = Kept(self.kept_dir, self.num_tasks)
        gone = Duplicates.load(self.duplicates)
        contents, tally = Contents(), Tally()
        paths = {name: self.out / f"{name}-{rank:05d}.jsonl.gz" for name in ("train", "validation")}
        for path in paths.values():  # of a run that was killed
            path.unlink(missing_ok=True)
        with ExitStack() as stack:
            dropped = stack.enter_context(DroppedWriter(self.out / "dropped", "duplicates", tally))
            splits = {name: stack.enter_context(GzipRows(path)) for name, path in paths.items()}
            for number, row in kept.rows(rank):
                split = self._split(row)
                del row["file"]
                self.progress.report(rank, number, len(kept) + 1)
                if duplicate := gone.find(number):
                    reason = EQUAL if duplicate.equal else NEAR
                    like = f"{duplicate.similarity:.3f} like {kept.row(duplicate.original)['id']}"
                    dropped.write_row({**row, "reason": reason, "detail": like}, rank)
                    tally.drop("duplicates", reason, row["text"])
                    continue
                splits[split].write(row)
                contents.add(row, split)
                tally.went_out.add(1, num_bytes(row["text"]))
        write_file(self.kept_dir / f"{rank:05d}.contents.json", [contents.model_dump_json()])
        write_file(self.kept_dir / f"{rank:05d}.last.json", [tally.funnel().model_dump_json()])
        self.progress.report(rank, 1, 1)
        return None

    def _split(self, row: Row) -> str:
        named = split_by_name(row["file"])
        key = row["source"] if self.config.split_by == "source" else row["text"]
        return named or split_by_key(key, self.config.validation_share, self.config.seed)

"""The last two stages of a corpus, as pipeline steps of datatrove's: find the duplicates among all that was kept, then write the corpus files.

In: the folder of `noria.data.kept`. Out: first `duplicates.npz` (which documents go, and for which earlier ones), then `train-RANK.jsonl.gz`,
`validation-RANK.jsonl.gz` and `dropped/duplicates-RANK.jsonl.gz`.
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

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
        found = [Duplicate(number=n, original=int(first[n]), similarity=1.0, equal=True) for n in equal.tolist()]
        if self.similarity is not None:
            removed = np.zeros(len(kept), bool)
            removed[equal] = True
            pairs = promising(proposed_pairs(kept.bands(), removed), kept.sketches(), self.similarity)
            found += near_duplicates(
                pairs, lambda number: kept.row(number)["text"], self.similarity, removed, lambda done, total: self.progress.report(rank, done, total)
            )
        found.sort(key=lambda duplicate: duplicate.number)
        self._write(found)
        self.progress.report(rank, 1, 1)
        return None

    def _write(self, found: list[Duplicate]) -> None:
        temporary = self.out.with_suffix(".tmp.npz")
        np.savez(
            temporary,
            numbers=np.array([d.number for d in found], np.int64),
            originals=np.array([d.original for d in found], np.int64),
            similarities=np.array([d.similarity for d in found], np.float64),
            equals=np.array([d.equal for d in found], bool),
        )
        temporary.replace(self.out)


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
        gone = _read_duplicates(self.duplicates)
        contents, tally = Contents(), Tally()
        for path in self.out.glob(f"*-{rank:05d}.jsonl.gz"):  # of a run that was killed
            path.unlink()
        with ExitStack() as stack:
            dropped = stack.enter_context(DroppedWriter(self.out / "dropped", "duplicates", tally))
            splits = {name: stack.enter_context(GzipRows(self.out / f"{name}-{rank:05d}.jsonl.gz")) for name in ("train", "validation")}
            for number, row in kept.rows(rank):
                split = self._split(row)
                del row["file"]
                self.progress.report(rank, number, len(kept) + 1)
                if number in gone:
                    reason = EQUAL if gone[number].equal else NEAR
                    like = f"{gone[number].similarity:.3f} like {kept.row(gone[number].original)['id']}"
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


def _read_duplicates(path: Path) -> dict[int, Duplicate]:
    with np.load(path) as found:
        columns = [found[name].tolist() for name in ("numbers", "originals", "similarities", "equals")]
    return {n: Duplicate(number=n, original=o, similarity=s, equal=e) for n, o, s, e in zip(*columns, strict=True)}

"""Corpora: text of many files as a stream of documents, in an order that is always the same, whatever the size of the files.

In: files, folders and globs of all kinds of `noria.data.readers`, or folders that `noria data build` made. Out: `Document`s. What cannot be read, a
file or one row of it, is left out with its reason; the run goes on.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from hashlib import sha256
from pathlib import Path

from noria.data.documents import Document, whole_characters
from noria.data.parser import Parser
from noria.data.readers import KINDS, ROW_SUFFIXES, Track, check_libraries, is_read, read_documents, suffix_of
from noria.errors import DataError
from noria.store.claim import is_claimed

BUILT, SCRATCH = "corpus.json", ".build"
"""Manifest of a built corpus, written last; and what an unfinished one is made from."""
EVALUATION = "evaluation"
"""What files named `test` or `eval` are counted as in `Corpus.passed_over`."""
NUM_TOLD = 5
"""Kinds of files passed over that are told by name."""
_SPLIT_NAMES = {"train": "train", **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"), **dict.fromkeys(("test", "eval"), EVALUATION)}
_NAME_OF_SPLIT = re.compile(rf"({'|'.join(_SPLIT_NAMES)})(?:[-_.]\d+(?:-of-\d+)?(?:-[0-9a-f]{{16}})?)?\.")
"""With the numbers that shards have, and the hash that the files of a data set on a hub may have."""
_KINDS_WITH_SPLITS = (*ROW_SUFFIXES, ".parquet", ".txt")
"""A page `dev.md` is about something else."""


@dataclass(kw_only=True)
class Corpus:
    """Files to read. `left_out` says which were not read whole, as (path, reason), once they were met."""

    files: Sequence[Path]
    passed_over: dict[str, int] = field(default_factory=dict[str, int])
    """Files of other kinds in the folders named, counted by the end of their names; and files named `test` or `eval`, counted as `EVALUATION`."""
    left_out: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    def without(self, folder: Path) -> "Corpus":
        """The corpus but for what stands in a folder, where the work itself writes. Raises DataError where nothing else is left."""
        files = [path for path in self.files if not path.resolve().is_relative_to(folder.resolve())]
        if not files:
            raise DataError(f"No text but what stands in '{folder}' itself. Give another folder with `--out`.")
        return Corpus(files=files, passed_over=self.passed_over)

    def __iter__(self) -> Iterator[Document]:
        self.left_out.clear()
        with Parser() as parser:
            for path in self.files:
                reason, count = "", 0
                for item in read_documents(path, parser, Track()):
                    if isinstance(item, Document):
                        yield item
                        continue
                    reason = reason or ": ".join(part for part in (item.place, item.reason) if part)
                    count += 1
                if count:
                    self.left_out.append((whole_characters(str(path)), reason if count == 1 else f"{reason} ({count} such)"))


def open_corpus(paths: Sequence[Path]) -> Corpus:
    """The files at, below and matched by these paths that hold text.

    Raises:
        DataError: no such path, a corpus that is not built to its end, a file of a kind that is not read, or no text at all.
        DependencyError: a library for one of the files is not installed.
    """
    files: dict[Path, None] = {}
    passed_over: Counter[str] = Counter()
    for path in paths:
        if not path.exists() and has_magic(str(path)):
            found = sorted(p for p in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if not p.name.startswith("."))
            if not found:
                raise DataError(f"No file matches '{path}'. Check the pattern.")
        elif _is_unfinished(path):
            raise DataError(f"The corpus in '{path}' is not built to its end. Run its `noria data build` again, or leave it out.")
        else:
            found = [path]
        for place in found:
            files |= dict.fromkeys(_files(place, passed_over))
    if evaluation := [path for path in files if _named_split(path) == EVALUATION]:
        passed_over[EVALUATION] = len(evaluation)
        files = {path: None for path in files if path not in set(evaluation)}
    if not files:
        others = f" (passed over: {', '.join(f'{n} of {_named(kind)}' for kind, n in passed_over.most_common(NUM_TOLD))})" if passed_over else ""
        raise DataError(f"No text in {', '.join(repr(str(p)) for p in paths)}{others}: files of {', '.join(KINDS)} are read, each also compressed.")
    check_libraries(list(files))
    return Corpus(files=list(files), passed_over=dict(passed_over))


def split_of(document: Document, validation_share: float, seed: int = 0) -> str:
    """`train` or `validation`: as the file's name says, else by the document's own text, so that equal documents never stand on both sides."""
    return split_by_name(document.source) or split_by_key(document.text, validation_share, seed)


def split_by_name(source: str) -> str | None:
    """`train` or `validation` where the name of a file says it: `train.txt`, `validation-00003-of-00010.parquet`."""
    named = _named_split(Path(source))
    return None if named == EVALUATION else named


def passed_over_sentences(passed_over: Mapping[str, int]) -> list[str]:
    """What a user is told of `Corpus.passed_over`: the most frequent kinds, and how many others there are."""
    kinds = Counter(passed_over)
    evaluation, told = kinds.pop(EVALUATION, 0), []
    if evaluation:
        files = _files_told(evaluation)
        told.append(
            f"Passed over: {files} named `test` or `eval`. What models are measured with is not trained on; `noria data build --against` takes it."
        )
    if kinds:
        most = ", ".join(f"{number:,} of {kind}" for kind, number in kinds.most_common(NUM_TOLD))
        others = len(kinds) - NUM_TOLD
        more = "" if others <= 0 else f" and {'1 more kind' if others == 1 else f'{others:,} more kinds'}"
        told.append(f"Passed over, for they are of kinds that are not read: {_files_told(kinds.total())} ({most}{more}).")
    return told


def _files_told(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"


def split_by_key(key: str, validation_share: float, seed: int = 0) -> str:
    """`train` or `validation` by the hash of a key, the same for an equal key whatever else there is."""
    digest = sha256(f"{seed}/{key}".encode("utf-8", "surrogatepass")).digest()
    return "validation" if int.from_bytes(digest[:8], "big") < validation_share * 2**64 else "train"


def _named_split(path: Path) -> str | None:
    named = _NAME_OF_SPLIT.match(path.name) if suffix_of(path) in _KINDS_WITH_SPLITS else None
    return _SPLIT_NAMES[named[1]] if named else None


def _named(kind: str) -> str:
    return "those named `test` or `eval`" if kind == EVALUATION else kind


def _files(path: Path, passed_over: Counter[str]) -> list[Path]:
    if not path.exists():
        raise DataError(f"No file or folder '{path}'. Check the paths given.")
    if not path.is_dir():
        if not is_read(path):
            raise DataError(f"'{path}' is of no kind that is read: {', '.join(KINDS)}, each also compressed (.gz, .bz2, .xz, .zst).")
        return [path]
    return sorted(_below(path, passed_over))


def _below(path: Path, passed_over: Counter[str]) -> Iterator[Path]:
    """What is read below a folder. Of a built corpus these are its splits: what was dropped is not to come back; of one half built, nothing."""
    folders = [path]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(folder.iterdir())
            (folder / BUILT).is_file()
        except PermissionError:  # as `lost+found` on a disk of data
            continue
        built = [p for p in folder.glob("*.jsonl.gz") if split_by_name(p.name)] if (folder / BUILT).is_file() else []
        if built or _is_unfinished(folder):
            yield from built
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not entry.is_symlink():
                folders.append(entry)
            elif entry.is_file() and is_read(entry):
                yield entry
            elif entry.is_file():
                passed_over[whole_characters(suffix_of(entry)) or "no suffix"] += 1


def _is_unfinished(folder: Path) -> bool:
    return is_claimed(folder / SCRATCH) and not (folder / BUILT).is_file()

"""The steps of a corpus that datatrove does not bring: each is a pipeline step of datatrove's and runs under any of its executors.

In and out: datatrove documents whose metadata are `source`, `origin`, `url`, `license` and, once it is known, `language`. What a step drops goes to
`dropped/STEP-RANK.jsonl.gz` with the reason, and is counted.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter
from loguru import logger

from noria.data.contamination import read_evaluation
from noria.data.contents import Amount, Dropped, Funnel, StepName
from noria.data.documents import Unread
from noria.data.gzip_rows import GzipRows
from noria.data.kept import KeptWriter, Row
from noria.data.language import identify
from noria.data.parser import Parser
from noria.data.personal import Entity, PersonalData, Placeholders
from noria.data.readers import Track, read_documents

Verdict = bool | tuple[bool, str]
Documents = Iterator[Document] | None
"""What goes from step to step; none into the first."""
_SECONDS_BETWEEN_REPORTS = 0.3


class Step(PipelineStep):
    """Base of the steps here. In a process of its own, too, datatrove says nothing on the terminal unless `NORIA_LOG` asks for it."""

    type = "noria"

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        quiet()


def quiet() -> None:
    """Keep datatrove's own log, with its picture of each pipeline, off the terminal."""
    if os.environ.get("NORIA_LOG", "warning").lower() not in ("debug", "info"):
        logger.disable("datatrove")


class Tally:
    """What happens to the documents of one task; its steps share one."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin another task: some executors run several with the same steps."""
        self.came_in = Amount()
        self.dropped: dict[tuple[StepName, str], Amount] = {}
        self.redacted: Counter[str] = Counter()
        self.went_out = Amount()

    def drop(self, step: StepName, reason: str, text: str) -> None:
        self.dropped.setdefault((step, reason), Amount()).add(1, num_bytes(text))

    def funnel(self) -> Funnel:
        losses = tuple(Dropped(step=s, reason=r, documents=a.documents, bytes=a.bytes) for (s, r), a in self.dropped.items())
        return Funnel(came_in=self.came_in, dropped=losses, went_out=self.went_out, redacted=dict(self.redacted))


class DroppedWriter:
    """Takes what a step drops; datatrove's filters know it as their exclusion writer."""

    def __init__(self, folder: Path, step: StepName, tally: Tally) -> None:
        self._folder = folder
        self._step: StepName = step
        self._tally = tally
        self._rows: GzipRows | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        rows, self._rows = self._rows, None
        if rows is not None:
            rows.close()

    def write(self, document: Document, rank: int = 0) -> None:
        reason = str(document.metadata.pop("filter_reason", None) or self._step).removeprefix(f"{self._step}_")
        self._tally.drop(self._step, reason, document.text)
        row = row_of(document)
        if detail := document.metadata.get("detail"):
            row["detail"] = detail
        self.write_row({**row, "reason": reason}, rank)

    def write_unread(self, unread: Unread, rank: int) -> None:
        self._tally.drop(self._step, "unread", unread.text)
        self._tally.came_in.add(1, num_bytes(unread.text))
        row = {"text": unread.text, "id": unread.place or unread.source, "source": unread.source, "reason": "unread", "detail": unread.reason}
        self.write_row(row, rank)

    def write_row(self, row: Row, rank: int) -> None:
        if self._rows is None:
            self._rows = GzipRows(self._folder / f"{self._step}-{rank:05d}.jsonl.gz")
        self._rows.write({**row, "step": self._step})


class Progress:
    """How far a task is, in a file that whoever waits for it looks at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next = 0.0

    def report(self, rank: int, done: float, total: float) -> None:
        """Say that `done` of `total` is done; most calls cost nothing."""
        now = time.monotonic()
        if now >= self._next or done >= total:
            self._next = now + _SECONDS_BETWEEN_REPORTS
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{rank:05d}").write_text(f"{done / max(total, 1):.4f}", encoding="utf-8")


class ReadFiles(Step):
    """The documents of every n-th file; what cannot be read is dropped with its reason."""

    name = "read"

    def __init__(self, files: Sequence[Path], dropped: DroppedWriter, dropped_dir: Path, tally: Tally, progress: Progress) -> None:
        super().__init__()
        self.files = list(files)
        self.dropped = dropped
        self.dropped_dir = dropped_dir
        self.tally = tally
        self.progress = progress

    def run(self, data: Documents = None, rank: int = 0, world_size: int = 1) -> Documents:
        del data
        return self._documents(rank, self.files[rank::world_size])

    def _documents(self, rank: int, files: list[Path]) -> Iterator[Document]:
        self.tally.reset()
        for path in self.dropped_dir.glob(f"*-{rank:05d}.jsonl.gz"):  # of a run that was killed
            path.unlink()
        total = sum(path.stat().st_size for path in files if path.is_file())
        track = Track()
        with Parser() as parser, self.dropped:
            for path in files:
                for item in read_documents(path, parser, track):
                    if isinstance(item, Unread):
                        self.dropped.write_unread(item, rank)
                        continue
                    self.progress.report(rank, min(track.num_bytes, total * 0.999), total)
                    text = whole_characters(item.text)
                    self.tally.came_in.add(1, num_bytes(text))
                    known = {"source": item.source, "origin": item.origin, "url": item.url, "license": item.license}
                    yield Document(text=text, id=item.id, metadata={k: v for k, v in known.items() if v is not None})
        self.progress.report(rank, total, total)


class Identify(BaseFilter):
    """Names the language of each document and keeps those in the languages wanted."""

    name = "language"
    type = "noria"

    def __init__(self, languages: tuple[str, ...] | None, confidence: float, exclusion_writer: Any) -> None:
        super().__init__(exclusion_writer)
        self.languages = None if languages is None else frozenset(languages)
        self.confidence = confidence

    def filter(self, doc: Document) -> Verdict:
        code, confidence = identify(doc.text)
        doc.metadata["language"] = code
        if confidence < self.confidence:
            return False, "unsure"
        return self.languages is None or code in self.languages or (False, code)


class Decontaminate(BaseFilter):
    """Drops documents that hold a part of an evaluation text."""

    name = "contamination"
    type = "noria"

    def __init__(self, against: tuple[Path, ...], exclusion_writer: Any) -> None:
        super().__init__(exclusion_writer)
        self.against = against

    def filter(self, doc: Document) -> Verdict:
        found = read_evaluation(self.against).find(doc.text)
        if found is None:
            return True
        doc.metadata["detail"] = found[1]
        return False, found[0]


class Redact(Step):
    """Puts placeholders in the place of personal data, numbered through each document."""

    name = "personal data"

    def __init__(self, entities: tuple[Entity, ...], phone_regions: tuple[str, ...], tally: Tally) -> None:
        super().__init__()
        self.entities = entities
        self.phone_regions = phone_regions
        self.tally = tally

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Documents:
        del rank, world_size
        return self._documents(data or iter(()))

    def _documents(self, data: Iterator[Document]) -> Iterator[Document]:
        personal = PersonalData(self.entities, self.phone_regions, max_remembered=0)
        for document in data:
            placeholders = Placeholders(personal)
            document.text = placeholders.text(document.text)
            self.tally.redacted.update(placeholders.counts)
            yield document


class Keep(Step):
    """The end of cleaning: writes what came through, with what duplicates are found by."""

    name = "keep"

    def __init__(self, folder: Path, with_signatures: bool, tally: Tally) -> None:
        super().__init__()
        self.folder = folder
        self.with_signatures = with_signatures
        self.tally = tally

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Documents:
        del world_size
        with KeptWriter(self.folder, rank, self.with_signatures) as kept:
            for document in data or iter(()):
                self.tally.went_out.add(1, num_bytes(document.text))
                kept.write({**row_of(document), "file": document.metadata["source"]})
            kept.finish(self.tally.funnel())
        return None


def row_of(document: Document) -> Row:
    """A document as a row of a corpus file; what is not known is left out."""
    known = document.metadata
    row = {"text": document.text, "id": document.id, "source": known.get("origin") or known["source"]}
    return row | {name: known[name] for name in ("url", "license", "language") if known.get(name)}


def whole_characters(text: str) -> str:
    """A text whose surrogates are pairs made whole, or replaced: libraries refuse any other."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def num_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

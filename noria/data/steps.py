"""The steps of a corpus that datatrove does not bring: each is a pipeline step of datatrove's and runs under any of its executors.

In and out: datatrove documents whose metadata are `source`, `origin`, `url`, `license` and, once it is known, `language`. What a step drops goes to
its `DroppedWriter`.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter
from loguru import logger

from noria.data.contamination import read_evaluation
from noria.data.documents import Unread
from noria.data.kept import KeptWriter
from noria.data.language import identify
from noria.data.parser import Parser
from noria.data.personal import Entity, PersonalData, Placeholders
from noria.data.readers import Track, read_documents
from noria.data.tally import DroppedWriter, Progress, Tally, num_bytes, row_of

Verdict = bool | tuple[bool, str]
Documents = Iterator[Document] | None
"""What goes from step to step; none into the first."""


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
                    self.tally.came_in.add(1, num_bytes(item.text))
                    known = {"source": item.source, "origin": item.origin, "url": item.url, "license": item.license}
                    yield Document(text=item.text, id=item.id, metadata={k: v for k, v in known.items() if v is not None})
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

"""What becomes of the documents of one task: counted, written down where they are dropped, and how far the task is.

In: datatrove documents with the reason why a filter drops them. Out: a `Funnel`, and `dropped/STEP-RANK.jsonl.gz`.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Self

from datatrove.data import Document

from noria.data.contents import Amount, Dropped, Funnel, StepName
from noria.data.documents import Unread
from noria.data.gzip_rows import GzipRows
from noria.data.kept import Row

_SECONDS_BETWEEN_REPORTS = 0.3


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


def row_of(document: Document) -> Row:
    """A document as a row of a corpus file; what is not known is left out."""
    known = document.metadata
    row = {"text": document.text, "id": document.id, "source": known.get("origin") or known["source"]}
    return row | {name: known[name] for name in ("url", "license", "language") if known.get(name)}


def num_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

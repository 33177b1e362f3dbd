"""Past cases with their right answers, and the ones nearest to a question.

In: rows of a task file and a sentence encoder. Out: `cases.jsonl` and `vectors.npy` in a folder, and from them the cases that are most like a text,
or those that are like it and unlike one another (maximal marginal relevance, Carbonell and Goldstein 1998). A case of a conversation is one answer
of the assistant with what was said before it.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from noria.data import ChatExample, Example, Task, write_task
from noria.data.tasks import read_task
from noria.errors import ArtifactError, DataError
from noria.schema import Message
from noria.store.files import disk_errors
from noria.train.sentences import SentenceEncoder, Vectors

ROWS, VECTORS = "cases.jsonl", "vectors.npy"
LIKENESS = 0.5
"""Share of a case's worth that is its likeness to the question; the rest is what sets it apart from cases already chosen."""
POOL = 5
"""How many times as many cases as are wanted are looked at."""
AT_ONCE = 256
"""Texts that are compared with all cases at once: bounds memory."""
LAST_MESSAGES = 3
"""Messages of a conversation by which cases are compared."""


class CaseBook:
    """Cases and their vectors."""

    def __init__(self, rows: Sequence[Example], vectors: Vectors, encoder: SentenceEncoder) -> None:
        self.rows, self._vectors, self._encoder = rows, vectors, encoder
        self._lock = threading.Lock()

    @classmethod
    def of(cls, rows: Iterable[Example], encoder: SentenceEncoder) -> "CaseBook":
        cases = [case for row in rows for case in cases_of(row)]
        if not cases:
            raise DataError("No row holds an answer with something said before it: there are no cases to go by. Give other rows.")
        return cls(cases, encoder.vectors([question_text(case) for case in cases]), encoder)

    @classmethod
    def read(cls, folder: Path, task: Task, encoder: SentenceEncoder) -> "CaseBook":
        """Raises ArtifactError where the folder's files do not belong together."""
        rows = list(read_task(folder / ROWS, task))
        try:
            vectors = np.load(folder / VECTORS, allow_pickle=False).astype(np.float32)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"'{folder / VECTORS}' cannot be read ({error!s:.200}). Tune again.") from error
        if len(vectors) != len(rows):
            raise ArtifactError(f"'{folder}' holds {len(rows)} cases and {len(vectors)} vectors. Tune again.")
        return cls(rows, vectors, encoder)

    def write(self, folder: Path) -> None:
        write_task(folder / ROWS, self.rows)
        with disk_errors(folder), (folder / VECTORS).open("wb") as file:
            np.save(file, self._vectors.astype(np.float16))

    def nearest(self, texts: Sequence[str], count: int) -> list[list[tuple[int, float]]]:
        """For each text the numbers of the cases most like it and their likeness, the most alike first."""
        with self._lock:
            asked = self._encoder.vectors(texts)
        found: list[list[tuple[int, float]]] = []
        for start in range(0, len(asked), AT_ONCE):
            for likeness in asked[start : start + AT_ONCE] @ self._vectors.T:
                order = np.argsort(-likeness, kind="stable")[:count]
                found.append([(int(index), float(likeness[index])) for index in order])
        return found

    def chosen(self, text: str, count: int) -> list[Example]:
        """Cases like a text and unlike one another; the most alike last, where a model heeds it most."""
        if count == 0:
            return []
        [pool] = self.nearest([text], POOL * count)
        picked: list[tuple[int, float]] = []
        while pool and len(picked) < count:
            best = max(pool, key=lambda one: LIKENESS * one[1] - (1 - LIKENESS) * self._closest(one[0], picked))
            pool.remove(best)
            picked.append(best)
        return [self.rows[index] for index, _ in sorted(picked, key=lambda one: one[1])]

    def _closest(self, index: int, picked: Sequence[tuple[int, float]]) -> float:
        return max((float(self._vectors[index] @ self._vectors[other]) for other, _ in picked), default=0.0)


def cases_of(row: Example) -> Iterator[Example]:
    """A row as it is; of a conversation, each answer to learn from with what was said before it."""
    if not isinstance(row, ChatExample):
        yield row
        return
    for index, (_, learnt) in enumerate(zip(row.messages, row.train, strict=True)):
        if learnt and index > 0:
            flags = (False,) * index + (True,)
            yield row.model_copy(update={"messages": row.messages[: index + 1], "train": flags})


def question_text(row: Example) -> str:
    """What a row is compared by: its text, or the end of what was said before the answer."""
    if isinstance(row, ChatExample):
        return conversation_text(row.messages[:-1])
    fields = [cast(str | None, getattr(row, name, None)) for name in ("text", "text_pair", "question")]
    return "\n".join(text for text in fields if text)


def conversation_text(messages: Sequence[Message]) -> str:
    """The end of a conversation, as it is compared."""
    said = [message.content for message in messages if message.role in ("user", "assistant") and message.content]
    return "\n".join(said[-LAST_MESSAGES:])

"""Folders with a head that `noria tune` made, opened to be asked."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noria.data import Example
from noria.data.examples import HeadTask
from noria.data.tag_schemes import Scheme, scheme_of
from noria.engine.heads.answerer import Answerer
from noria.engine.heads.classifier import Classifier
from noria.engine.heads.embedder import Embedder
from noria.engine.heads.reader import Input, Prediction, Reader, Runner, cut_of, outputs_of
from noria.engine.heads.scorer import Scorer
from noria.engine.heads.tagger import Tagger, TransitionScores
from noria.engine.heads.text_input import Wrap
from noria.errors import ArtifactError
from noria.model import Tokenizer, load_tokenizer
from noria.model.precision import Precision
from noria.schema import Record
from noria.store import write_file
from noria.store.claim import begun

NAME, DONE = "head.json", "tuned.json"
"""What a prediction needs; written last, what was done; and what is there until then."""
TRANSITIONS = "transitions.safetensors"
CHUNK = 1024
"""Rows whose texts are sorted by length together."""
_log = logging.getLogger(__name__)


def not_tuned(folder: Path) -> str:
    """What is said of a folder that `noria tune` did not make."""
    return f"'{folder}' holds no `{NAME}`: it was not made by `noria tune` for classify, score, embed, tag or answer. Name a folder that was."


def _unfinished(folder: Path) -> ArtifactError:
    return ArtifactError(f"'{folder}' is not finished: `{DONE}` is missing. Run the command that began it again; it goes on.")


class HeadFile(Record):
    """What a prediction needs beside the model: `head.json` in the folder."""

    task: HeadTask
    num_positions: int
    with_kinds: bool
    labels: tuple[str, ...] = ()
    several: bool = False
    scheme: Scheme | None = None
    crf: bool = False
    stride: int = 64
    none_margin: float | None = 0.0
    threshold: float = 0.0
    before: str = ""
    center: float = 0.0
    spread: float = 1.0
    precision: Precision | None = None
    between: tuple[int, ...] | None = None
    """What parts the two texts of a pair; None: what ends one, as it was in folders of earlier releases."""

    @classmethod
    def read(cls, folder: Path) -> "HeadFile":
        """Raises ArtifactError where the folder is not finished, or was not made by `noria tune`."""
        try:
            told = cls.model_validate_json((folder / NAME).read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _unfinished(folder) if begun(folder) else ArtifactError(not_tuned(folder)) from error
        except (OSError, ValueError) as error:
            raise ArtifactError(f"'{folder / NAME}' cannot be read ({error!s:.200}). Tune again.") from error
        if not (folder / DONE).is_file():
            raise _unfinished(folder)
        return told

    def reader(self, tokenizer: Tokenizer, transitions: TransitionScores | None) -> Reader:
        made = self._made(tokenizer, Wrap.of(tokenizer, self.num_positions, self.between), transitions)
        made.precision = self.precision
        return made

    def _made(self, tokenizer: Tokenizer, wrap: Wrap, transitions: TransitionScores | None) -> Reader:
        if self.task == "classify":
            return Classifier(tokenizer, wrap, self.labels, self.several, self.with_kinds, self.threshold)
        if self.task == "embed":
            return Embedder(tokenizer, wrap, self.before, self.with_kinds)
        if self.task == "score":
            return Scorer(tokenizer, wrap, self.center, self.spread, self.with_kinds)
        if self.task == "tag":
            return Tagger(tokenizer, wrap, self.labels, self.scheme or scheme_of(self.labels), transitions, self.stride, self.with_kinds)
        return Answerer(tokenizer, wrap, self.stride, self.none_margin, self.with_kinds)

    def write(self, folder: Path) -> None:
        write_file(folder / NAME, [self.model_dump_json(indent=1) + "\n"])


@dataclass(frozen=True, kw_only=True)
class OpenHead:
    """A head with its model, ready to be asked."""

    told: HeadFile
    reader: Reader
    runner: Runner

    def predictions(self, rows: Sequence[Example]) -> Iterator[Prediction]:
        """One of each row, in their order."""
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            yield from self.said(part, self.reader.inputs(part))

    def said(self, rows: Sequence[Example], inputs: Sequence[Input]) -> list[Prediction]:
        """One of each row, from the inputs that the reader made of them."""
        if cut := cut_of(self.reader, inputs):
            _log.warning("%s", cut)
        return self.reader.predictions(rows, inputs, outputs_of(self.reader, self.runner, inputs))


def open_head(folder: Path) -> OpenHead:
    """Open a tuned folder. Raises ArtifactError, ModelError, DependencyError."""
    from noria.engine.heads.runners import open_runner

    told = HeadFile.read(folder)
    reader = told.reader(load_tokenizer(folder), _transitions(folder) if told.crf else None)
    return OpenHead(told=told, reader=reader, runner=open_runner(folder, reader))


def _transitions(folder: Path) -> TransitionScores:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found: dict[str, Any] = load_file(str(folder / TRANSITIONS))
        return found["between"], found["begin"], found["end"]
    except (OSError, KeyError, SafetensorError) as error:
        raise ArtifactError(f"'{folder / TRANSITIONS}' cannot be read ({error!s:.200}). Tune again.") from error

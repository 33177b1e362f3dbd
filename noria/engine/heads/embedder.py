"""Sentence embedding: a text as a vector of length one, whose products say how alike texts are.

The vector is the mean of the last layer over a text's tokens (Reimers and Gurevych 2019). What an encoder wants before every text
(sentence-transformers' `config_sentence_transformers.json`) is put there.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from noria.data import EmbedExample, Example
from noria.data.examples import HeadTask
from noria.engine.heads.reader import Floats, Input, Prediction
from noria.engine.heads.text_input import Wrap
from noria.engine.heads.texts import whole_text
from noria.model import Tokenizer
from noria.model.precision import Precision

TEXT, POSITIVE, NEGATIVE = 0, 1, 2
"""What an input is to its row."""


class Embedder:
    """The reader: of a row its text, and where they are there its positive and its negatives, are inputs of their own.

    Args:
        before: the text that stands before every text.
    """

    task: HeadTask = "embed"
    auto_class = "AutoModel"
    precision: Precision | None = None

    def __init__(self, tokenizer: Tokenizer, wrap: Wrap, before: str = "", with_kinds: bool = False) -> None:
        self.tokenizer, self.wrap, self.before, self.with_kinds = tokenizer, wrap, before, with_kinds

    @property
    def cut_field(self) -> tuple[str, int]:
        return "text", self.wrap.room()

    def inputs(self, rows: Sequence[Example]) -> list[Input]:
        texts = [(index, *one) for index, row in enumerate(cast(Sequence[EmbedExample], rows)) for one in _texts(row)]
        ids = self.tokenizer.encode_batch([self.before + text for _, _, text in texts])
        return [whole_text(self.wrap, index, one, role) for (index, role, _), one in zip(texts, ids, strict=True)]

    def outputs(self, inputs: Sequence[Input], found: Mapping[str, Floats]) -> list[Floats]:
        """The vector of each input: (width,)."""
        hidden = found["last_hidden_state"]
        means = [hidden[place, : len(one.token_ids)].mean(axis=0) for place, one in enumerate(inputs)]
        return [mean / max(float(np.linalg.norm(mean)), 1e-12) for mean in means]

    def predictions(self, rows: Sequence[Example], inputs: Sequence[Input], outputs: Sequence[Floats]) -> list[Prediction]:
        names = {TEXT: "embedding", POSITIVE: "positive"}
        made: list[dict[str, list[float]]] = [{} for _ in rows]
        for one, vector in zip(inputs, outputs, strict=True):
            if one.target in names:
                made[one.row][names[one.target]] = [round(value, 6) for value in vector.tolist()]
        return [Prediction(output=output) for output in made]


def text_before(folder: Path) -> str:
    """The text that stands before every text, where an encoder was trained with one."""
    path = folder / "config_sentence_transformers.json"
    if not path.is_file():
        return ""
    told = json.loads(path.read_text(encoding="utf-8"))
    return str((told.get("prompts") or {}).get(told.get("default_prompt_name") or "", ""))


def _texts(row: EmbedExample) -> list[tuple[int, str]]:
    positive = [] if row.positive is None else [(POSITIVE, row.positive)]
    return [(TEXT, row.text), *positive, *((NEGATIVE, text) for text in row.negatives)]

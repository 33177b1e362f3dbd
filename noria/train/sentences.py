"""Texts as vectors of length one, whose products say how alike they are.

In: an encoder that was trained for sentences, or any other. Out: the mean of its last layer over a text's tokens, scaled to length one (Reimers and
Gurevych 2019). What the encoder wants before a text (sentence-transformers' `config_sentence_transformers.json`) is put there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from noria.engine.heads import Input, Wrap
from noria.engine.heads.embedder import text_before
from noria.engine.heads.reader import in_parts
from noria.errors import ModelError
from noria.model import BaseModel, load_tokenizer, plain_checkpoint
from noria.model.precision import dtype_of
from noria.train.heads.head import mean_vectors, padded

Vectors = NDArray[np.float32]
MAX_TOKENS, MOST_AT_ONCE = 256, 8192
"""Tokens of a text that are read, and of the texts that go through the model at once."""


class SentenceEncoder:
    """The encoder of a base model. Raises ModelError where it has no layers that read a text."""

    def __init__(self, base: BaseModel) -> None:
        from transformers import AutoModel

        folder = plain_checkpoint(base)
        auto: Any = AutoModel
        try:
            self._model = auto.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"'{folder}' cannot be read as an encoder: {error!s:.300}. Name another.") from error
        self._tokenizer = load_tokenizer(base.path)
        positions = getattr(self._model.config, "max_position_embeddings", None) or MAX_TOKENS
        self._wrap = Wrap.of(self._tokenizer, min(MAX_TOKENS, int(positions)))
        self._with_kinds = getattr(self._model.config, "type_vocab_size", 0) > 1
        self._before = text_before(folder)
        self.room = self._wrap.room()
        """Tokens of a text that are read."""
        self.num_cut = 0
        """Texts that had more of them, so far."""

    @torch.no_grad()
    def vectors(self, texts: Sequence[str]) -> Vectors:
        """(texts, width), in their order; what a text has beyond `MAX_TOKENS` is not read."""
        ids = self._tokenizer.encode_batch([self._before + text for text in texts])
        self.num_cut += sum(len(one) > self.room for one in ids)
        inputs = [Input(row=row, token_ids=self._wrap.one(one[: self.room])) for row, one in enumerate(ids)]
        inputs.sort(key=lambda one: len(one.token_ids))
        found = np.empty((len(texts), self._model.config.hidden_size), dtype=np.float32)
        device = self._model.device
        with torch.autocast(device.type, dtype=dtype_of(None, device)):
            for part in in_parts(inputs, MOST_AT_ONCE):
                batch = padded(part, self._tokenizer.pad_id, device, self._with_kinds)
                hidden = self._model(**batch).last_hidden_state.float()
                found[[one.row for one in part]] = mean_vectors(hidden, batch["attention_mask"]).cpu().numpy()
        return found

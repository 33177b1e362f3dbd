"""Causal language modelling over blocks: every token is predicted from those before it in its document.

L = -1/T sum_t log p(x_t | x_<t) (Radford et al. 2018).
"""

import math
from typing import Any

import torch

from noria.data import ShardSplit
from noria.errors import DataError
from noria.train.attention import Rows, mask_of
from noria.train.blocks import Block, BlockSteps, in_order
from noria.train.objective import Loss
from noria.train.output import summed_loss


class Causal:
    """The objective.

    Args:
        document_id: the token that begins each document.
        context: tokens of a block. rows: blocks of a step. micro_rows: blocks that go through the model at once.
        compiled: whether the loss over the vocabulary is compiled.
    """

    def __init__(self, document_id: int, context: int, rows: int, micro_rows: int, seed: int, compiled: bool = False) -> None:
        self.document_id, self.compiled = document_id, compiled
        self.context, self.rows, self.micro_rows, self.seed = context, rows, micro_rows, seed

    def steps(self, split: ShardSplit) -> BlockSteps:
        return BlockSteps(split, self.context, self.rows, self.micro_rows, self.loss, self.seed)

    def score(self, model: Any, split: ShardSplit, max_tokens: int) -> dict[str, float]:
        """Mean loss in nats a token, and in bits a byte of text, which tokenizers do not change."""
        total, count = 0.0, 0
        for block in in_order(split, self.context, max_tokens, self.micro_rows):
            total += self.loss(model, block).total.item()
            count += block.tokens.shape[0] * (block.tokens.shape[1] - 1)
        loss = total / max(count, 1)
        return {"loss": loss, "bits_per_byte": loss / math.log(2) / split.bytes_per_token}

    def check(self, held_out: ShardSplit) -> None:
        if len(held_out.tokens) < 2:
            raise DataError("The held-out part of the corpus has no two tokens. Give more text, or a larger `validation_share`.")

    def loss(self, model: Any, block: Block) -> Loss:
        tokens = torch.from_numpy(block.tokens).to(model.device)
        read, targets = tokens[:, :-1], tokens[:, 1:]
        rows, positions = layout(read, self.document_id)
        output = model.base_model(input_ids=read.reshape(1, -1), position_ids=positions, use_cache=False, segments=rows)
        tied = model.config.tie_word_embeddings
        weight = (model.get_input_embeddings() if tied else model.get_output_embeddings()).weight
        return Loss(total=summed_loss(output.last_hidden_state[0], weight, targets.flatten(), self.compiled and model.training))


def layout(tokens: torch.Tensor, document_id: int) -> tuple[Rows, torch.Tensor]:
    """Which tokens of blocks (blocks, time) see one another, and their positions (1, blocks x time): a document begins at 0."""
    begins = tokens == document_id
    begins[:, 0] = True
    time = torch.arange(tokens.shape[1], device=tokens.device)
    starts = torch.where(begins, time, 0).cummax(dim=1).values
    positions = (time - starts).reshape(1, -1)
    if not begins[:, 1:].any():
        return Rows(tokens.shape[1]), positions
    sees = (time[:, None] >= time) & (starts[:, :, None] == starts[:, None, :])
    return Rows(tokens.shape[1], mask_of(sees)), positions

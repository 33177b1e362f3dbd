"""Causal language modelling over blocks: every token is predicted from those before it in its document.

L = -1/T sum_t log p(x_t | x_<t) (Radford et al. 2018).
"""

import math
from typing import Any

import torch

from noria.data import ShardSplit
from noria.train.attention import Segment
from noria.train.blocks import Block, BlockSteps, in_order
from noria.train.objective import Loss
from noria.train.output import summed_loss


class Causal:
    """The objective.

    Args:
        document_id: the token that begins each document.
        context: tokens of a block. rows: blocks of a step. micro_rows: blocks that go through the model at once.
    """

    def __init__(self, document_id: int, context: int, rows: int, micro_rows: int, seed: int) -> None:
        self.document_id = document_id
        self.context, self.rows, self.micro_rows, self.seed = context, rows, micro_rows, seed

    def steps(self, split: ShardSplit) -> BlockSteps:
        return BlockSteps(split, self.context, self.rows, self.micro_rows, self.loss, self.seed)

    def score(self, model: Any, split: ShardSplit, max_tokens: int) -> dict[str, float]:
        """Mean loss in nats a token, and in bits a byte of text, which tokenizers do not change."""
        total, count = 0.0, 0
        for block in in_order(split, self.context, max_tokens):
            total += self.loss(model, block).total.item()
            count += block.tokens.shape[0] * (block.tokens.shape[1] - 1)
        loss = total / max(count, 1)
        return {"loss": loss, "bits_per_byte": loss / math.log(2) / split.bytes_per_token}

    def loss(self, model: Any, block: Block) -> Loss:
        tokens = torch.from_numpy(block.tokens).to(model.device)
        read, targets = tokens[:, :-1], tokens[:, 1:]
        segments, positions = layout(read, self.document_id)
        output = model.base_model(input_ids=read.reshape(1, -1), position_ids=positions, use_cache=False, segments=segments)
        return Loss(total=summed_loss(output.last_hidden_state[0], model.get_output_embeddings().weight, targets.flatten()))


def layout(tokens: torch.Tensor, document_id: int) -> tuple[list[Segment], torch.Tensor]:
    """Which tokens (blocks, time) see one another, laid out in one row, and their positions (1, blocks x time): a document begins at 0."""
    begins = tokens == document_id
    begins[:, 0] = True
    starts = begins.flatten().nonzero()[:, 0]
    total = tokens.numel()
    ends = torch.cat((starts[1:], starts.new_tensor([total])))
    positions = torch.arange(total, device=tokens.device) - torch.repeat_interleave(starts, ends - starts)
    return [Segment(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)], positions[None]

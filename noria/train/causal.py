"""Causal language modelling over blocks: every token is predicted from those before it in its document."""

from typing import Any

import torch

from noria.train.attention import Segment
from noria.train.blocks import Block
from noria.train.objective import Loss
from noria.train.output import summed_loss


class Causal:
    """-sum_t log p(x_t | x_<t) (Radford et al. 2018).

    Args:
        document_id: the token that begins each document.
    """

    def __init__(self, document_id: int) -> None:
        self.document_id = document_id

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

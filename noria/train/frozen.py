"""The layers below the learning ones, computed once a sequence.

With `top_layers` the lower layers of a decoder never change, and neither does what they make of a sequence. In: a decoder with packed attention.
Out: what stands in its place where log-probabilities are asked for; it keeps the hidden states at the border and runs only the layers above. An epoch
then costs the work of the learning layers alone. Losses and gradients are those of the whole decoder, or it is refused.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from noria.errors import ModelError
from noria.train.attention import Segment
from noria.train.output import with_parts

MAX_KEPT_BYTES = 3 << 30
"""What is kept at most; sequences beyond it go through the lower layers each time."""
NUM_CHECKED = 4
"""Tokens by which it is seen whether a decoder can be parted."""


class TopLayers:
    """The upper part of a decoder, in its place where log-probabilities are asked for (`noria.train.output.token_logprobs`).

    Args:
        num_frozen: how many of the first layers never change.

    Raises:
        ModelError: a decoder that does more before and behind its layers than can be done once (positions, scales, a norm of another name).
    """

    def __init__(self, model: PreTrainedModel, num_frozen: int) -> None:
        self.device, self.whole = model.device, model
        decoder = model.get_decoder()
        layers = cast(torch.nn.ModuleList, decoder.layers)
        self._lower = with_parts(decoder, layers=layers[:num_frozen], norm=torch.nn.Identity())
        self._upper = with_parts(decoder, layers=layers[num_frozen:])
        self._kept: dict[tuple[int, ...], torch.Tensor] = {}
        self._num_bytes = 0
        self._check(decoder)

    def base_model(self, *, input_ids: torch.Tensor, segments: Sequence[Segment], **rest: Any) -> Any:
        tokens = cast(list[int], input_ids[0].tolist())
        hidden = torch.cat([self._states(tokens, segment) for segment in segments])
        return self._upper(inputs_embeds=hidden[None], segments=segments, **rest)

    @torch.no_grad()
    def _check(self, decoder: Any) -> None:
        tokens, segments = torch.arange(NUM_CHECKED, device=self.device)[None], [Segment(0, NUM_CHECKED)]
        asked: Any = {"input_ids": tokens, "position_ids": tokens, "use_cache": False, "segments": segments}
        whole, parted = (one(**asked).last_hidden_state for one in (decoder, self.base_model))
        self._kept, self._num_bytes = {}, 0
        if not torch.allclose(whole, parted, rtol=1e-2, atol=1e-2 * float(whole.abs().max())):
            raise ModelError(f"Model type {decoder.config.model_type!r} cannot be parted for `top_layers`. Leave it out.")

    def _states(self, tokens: Sequence[int], segment: Segment) -> torch.Tensor:
        """Hidden states of a segment at the border: (time, dim)."""
        own = tokens[segment.start : segment.end]
        before = tokens[slice(*segment.prefix)] if segment.prefix else []
        return self._border((*before, *own))[len(before) :]

    def _border(self, tokens: tuple[int, ...]) -> torch.Tensor:
        """Hidden states of a whole sequence at the border: (time, dim). Computed alone: a resumed run meets other rows first."""
        if (kept := self._kept.get(tokens)) is not None:
            return kept
        ids = torch.tensor([tokens], device=self.device)
        self._lower.eval()  # what is kept for all epochs has nothing left out
        with torch.no_grad():
            positions = torch.arange(len(tokens), device=self.device)[None]
            output = self._lower(input_ids=ids, position_ids=positions, use_cache=False, segments=[Segment(0, len(tokens))])
        states: torch.Tensor = output.last_hidden_state[0]
        if self._num_bytes + states.nbytes <= MAX_KEPT_BYTES:
            self._kept[tokens] = states
            self._num_bytes += states.nbytes
        return states

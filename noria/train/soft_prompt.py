"""A learnt prompt (Lester et al. 2021): vectors that stand before every conversation, while all weights of the model rest.

The vectors are tokens of their own: the tokenizer gets `<|soft_0|>`, `<|soft_1|>`, ..., which the renderer puts first, and the model a row of
embeddings for each. So the tuned folder is an ordinary model. Its output layer stands apart from the embeddings, with rows of zeros for the new
tokens: tied rows would have the logits of likely tokens, while 0 is far below those in the models that were looked at.
"""

from typing import Any

import torch

from noria.errors import ConfigError
from noria.model import Tokenizer, soft_ids, with_soft_tokens

_NAME = "soft_prompt"


def check_has_no_soft_prompt(tokenizer: Tokenizer) -> None:
    """Raises ConfigError."""
    if soft_ids(tokenizer):
        raise ConfigError("This base has a learnt prompt already. Tune the model that it was learnt for, or give another `--method`.")


def add_soft_prompt(model: Any, tokenizer: Tokenizer, count: int, seed: int) -> Tokenizer:
    """Give `model` rows for `count` new tokens, begun as those of tokens drawn by the seed; returns the tokenizer that has them."""
    check_has_no_soft_prompt(tokenizer)
    extended = with_soft_tokens(tokenizer, count)
    embedding = model.get_input_embeddings()
    num_before, width = embedding.weight.shape
    num_rows = max(num_before, soft_ids(extended)[-1] + 1)
    drawn = torch.randperm(min(num_before, tokenizer.vocab_size), generator=torch.Generator().manual_seed(seed))[:count]
    first = soft_ids(extended)[0]
    old_output = model.get_output_embeddings().weight.detach()
    wider: Any = torch.nn.Embedding(num_rows, width)
    output = torch.nn.Linear(width, num_rows, bias=False)
    with torch.no_grad():
        for new, old in ((wider.weight, embedding.weight), (output.weight, old_output)):
            new.zero_()
            new[:num_before] = old
        wider.weight[first : first + count] = embedding.weight[drawn]
        output.weight[first : first + count] = 0.0
    wider.soft_rows = range(first, first + count)
    model.set_input_embeddings(wider.to(embedding.weight.device))
    model.set_output_embeddings(output.to(embedding.weight.device))
    model.config.tie_word_embeddings = False
    model.config.vocab_size = num_rows
    return extended


def learn_soft_prompt(model: Any) -> Any:
    """Let the rows of the new tokens learn and nothing else; returns the model."""
    model.requires_grad_(False)
    embedding = model.get_input_embeddings()
    rows: range = embedding.soft_rows
    vectors = torch.nn.Parameter(embedding.weight.detach()[rows.start : rows.stop].clone())
    embedding.register_parameter(_NAME, vectors)

    def put_in(_module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        is_soft = (inputs[0] >= rows.start) & (inputs[0] < rows.stop)
        return torch.where(is_soft[..., None], vectors[(inputs[0] - rows.start).clamp(0, len(rows) - 1)].to(output.dtype), output)

    embedding.soft_prompt_hook = embedding.register_forward_hook(put_in)
    return model


def keep_soft_prompt(model: Any) -> Any:
    """Write what was learnt into the embeddings, as plain weights; returns the model."""
    embedding = model.get_input_embeddings()
    with torch.no_grad():
        embedding.weight[embedding.soft_rows.start : embedding.soft_rows.stop] = getattr(embedding, _NAME)
    embedding.soft_prompt_hook.remove()
    del embedding.soft_prompt_hook
    delattr(embedding, _NAME)
    return model


def has_soft_prompt(model: Any) -> bool:
    return hasattr(model.get_input_embeddings(), _NAME)

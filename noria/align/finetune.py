"""From the task files of an export to tuned weights: demonstrations, thumbs and preferences in one run.

In: a folder with `chat.jsonl`, `thumbs.jsonl`, `preference.jsonl` (any of them), earlier files to replay, a base model. Out: in `out`, the
tuned model as a plain Hugging Face folder `model/` with the tokenizer, the adapters, the plan and the curve.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from noria.align.preference import DirectPreference, KahnemanTversky, encode_pair, encode_thumbs
from noria.data import read_chat, read_preferences, read_thumbs
from noria.errors import DataError
from noria.model import BaseModel, Renderer, check_decoder, load_for_training, load_tokenizer, plain_checkpoint, read_config
from noria.model.render import Style
from noria.train import Example, Progress, Supervised, TuneConfig, encode_chat, train
from noria.train.adapters import check_top_layers
from noria.train.checkpoint import model_errors
from noria.train.methods import refuse_unheeded
from noria.train.soft_prompt import add_soft_prompt, check_has_no_soft_prompt

MAX_HELD_OUT_TOKENS = 20_000
"""Of the examples that the best weights are chosen by."""


def finetune(
    config: TuneConfig,
    data: Path,
    base: BaseModel,
    out: Path,
    replay: Sequence[Path] = (),
    replay_share: float = 0.2,
    on_progress: Callable[[Progress], None] | None = None,
    style: Style | None = None,
    held_out: Path | None = None,
    then: float = 0.0,
) -> dict[str, Any]:
    """Tune `base` on everything in `data` and write the result to `out`; returns the metrics of the run.

    Args:
        replay: folders of earlier exports, from which examples are mixed in so that what was learnt from them stays.
        style: how messages are rendered, as they will be served; None takes what fits the tokenizer.
        held_out: a folder with a `chat.jsonl`; the weights with the lowest loss on it are taken.
        replay_share: number of replayed examples for each new one, at most.
        then: seconds of what follows, as `noria.train.train` takes it.

    Raises:
        DataError: a file breaks its format, or there is nothing to learn from.
    """
    model, tokenizer = load_for_training(base)
    if config.method == "prompt":
        tokenizer = add_soft_prompt(model, tokenizer, config.prompt_tokens, config.seed)
    renderer = Renderer(tokenizer, style)
    examples = read_examples(renderer, data, config)
    if not examples:
        raise DataError(f"'{data}' has no chat.jsonl, thumbs.jsonl or preference.jsonl: there is nothing to learn from. Collect feedback first.")
    earlier = [e for folder in replay for e in read_examples(renderer, folder, config)]
    num_replayed = min(len(earlier), round(replay_share * len(examples)))
    examples += random.Random(config.seed).sample(earlier, num_replayed)
    chosen_by = [] if held_out is None else short_enough(read_examples(renderer, held_out, config), config)
    result = train(model, examples, [Supervised(), DirectPreference(), KahnemanTversky()], config, out, on_progress, chosen_by, then)
    with model_errors(out):
        result.model.save_pretrained(str(out / "model"))
        tokenizer.save(out / "model")
    kinds = {name: sum(e.objective == name for e in examples) for name in ("supervised", "preference", "thumbs")}
    return {**result.metrics, "num_by_objective": kinds, "num_replayed": num_replayed}


def check_base(config: TuneConfig, task: str, base: BaseModel) -> None:
    """Refuse settings that a task on this base cannot be tuned with, or would not heed, before anything is made. Raises ConfigError, ModelError."""
    refuse_unheeded(config, task, config.method)
    folder = plain_checkpoint(base)
    check_decoder(folder)
    if config.method == "prompt":
        check_has_no_soft_prompt(load_tokenizer(base.path))
    check_top_layers(config.top_layers, read_config(folder).num_hidden_layers)


def short_enough(examples: Sequence[Example], config: TuneConfig) -> list[Example]:
    """Those that training would take too; of many the first, so that scoring them stays short, but one at least."""
    taken: list[Example] = []
    tokens = 0
    for example in examples:
        if example.num_tokens > config.max_tokens:
            continue
        tokens += example.num_tokens
        if not taken or tokens <= MAX_HELD_OUT_TOKENS:
            taken.append(example)
    return taken


def read_examples(renderer: Renderer, folder: Path, config: TuneConfig) -> list[Example]:
    """All examples of the task files in a folder, in the order of the files. Raises DataError at the first row that is wrong."""
    out: list[Example] = []
    if (path := folder / "chat.jsonl").is_file():
        out += [encode_chat(renderer, row.messages, row.tools, row.train, config.call_weight) for row in read_chat(path)]
    if (path := folder / "preference.jsonl").is_file():
        out += [encode_pair(renderer, row.prompt, row.chosen, row.rejected, row.tools) for row in read_preferences(path)]
    if (path := folder / "thumbs.jsonl").is_file():
        rows = [(row.prompt, row.completion, row.label, row.tools) for row in read_thumbs(path)]
        out += encode_thumbs(renderer, rows) if len(rows) > 1 else []
    return out

"""`noria pretrain`."""

from pathlib import Path
from typing import Annotated

import typer

from noria.cli.output import JsonOption, SettingsOption, emit, progress_bars, read_settings, start_logging, stderr_console

SCORES = {
    "validation_loss": "loss",
    "bits_per_byte": "bits a byte",
    "mlm_accuracy": "masks filled rightly",
    "sentence_accuracy": "next sentences told rightly",
}
"""What is told of a model, where its objective measures it."""
SIZES = {"k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


def register(app: typer.Typer) -> None:
    app.command("pretrain")(pretrain)


def pretrain(
    corpus: Annotated[list[Path], typer.Option("--corpus", metavar="PATH", help="Files and folders of text; give it several times.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the new model. A begun one is gone on with.")],
    objective: Annotated[str | None, typer.Option("--objective", metavar="clm|mlm-nsp|denoise", help="What is learnt; clm by default.")] = None,
    size: Annotated[str | None, typer.Option("--size", metavar="20m", help="Parameters, about; by default what the time allows best.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="M", min=0.1, help="Minutes for everything.")] = None,
    tokenizer: Annotated[Path | None, typer.Option("--tokenizer", metavar="DIR", help="Take this tokenizer instead of learning one.")] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="PATH", help="More of the corpus: `--corpus a b` reads both.", hidden=True)] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a new base model from text."""
    from rich.console import Console

    from noria.config import checked
    from noria.train import PretrainConfig
    from noria.train.pretrain import pretrain as run
    from noria.train.processes import is_first

    start_logging()
    given = {"objective": objective, "size": None if size is None else _size(size), "minutes": minutes}
    config = checked(PretrainConfig, {**read_settings(settings or []), **{k: v for k, v in given.items() if v is not None}}, "--set")
    log = stderr_console()
    with progress_bars() as progress:
        made = run(config, [*corpus, *(more or [])], out, progress, lambda sentence: log.print(sentence, highlight=False), tokenizer)

    def show(console: Console) -> None:
        found = made.metrics
        console.print(
            f"'{out}': {found['num_parameters']:,} parameters, {found['tokens']:,} tokens in {found['train_seconds'] / 60:.1f} minutes; "
            f"held out: {', '.join(f'{told} {found[name]:.4f}' for name, told in SCORES.items() if name in found)}.",
            highlight=False,
        )

    if not is_first():
        return
    emit(as_json, {"folder": str(out), "plan": made.plan.model_dump(mode="json"), **made.metrics}, show)


def _size(text: str) -> int:
    """5m, 1.5b, 800k, 12345."""
    unit = SIZES.get(text[-1:].lower(), 1)
    try:
        return round(float(text[:-1] if unit > 1 else text) * unit)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no size; give a number of parameters as 800k, 20m or 1.5b.", param_hint="--size") from None

"""`noria tune` and `noria predict`."""

from pathlib import Path
from typing import Annotated

import typer

from noria.cli.output import JsonOption, SettingsOption, emit, progress_bars, read_settings, start_logging, stderr_console

TaskOption = Annotated[str, typer.Option("--task", metavar="TASK", help="classify, score, embed, tag, answer, chat, tools, summarize or rewrite.")]


def register(app: typer.Typer) -> None:
    app.command("tune")(tune)
    app.command("predict")(predict)


def tune(
    task: TaskOption,
    train: Annotated[Path, typer.Option("--train", metavar="F", help="Task file to learn from.")],
    held_out: Annotated[Path, typer.Option("--eval", metavar="F", help="Task file that the best weights are chosen by.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the tuned model. A begun one is gone on with.")],
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="A name, a folder, or hf:org/name; by default minilm, or smollm2-135m to write.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="METHOD",
            help="full, lora, dora; head, contrast (classify); prompt (to write); prompting, retrieval (no training); or best: a race of them.",
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="M", min=0.05, help="Minutes for training.")] = None,
    num_trials: Annotated[int | None, typer.Option("--search", metavar="N", help="Try N settings and keep the best.")] = None,
    drop_duplicates: Annotated[bool, typer.Option("--drop-duplicates", help="Leave out training rows that the evaluation file asks too.")] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tune a model for a task."""
    from rich.console import Console

    from noria.lifecycle.adapt import adapt

    start_logging()
    given = {name: value for name, value in {"method": method, "minutes": minutes}.items() if value is not None}
    given = {**read_settings(settings or []), **given}
    log = stderr_console()
    with progress_bars() as progress:
        made = adapt(
            given, task, train, held_out, out, base, progress, lambda sentence: log.print(sentence, highlight=False), drop_duplicates, num_trials
        )

    def show(console: Console) -> None:
        if "held_out_loss" in made.metrics:  # of a model that writes
            found = {"loss": made.metrics["held_out_loss"]}
        else:
            shares = {name: value for name, value in made.metrics.items() if isinstance(value, float) and value <= 1}
            found = {name: value for name, value in shares.items() if name != "score" and "loss" not in name}
        scores = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        console.print(
            f"'{out}': {made.metrics['num_steps']} steps in {made.metrics['train_seconds'] / 60:.1f} minutes; held out: {scores}.", highlight=False
        )

    emit(as_json, {"folder": str(out), **made.metrics}, show)


def predict(
    model: Annotated[str, typer.Option("--model", metavar="DIR", help="A folder that `noria tune` made; to write, also a base name or a URL.")],
    task: TaskOption,
    data: Annotated[Path, typer.Option("--data", metavar="F", help="Task file; what is right may be left out.")],
    out: Annotated[Path, typer.Option("--out", metavar="F", help="Where the predictions go, one object a line in the order of the rows.")],
    as_json: JsonOption = False,
) -> None:
    """Write what a tuned model says of each row of a file."""
    from noria.lifecycle.adapt import predict_file

    start_logging()
    with progress_bars() as progress:
        count = predict_file(model, task, data, out, progress)
    emit(as_json, {"out": str(out), "n": count}, lambda console: console.print(f"{count} predictions in '{out}'.", highlight=False))

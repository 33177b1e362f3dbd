"""`noria data build|stats|mix`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from noria.cli.output import JsonOption, SettingsOption, emit, progress_bars, read_settings, start_logging, stderr_console

if TYPE_CHECKING:
    from noria.data.examples import Task


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Make a corpus from a pile of text, see what it holds, mix task files.", no_args_is_help=True)
    group.command("build")(build)
    group.command("stats")(stats)
    group.command("mix")(mix)
    app.add_typer(group, name="data")


def build(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, folders and globs of text of any kind.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the corpus. A begun one is gone on with.")],
    against: Annotated[
        list[Path] | None, typer.Option("--against", metavar="FILE", help="Evaluation file whose texts no document may hold; give it several times.")
    ] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read, clean, deduplicate, decontaminate and split text."""
    from rich.console import Console

    from noria.cli.data_table import stats_tables
    from noria.config import checked
    from noria.data.build import build as run
    from noria.data.build_config import BuildConfig
    from noria.data.corpus import passed_over_sentences
    from noria.data.stats import stats as count

    start_logging()
    config = checked(BuildConfig, read_settings(settings or []), "--set")
    with progress_bars() as progress:
        made = run(config, paths, out, progress, against or [])
    for sentence in passed_over_sentences(made.passed_over):
        stderr_console().print(sentence, highlight=False)

    def show(console: Console) -> None:
        for table in stats_tables(count([out], lambda *_: None)):
            console.print(table)
        console.print(f"Documents in '{out}': {made.contents.total.documents:,}. `noria pretrain --corpus {out}` takes the folder.", highlight=False)

    emit(as_json, {"folder": str(out), **made.model_dump(mode="json", exclude={"request"})}, show)


def stats(
    paths: Annotated[list[Path], typer.Argument(metavar="DIR|FILE...", help="A corpus that `noria data build` made, or files of text.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a corpus holds, and what became of the rest."""
    from rich.console import Console

    from noria.cli.data_table import stats_tables
    from noria.data.stats import stats as run

    start_logging()
    with progress_bars() as progress:
        found = run(paths, progress)

    def show(console: Console) -> None:
        for table in stats_tables(found):
            console.print(table)
        if found.picture:
            console.print(f"As a picture: '{found.picture}'.", highlight=False)
        for path, reason in found.left_out:
            console.print(f"Not read whole: '{path}': {reason}", highlight=False)

    emit(as_json, found.model_dump(mode="json"), show)


def mix(
    parts: Annotated[list[str], typer.Argument(metavar="F=WEIGHT...", help="Task files and the weight of each; without one it is 1.")],
    out: Annotated[Path, typer.Option("--out", metavar="F", help="The mixed task file.")],
    task: Annotated[str, typer.Option("--task", metavar="TASK", help="What the files are for, as in `noria tune`.")] = "chat",
    num_rows: Annotated[
        int | None, typer.Option("--rows", metavar="N", min=1, help="Rows of the mixture; by default as many as there are with none twice.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which rows, and in which order.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Mix task files by weight into one to tune on."""
    from rich.console import Console
    from rich.table import Table

    from noria.data.mixture import Part
    from noria.data.mixture import mix as run

    made = run([Part.parse(part) for part in parts], cast("Task", task), out, num_rows, seed)

    def show(console: Console) -> None:
        table = Table(box=None)
        for name in ("", "weight", "rows", "taken"):
            table.add_column(name, justify="right" if name else "left")
        for part in made:
            table.add_row(part["file"], f"{part['weight']:g}", f"{part['rows']:,}", f"{part['taken']:,}")
        console.print(table)
        console.print(f"{sum(part['taken'] for part in made):,} rows in '{out}'.", highlight=False)

    emit(as_json, {"out": str(out), "n": sum(part["taken"] for part in made), "parts": made}, show)

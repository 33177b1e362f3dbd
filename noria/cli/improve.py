"""`noria improve`."""

from typing import Annotated

import typer

from noria.cli.output import JsonOption, ProjectOption, emit, open_project, progress_bars


def register(app: typer.Typer) -> None:
    app.command("improve")(improve)


def improve(
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="M", min=0.1, help="Minutes for everything; `minutes` of the section `improve` by default.")
    ] = None,
    source: Annotated[
        str, typer.Option("--from", metavar="feedback|F", help="The project's feedback, a chat file, or an exported folder.")
    ] = "feedback",
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the training.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a candidate from feedback; it goes live if it is proven better."""
    from rich.console import Console

    from noria.cli.tables import improvement_lines
    from noria.lifecycle.improve import improve as turn

    opened = open_project(project)
    with progress_bars() as progress:
        result = turn(opened, progress=progress, minutes=minutes, source=source, seed=seed)

    def show(out: Console) -> None:
        for line in improvement_lines(result):
            out.print(line, highlight=False)

    emit(as_json, {**result.model_dump(mode="json"), "promoted": result.promoted}, show)

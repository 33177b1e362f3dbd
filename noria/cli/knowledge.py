"""`noria knowledge add|search|check`."""

from pathlib import Path
from typing import Annotated

import typer

from noria.cli.output import JsonOption, ProjectOption, emit, open_project


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Add documents to the project's knowledge, search it, check it.", no_args_is_help=True)
    group.command("add")(add)
    group.command("search")(search)
    group.command("check")(check)
    app.add_typer(group, name="knowledge")


def add(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Documents, or folders of them.")],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy documents into `knowledge/`; they go live with the next release."""
    from rich.console import Console

    from noria.lifecycle.knowledge import add_documents

    added = add_documents(open_project(project), paths)

    def draw(out: Console) -> None:
        out.print(
            f"{added['documents']} documents in `knowledge/`, {added['passages']} passages. They go live with the next release: `noria release new`."
        )
        for path, reason in sorted(added["failed"].items()):
            out.print(f"Not taken up: '{path}': {reason}", markup=False, highlight=False)

    emit(as_json, added, draw)


def search(
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    num_results: Annotated[int, typer.Option("--num-results", min=1, max=50, help="Passages to show.")] = 3,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search the documents as they stand in `knowledge/` now."""
    from rich.console import Console

    from noria.lifecycle.knowledge import search_documents

    passages = search_documents(open_project(project), text, num_results)

    def show(out: Console) -> None:
        for passage in passages:
            out.print(f"{passage.score:7.2f}  {passage.document}  {passage.title}", markup=False, highlight=False)
            out.print(f"         {passage.text[:300]}", markup=False, highlight=False)
        if not passages:
            out.print("Nothing found.")

    emit(as_json, {"passages": [passage.model_dump() for passage in passages]}, show)


def check(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Read every document of `knowledge/` and say which cannot be used."""
    from rich.console import Console

    from noria.lifecycle.knowledge import check_documents

    problems = check_documents(open_project(project))

    def show(out: Console) -> None:
        for problem in problems:
            out.print(problem, markup=False, highlight=False)
        if not problems:
            out.print("All documents can be used.")

    emit(as_json, {"ok": not problems, "problems": problems}, show)
    if problems:
        raise typer.Exit(1)

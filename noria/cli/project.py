"""`noria new` and `noria doctor`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from noria.cli.output import JsonOption, ProjectOption, emit, start_logging


def register(app: typer.Typer) -> None:
    app.command("new")(new)
    app.command("doctor")(doctor)


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; new or empty.")],
    template: Annotated[str, typer.Option("--template", metavar="NAME", help="What to begin with.")] = "front-desk",
    as_json: JsonOption = False,
) -> None:
    """Make a project folder from a template."""
    from noria.templates import make_project

    path = make_project(template, folder)
    said = f"Made {path}. Next: cd {shlex.quote(str(folder))} && noria serve"
    emit(as_json, {"project": str(path), "template": template}, lambda out: out.print(said, markup=False))


def doctor(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Check weights, disk, processor, database and artifacts, and say what to do."""
    from rich.console import Console
    from rich.text import Text

    from noria.lifecycle.doctor import examine

    start_logging()
    findings = examine(project)

    def show(out: Console) -> None:
        colors = {"ok": "green", "advice": "yellow", "fault": "red"}
        for finding in findings:
            mark = Text(f"{finding.state:8}", style=colors[finding.state])
            out.print(Text.assemble(mark, f"{finding.what}: {finding.found}"), highlight=False)
            if finding.do:
                out.print(f"         {finding.do}", highlight=False)

    faults = sum(finding.state == "fault" for finding in findings)
    emit(as_json, {"ok": not faults, "findings": [f.model_dump() for f in findings]}, show)
    if faults:
        raise typer.Exit(1)

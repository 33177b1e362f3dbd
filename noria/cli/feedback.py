"""`noria feedback import|export|stats`."""

from pathlib import Path
from typing import Annotated

import typer

from noria.cli.output import JsonOption, ProjectOption, emit, open_project


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Bring feedback in, write it out as training data, count it.", no_args_is_help=True)
    group.command("import")(import_)
    group.command("export")(export)
    group.command("stats")(stats)
    app.add_typer(group, name="feedback")


def import_(
    file: Annotated[Path, typer.Argument(metavar="F", help="JSONL with `receipt`, `kind`, `value` and optionally `source`, `role`, `step`.")],
    source: Annotated[str | None, typer.Option("--source", help="Who said it, where a line does not tell; by default the file's name.")] = None,
    role: Annotated[str, typer.Option("--role", help="Role where a line has none: user, operator, environment or system.")] = "operator",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import feedback from a file: all of it, or nothing if a line is wrong."""
    from noria.agent.demonstrations import project_tools
    from noria.feedback import import_file
    from noria.lifecycle.releases import Records
    from noria.serve.freeze import TOOLS_FILE

    opened = open_project(project)
    with Records.open(opened) as records:
        count = import_file(records.database, file, source, role, project_tools(opened.root / TOOLS_FILE))
    emit(as_json, {"imported": count}, lambda out: out.print(f"{count} pieces of feedback imported."))


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write `train/` and `evaluation/`.")],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the feedback as task files: split by user, personal data redacted."""
    from rich.console import Console

    from noria.feedback import FeedbackConfig
    from noria.feedback import export as write
    from noria.lifecycle.releases import Records

    opened = open_project(project)
    with Records.open(opened) as records:
        report = write(records.database, folder, opened.section("feedback", FeedbackConfig))
    rows = ", ".join(f"{name} {count}" for name, count in report.rows.items()) or "none"

    def show(out: Console) -> None:
        out.print(f"Rows: {rows}. {report.feedback_used} of {report.feedback_read} pieces used.", highlight=False)
        for reason, count in ((r, n) for r, n in report.dropped.items() if n):
            out.print(f"  left out: {count} ({reason})", highlight=False)

    emit(as_json, report.model_dump(mode="json"), show)


def stats(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Count the feedback by kind, role and source."""
    from rich.console import Console

    from noria.feedback import stats as count
    from noria.lifecycle.releases import Records

    with Records.open(open_project(project)) as records:
        told = count(records.database)

    def show(out: Console) -> None:
        for name, value in told.items():
            text = ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else value
            out.print(f"{name:14} {'none' if text in (None, '') else text}", markup=False, highlight=False)

    emit(as_json, told, show)

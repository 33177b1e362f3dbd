"""`noria release list|show|new|promote|rollback|diff`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from noria.cli.output import JsonOption, ProjectOption, emit, open_project

ReleaseName = Annotated[str, typer.Argument(metavar="NAME", help="A release: its number (r3) or id.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="See releases, promote one, roll back, compare.", no_args_is_help=True)
    for name, command in (("list", list_), ("show", show), ("new", new), ("promote", promote), ("rollback", rollback), ("diff", diff)):
        group.command(name)(command)
    app.add_typer(group, name="release")


def list_(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """All releases with what each cost and brought."""
    from noria.cli.tables import ledger_table
    from noria.lifecycle.releases import Records

    with Records.open(open_project(project)) as records:
        rows = records.releases.ledger()
    emit(as_json, {"releases": [row.model_dump(mode="json") for row in rows]}, lambda out: out.print(ledger_table(rows)))


def show(name: ReleaseName, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """One release: its parts, its moves, the gate's reports."""
    from rich.console import Console

    from noria.cli.tables import report_table
    from noria.lifecycle.releases import Records, describe

    with Records.open(open_project(project)) as records:
        told = describe(records, name)
        reports = records.releases.reports(name)

    def draw(out: Console) -> None:
        out.print(f"r{told['number']}  {told['state']}  {told['id']}  made {told['created_at']}", highlight=False)
        for part, address in told["artifacts"].items():
            out.print(f"  {part:10} {address}", highlight=False)
        for move in told["moves"]:
            out.print(f"  {move['created_at']}  {move['from_state']} -> {move['to_state']}: {move['reason']}", markup=False, highlight=False)
        for report in reports:
            out.print(report_table(report))
            for suite in report.suites:
                out.print(f"  {suite.reason}", markup=False, highlight=False)

    emit(as_json, told, draw)


def new(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Make a candidate of changed prompts, agent settings, tools and knowledge, on the live weights."""
    from rich.console import Console

    from noria.lifecycle import releases

    with releases.Records.open(open_project(project)) as records:
        release = releases.release_of_folder(records)

    def draw(out: Console) -> None:
        out.print(f"r{release.number} takes over: {', '.join(release.notes['changed'])}.", highlight=False)
        out.print(f"It is not judged. To go live with it: noria release promote r{release.number} --force REASON", markup=False, highlight=False)

    emit(as_json, release.model_dump(mode="json"), draw)


def promote(
    name: ReleaseName,
    force: Annotated[str | None, typer.Option("--force", metavar="REASON", help="Go live without the gate's word; the reason is kept.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a release live that the gate let pass."""
    from noria.lifecycle import releases

    with releases.Records.open(open_project(project)) as records:
        release = releases.promote(records, name, force=force)
    emit(as_json, release.model_dump(mode="json"), lambda out: out.print(f"r{release.number} is live."))


def rollback(
    to: Annotated[str | None, typer.Option("--to", metavar="NAME", help="The release to go back to; by default the last good one.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the release.")] = "",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the last good release live again, at once."""
    from noria.lifecycle import releases

    with releases.Records.open(open_project(project)) as records:
        release = releases.roll_back(records, reason, to)
    emit(as_json, release.model_dump(mode="json"), lambda out: out.print(f"r{release.number} is live again."))


def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A release: its number (r1) or id.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="A release: its number (r2) or id.")],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """What changed from one release to another."""
    from rich.console import Console

    from noria.lifecycle import releases

    with releases.Records.open(open_project(project)) as records:
        told = releases.diff(records, before, after)

    def draw(out: Console) -> None:
        for part, change in told["parts"].items():
            out.print(f"{part}: {_short(change['before'])} -> {_short(change['after'])}", highlight=False)
            for line in _of_part(change):
                out.print(f"  {line}", markup=False, highlight=False)
        if not told["parts"]:
            out.print("No part changed.")

    emit(as_json, told, draw)


def _of_part(change: Mapping[str, Any]) -> Iterator[str]:
    """The lines about a part; where its contents are told by name, hashes and schemas say no more."""
    contents = change.get("contents", {})
    for kind in ("config", "metrics", "files"):
        for key, values in change.get(kind, {}).items():
            if "added" not in contents or (kind, key) == ("config", "agent"):
                yield from _of_value(f"{kind}.{key}", values["before"], values["after"])
    for word in ("added", "removed", "changed"):
        yield from (f"{word} {name}" for name in contents.get(word, []))
    for lines in contents.get("lines", {}).values():
        yield from lines
    if "error" in contents:
        yield contents["error"]


def _of_value(name: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                yield from _of_value(f"{name}.{key}", before.get(key), after.get(key))
    else:
        yield f"{name}: {_short(before)} -> {_short(after)}"


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:12]}..."

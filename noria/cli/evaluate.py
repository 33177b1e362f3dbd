"""`noria evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noria.cli.output import JsonOption, ProjectOption, emit, progress_bars, start_logging, stderr_console
from noria.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from noria.lifecycle.judging import Comparison


def register(app: typer.Typer) -> None:
    app.command("evaluate")(evaluate)


def evaluate(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="F", help="A task file; with `--task suite` one of `evals/`; with `lm-eval:` a folder of own tasks."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="DIR|URL|RELEASE", help="A release (r3), model folder, .gguf file, base name or URL.")
    ] = "live",
    task: Annotated[
        str,
        typer.Option(
            "--task",
            metavar="TASK",
            help="tools or chat (a chat task file), classify, score, embed, tag, answer, summarize, rewrite, suite (a file of `evals/`), "
            "or lm-eval:NAME[,NAME].",
        ),
    ] = "tools",
    against: Annotated[str | None, typer.Option("--against", metavar="DIR|URL|RELEASE", help="What to compare with, on the same items.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="F", help="Where to keep the report as JSON, with a page beside it (none of lm-eval and judges).")
    ] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", metavar="DIR|URL", help="A model that says whose answers are better (chat, summarize, rewrite).")
    ] = None,
    sheet: Annotated[Path | None, typer.Option("--sheet", metavar="F", help="Where to write a CSV sheet by which people judge, blind.")] = None,
    filled: Annotated[list[Path] | None, typer.Option("--filled", metavar="F", help="A sheet that a person filled; may be given again.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=2, help="With `lm-eval:`, the first N documents of each task.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a release or a model on a task file, alone or against another."""
    from noria.lifecycle.harness import PREFIX, measure_harness
    from noria.lifecycle.measure import measure

    start_logging()
    log = stderr_console()

    def say(sentence: str) -> None:
        log.print(sentence, highlight=False)

    if task.startswith(PREFIX):
        if judge is not None or sheet is not None or filled:
            raise ConfigError("`--judge`, `--sheet` and `--filled` are for chat, summarize and rewrite; tasks of lm-eval have right answers.")
        report = measure_harness(model, task, data, against=against, out=out, limit=limit, say=say)
        emit(as_json, report, lambda console: _show(console, report))
        return
    if data is None:
        raise ConfigError("`--data` is missing: name the task file to measure on.")
    if limit is not None:
        raise ConfigError("`--limit` is for tasks of lm-eval; leave it out, or give a shorter file.")
    if judge is not None or sheet is not None or filled:
        if against is None or out is None:
            raise ConfigError("`--judge`, `--sheet` and `--filled` compare two models: give `--against`, and `--out` for the report.")
        from noria.lifecycle.judging import Comparison

        _judge(Comparison(model=model, against=against, judge=judge, task=task, data=data), out, sheet, filled or [], project, as_json)
        return
    with progress_bars() as progress:
        report = measure(
            project,
            model,
            task,
            data,
            against=against,
            out=out,
            progress=progress,
            say=say,
        )

    emit(as_json, report, lambda console: _show(console, report))


def _show(console: "Console", report: dict[str, Any]) -> None:
    if report.get("by_class"):
        console.print(_by_class(report["by_class"]))
    counts = report.get("n_of", {})
    for name, value in report["metrics"].items():
        low, high = report["intervals"][name]
        console.print(f"{name:14} {value:.3f}  [{low:.3f}, {high:.3f}]  n {counts.get(name, report['n'])}", markup=False, highlight=False)
    for name, found in report.get("groups", {}).items():
        figures = ", ".join(f"{metric.removesuffix(',none')} {value:.3f}" for metric, value in found.items() if isinstance(value, float))
        console.print(f"{name}: {figures}", markup=False, highlight=False)
    if "against" not in report:
        return
    for name, found in report.get("comparisons", {"": report}).items():
        low, high = found["interval"]
        of = f"{name} " * bool(name)
        corrected = f" ({found['p_holm']:.2g} of all)" if "p_holm" in found else ""
        console.print(
            f"{of}against {report['against']}: {found['effect']:+.3f} [{low:+.3f}, {high:+.3f}], {found['test']}, p {found['p']:.2g}{corrected}",
            markup=False,
        )


def _judge(asked: "Comparison", out: Path, sheet: Path | None, filled: list[Path], project: Path | None, as_json: bool) -> None:
    from noria.lifecycle.judging import judge_pairs

    log = stderr_console()
    with progress_bars() as progress:
        report = judge_pairs(project, asked, out, sheet, filled, progress, lambda sentence: log.print(sentence, highlight=False))

    def show(console: "Console") -> None:
        for name in ("judge", "people"):
            if (told := report.get(name)) is not None:
                low, high = told["interval"]
                counts = f"{told['wins']} won, {told['losses']} lost, {told['ties']} tied of {told['n']}"
                console.print(f"{name}: {counts}; {told['effect']:+.3f} [{low:+.3f}, {high:+.3f}], {told['test']}, p {told['p']:.2g}", markup=False)
        if "judge" in report:
            console.print(f"The judge says the same in both orders of {report['judge']['consistency']:.0%}.", highlight=False)
        if (with_judge := report.get("people", {}).get("agreement_with_judge")) is not None:
            console.print(f"Judge and people agree on {with_judge['same']:.0%} (kappa {with_judge['kappa']:.2f}).", highlight=False)

    emit(as_json, report, show)


def _by_class(rows: dict[str, dict[str, float]]) -> "Table":
    """Precision, recall, F1 and support of every label, and of all together."""
    from rich.table import Table

    table = Table(box=None)
    table.add_column("")
    for name in ("precision", "recall", "F1", "support"):
        table.add_column(name, justify="right")
    for label, row in rows.items():
        table.add_row(label, *(f"{row[name]:.4f}" for name in ("precision", "recall", "f1")), f"{row['support']:.0f}")
    return table

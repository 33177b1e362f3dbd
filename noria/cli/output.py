"""What every command shares: the options `--project` and `--json`, and how results and progress are shown.

Results go to stdout, as one JSON object with `--json`; everything else, progress included, goes to stderr.
"""

import json
import logging
import os
import sys
import time
import tomllib
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noria.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from noria.config import Project

ProjectOption = Annotated[
    Path | None, typer.Option("--project", metavar="DIR", help="The project folder; by default found from the working directory.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
SettingsOption = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of docs/configuration.md.")]
LOG_LEVELS = ("debug", "info", "warning", "error")


def open_project(folder: Path | None) -> "Project":
    """The project named with `--project`, else the one around the working directory. Logging begins here. Raises ConfigError."""
    from noria.config import Project
    from noria.lifecycle.sections import check_sections

    start_logging()
    project = Project.load(folder.expanduser().resolve()) if folder is not None else Project.find()
    check_sections(project)
    return project


def start_logging() -> None:
    """Logs go to stderr at the level of `NORIA_LOG` (warning by default)."""
    level = os.environ.get("NORIA_LOG", "warning").lower()
    if level not in LOG_LEVELS:
        raise ConfigError(f"The environment variable NORIA_LOG is {level!r}; allowed: {', '.join(LOG_LEVELS)}.")
    if level != "debug":
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the stages have bars of their own
        warnings.filterwarnings("ignore", category=FutureWarning)
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format="%(levelname)s %(name)s: %(message)s")


def read_settings(pairs: list[str]) -> dict[str, Any]:
    """The values of `--set`: as TOML writes them, else as text; `none` is no value."""
    out: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE.", param_hint="--set")
        try:
            out[name] = None if value == "none" else tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            out[name] = value
    return out


def emit(as_json: bool, value: Any, show: "Callable[[Console], None]") -> None:
    """Print `value` as JSON, or let `show` draw it."""
    if as_json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
        sys.stdout.flush()
        return
    show(_console(stderr=False))


def stderr_console() -> "Console":
    return _console(stderr=True)


def _console(stderr: bool) -> "Console":
    """Lines are as long as they are: a command or a path that Rich breaks at the width of the terminal cannot be copied."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, soft_wrap=True)


@contextmanager
def progress_bars() -> Generator[Callable[[str, float, float], None]]:
    """Bars on stderr; the function takes a stage's name, what is done and what there is in all.

    A stage's bar appears with its first report. Without a terminal a stage is a line when it begins, one when it ends and, where it is long, a few
    in between. What stands in brackets behind the name is a note, and may change from report to report.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True, markup=False)  # bars do end at the edge
    if not console.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: float, total: float) -> None:
            name = _name_of(stage)
            if name not in tasks:
                tasks[name] = bars.add_task(stage, total=total)
            bars.update(tasks[name], description=stage, completed=min(done, total), total=total)

        yield report


SECONDS_APART, MOST_SECONDS_APART = 60.0, 600.0
"""A stage says how far it is at each tenth but not more often, and not more seldom where a tenth takes hours."""


@dataclass
class _Stage:
    """What was said of a stage, on the monotonic clock."""

    began: float
    done_at_first: float
    said: float
    tenth: int
    finished: bool = False
    done: float = 0.0


def _lines(clock: Callable[[], float] = time.monotonic) -> Callable[[str, float, float], None]:
    stages: dict[str, _Stage] = {}

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def report(stage: str, done: float, total: float) -> None:
        now, tenth = clock(), int(10 * done / total) if total else 10
        known = stages.get(_name_of(stage))
        if known is None or done < known.done:  # it begins anew, as for another trial
            known = stages[_name_of(stage)] = _Stage(now, done, now, tenth, finished=done >= total)
            say(f"{stage}{': done' if done >= total else ' ...'}")
        elif known.finished:
            pass
        elif done >= total:
            known.finished = True
            say(f"{stage}: done")
        elif now - known.said >= (SECONDS_APART if tenth > known.tenth else MOST_SECONDS_APART):
            known.said, known.tenth = now, tenth
            gone, since = now - known.began, done - known.done_at_first
            left = f", about {_duration(gone * (total - done) / since)} left" if since > 0 else ""
            say(f"{stage}: {done / total:.0%} after {_duration(gone)}{left}")
        known.done = done

    return report


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _name_of(stage: str) -> str:
    """A stage without the note behind its name."""
    return stage.partition(" (")[0]

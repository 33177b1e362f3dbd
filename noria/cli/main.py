"""`noria`: the entry point, the order of the commands, and what becomes of errors.

Exit codes: 0 done, 1 failed, 2 wrong input, 130 stopped by the user. An error is one sentence on stderr. Commands import what they need when they
run, so that `noria --help` starts at once.
"""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from noria import __version__
from noria.cli import data, evaluate, feedback, improve, knowledge, pretrain, project, release, serve, tune
from noria.errors import ConfigError, NoriaError, PathError, StoreError

COMMANDS = (
    "new",
    "data",
    "pretrain",
    "tune",
    "predict",
    "evaluate",
    "knowledge",
    "serve",
    "chat",
    "demo",
    "feedback",
    "improve",
    "release",
    "doctor",
)
"""As listed by `noria --help`: the order of design and of the folders."""
SIGINT_EXIT = 130


class OrderedGroup(TyperGroup):
    """Lists commands and groups in one order."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=COMMANDS.index)


app = typer.Typer(
    name="noria",
    cls=OrderedGroup,
    help="Raise LLM agents that your team owns: serve, learn from use, and release only what is proven better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (project, data, pretrain, tune, evaluate, knowledge, serve, feedback, improve, release):
    module.register(app)


def _version(show: bool) -> None:
    if show:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    _version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and leave."),
) -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code comes back, nothing but SystemExit of a broken pipe escapes."""
    try:
        result = app(args=list(arguments), prog_name="noria", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except NoriaError as error:
        _say(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _say("Stopped. What was finished is kept; the same command again goes on from there.")
        return SIGINT_EXIT
    except TyperException as error:
        text = error.format_message()
        if not text:  # the help was asked for by giving nothing, and has been shown
            return ConfigError.exit_code
        _say(f"{text if text.endswith(('.', '?', '!')) else text + '.'} See `{' '.join(['noria', *_words(arguments), '--help'])}`.")
        return ConfigError.exit_code
    except BrokenPipeError:
        # The reader of stdout left (`noria release list | head`): nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # told wherever it is first looked for, before anything is written
            _say(f"'{error.filename!s:.80}...' is longer than this system's names may be. Give a shorter one.")
            return PathError.exit_code
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        _say(f"The disk refuses '{error.filename or 'a file'}': {error.strerror}. Free space or change the rights, then run the same command again.")
        return StoreError.exit_code


def _words(arguments: Sequence[str]) -> list[str]:
    """The command itself, to name its help: what stands before the first option or argument that is no command."""
    words = [a for a in arguments[:2] if a.isalpha()]
    return words if words and words[0] in COMMANDS else []


def _say(text: str) -> None:
    print(f"noria: {text}", file=sys.stderr)  # noqa: T201


def main() -> None:
    """Entry point of the `noria` script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

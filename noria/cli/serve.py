"""`noria serve`, `noria chat` and `noria demo`."""

from pathlib import Path
from typing import Annotated

import typer

from noria.cli.output import JsonOption, ProjectOption, emit, open_project, progress_bars, start_logging, stderr_console


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)
    app.command("chat")(chat)
    app.command("demo")(demo)


def serve(
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    project: ProjectOption = None,
) -> None:
    """Serve the project: the OpenAI API, feedback, and the page."""
    from noria.lifecycle.serving import serve_project

    serve_project(open_project(project), port=port, host=host)


def chat(
    release: Annotated[str | None, typer.Option("--release", metavar="NAME", help="Talk to this release instead of the live one.")] = None,
    project: ProjectOption = None,
) -> None:
    """Talk to the live release in the terminal."""
    from noria.lifecycle.terminal import chat_in_terminal

    chat_in_terminal(open_project(project), release)


def demo(
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="M", min=0.5, help="Minutes of training.")] = None,
    folder: Annotated[Path | None, typer.Option("--dir", metavar="DIR", help="Where to make the project; by default a new folder.")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 8000,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="End with the table instead of serving on.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn the whole wheel once: serve, feedback, improve, gate, promote."""
    from noria.cli.demo_table import demo_table
    from noria.lifecycle.demo import DemoConfig, run_demo
    from noria.templates import make_project

    start_logging()
    config = DemoConfig(minutes=minutes or DemoConfig().minutes, port=port)
    with progress_bars() as progress, run_demo(config, folder, make_project, progress) as result:
        told = result.summary()
        emit(as_json, told, lambda out: out.print(demo_table(told)))
        if not no_serve:
            stderr_console().print(f"\nThe page: {result.address} (stop with Ctrl+C). The project: {result.project}")
            result.serve_on()

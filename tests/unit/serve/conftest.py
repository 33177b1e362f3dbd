"""A small project behind a real server, which answers from a script."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from noria.serve import Runtime
from noria.testing import ScriptedGenerator
from noria.testing.project import scripted_runtime, write_small_project
from noria.testing.server import served


class Desk:
    """A served project: its runtime, its scripted model, and an HTTP client."""

    def __init__(self, runtime: Runtime, generator: ScriptedGenerator, url: str, client: httpx.Client) -> None:
        self.runtime = runtime
        self.generator = generator
        self.url = url
        self.client = client

    def chat(self, text: str, **body: Any) -> httpx.Response:
        headers = body.pop("headers", {})
        messages = body.pop("messages", [{"role": "user", "content": text}])
        return self.client.post("/v1/chat/completions", json={"model": "desk", "messages": messages, **body}, headers=headers)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(path, json=body)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with its database and first release, to be copied: making one takes longer than most tests."""
    root = tmp_path_factory.mktemp("made") / "desk"
    scripted_runtime(write_small_project(root), lambda _: ScriptedGenerator()).close()
    return root


@pytest.fixture
def desk(tmp_path: Path, made_once: Path) -> Iterator[Callable[..., Desk]]:
    """`desk(script, settings="", **options)` serves a project whose model answers from the script."""
    with ExitStack() as stack:

        def make(script: Any, settings: str = "", **options: Any) -> Desk:
            generator = script if isinstance(script, ScriptedGenerator) else ScriptedGenerator(script)
            shutil.copytree(made_once, tmp_path / "desk")
            project = write_small_project(tmp_path / "desk", settings)
            runtime = scripted_runtime(project, lambda _: generator, **options)
            url = stack.enter_context(served(runtime))
            client = stack.enter_context(httpx.Client(base_url=url, timeout=20, trust_env=False, verify=False))
            return Desk(runtime, generator, url, client)

        yield make

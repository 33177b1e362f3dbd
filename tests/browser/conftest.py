"""Headless Chromium, and a small project behind a real server for it to look at."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from noria.serve import Runtime
from noria.testing import ScriptedGenerator
from noria.testing.project import scripted_runtime, write_small_project
from noria.testing.server import served

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
WAIT_MILLISECONDS = 20_000


@pytest.fixture(scope="module")  # Playwright keeps an event loop running in this thread: it must end before other modules run their own
def browser() -> Iterator[Browser]:
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "desk"
    scripted_runtime(write_small_project(root), lambda _: ScriptedGenerator()).close()
    return root


@pytest.fixture
def studio(browser: Browser, tmp_path: Path, made_once: Path) -> Iterator[Callable[..., tuple[Page, Runtime]]]:
    """`studio(script)` serves a project that answers from the script and opens its page; an error in the page fails the test."""
    problems: list[str] = []
    with ExitStack() as stack:

        def open_page(script: Any = None, *, runtime: Runtime | None = None, **context: Any) -> tuple[Page, Runtime]:
            if runtime is None:
                shutil.copytree(made_once, tmp_path / "desk")
                project = write_small_project(tmp_path / "desk", "[serve]\npoll_seconds = 0.2\n")
                generator = script if isinstance(script, ScriptedGenerator) else ScriptedGenerator(script)

                def move(release_id: str, reason: str) -> Any:
                    return made.releases.move(release_id, "live", reason)

                made = runtime = scripted_runtime(project, lambda _: generator, promote=move, rollback=move)
            url = stack.enter_context(served(runtime))
            page = browser.new_context(locale="en-GB", **context).new_page()
            stack.callback(page.context.close)
            page.set_default_timeout(WAIT_MILLISECONDS)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda message: problems.append(message.text) if "Content Security Policy" in message.text else None)
            page.on("request", lambda request: None if request.url.startswith((url, "data:")) else problems.append(f"asked for {request.url}"))
            page.goto(url)
            page.get_by_label("Your message").or_(page.get_by_label("您的消息")).wait_for()
            return page, runtime

        yield open_page
    assert problems == []

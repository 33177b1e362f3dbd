"""Serving: a project's releases over HTTP, as OpenAI's chat completions with receipts, feedback and the studio page.

    run(project)                          # until stopped
    create_app(Runtime.open(project))     # the app alone, for tests and other servers

In: a project folder with a release (the first one is made from its base model). Not covered: which release goes live (noria.lifecycle).
"""

from noria.serve.app import create_app
from noria.serve.config import ServeConfig
from noria.serve.freeze import changed_parts, first_release, freeze
from noria.serve.runtime import ChangeRelease, Runtime
from noria.serve.server import run
from noria.serve.serving import Serving, load_release

__all__ = ["ChangeRelease", "Runtime", "ServeConfig", "Serving", "changed_parts", "create_app", "first_release", "freeze", "load_release", "run"]

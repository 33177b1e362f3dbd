"""A project behind a real server in a thread of this process, for tests that speak HTTP.

with served(runtime) as url:
    httpx.get(f"{url}/healthz")
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from noria.serve import Runtime
from noria.serve.server import address_of, listen, uvicorn_config

START_SECONDS = 60.0


@contextmanager
def served(runtime: Runtime) -> Iterator[str]:
    """Serve a runtime on a free port; gives the address once requests are answered, and stops and closes all at the end."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn_config(runtime))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the server did not start")
            time.sleep(0.005)
        yield address_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        runtime.close()

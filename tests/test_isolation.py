"""The rules of tests/conftest.py hold."""

import os
import socket
from pathlib import Path

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_connecting_elsewhere_is_refused(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as connection, pytest.raises(RuntimeError, match="may not use the network"):
        connection.connect((host, 80))


def test_looking_up_a_name_is_refused() -> None:
    with pytest.raises(RuntimeError, match="example"):
        socket.getaddrinfo("example.invalid", 80)


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        assert connection.getpeername() == server.getsockname()


def test_home_and_working_directory_are_the_tests_own() -> None:
    assert Path.home() != Path("/root")
    assert Path(os.environ["NORIA_HOME"]).is_relative_to(Path.home())
    assert not list(Path.cwd().iterdir())


def test_secrets_of_the_caller_are_gone() -> None:
    assert not [name for name in os.environ if name.endswith(("_API_KEY", "_TOKEN"))]

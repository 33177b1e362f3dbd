"""`[serve]`: whoever can be reached from elsewhere asks for keys."""

import pytest
from pydantic import ValidationError

from noria.serve.config import ServeConfig


@pytest.mark.parametrize("settings", [{"host": "0.0.0.0"}, {"allowed_hosts": ["desk.example.com"]}])
def test_an_open_server_needs_keys(settings: dict) -> None:
    with pytest.raises(ValidationError, match="set `api_keys_env`"):
        ServeConfig(**settings)
    assert ServeConfig(**settings, operator_keys_env="KEYS").operator_keys_env == "KEYS"


def test_names_of_this_machine_need_none() -> None:
    assert "localhost" in ServeConfig(allowed_hosts=("localhost",)).host_names()

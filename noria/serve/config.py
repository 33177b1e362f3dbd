"""`[serve]` of `noria.toml`: where the server listens, who may ask, and how much at once."""

import os
from typing import Self

from pydantic import Field, model_validator

from noria.config import Section
from noria.errors import ConfigError


class ServeConfig(Section):
    """`[serve]`: address, access and limits of the HTTP server."""

    host: str = "127.0.0.1"
    """Address to listen on; only this machine by default. Listening elsewhere needs `api_keys_env` or `operator_keys_env`."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, besides `host` and this machine's loopback names, under which requests may address the server (`Host` header, without port), such as
    that of a proxy in front; needs keys, as `host` does."""
    api_keys_env: str | None = None
    """Name of the environment variable that holds the users' API keys, separated by commas; None asks for no key."""
    operator_keys_env: str | None = None
    """Name of the environment variable that holds the operators' API keys: they may also promote, roll back and correct as operators."""
    heads: dict[str, str] = {}
    """Folders with a head that `noria tune` made, by the names that `/v1/classify` and `/v1/embeddings` take: `{ intents = "./intents" }`."""
    max_concurrent: int = Field(default=32, ge=1, le=1024)
    """Chat requests answered at the same time; one more gets status 429 with `Retry-After`."""
    max_body_bytes: int = Field(default=4_000_000, ge=1_000)
    """Largest request body; a larger one gets status 413."""
    max_engines: int = Field(default=2, ge=1)
    """Engines of older releases and the live one kept in memory; the one unused longest is closed first."""
    poll_seconds: float = Field(default=2.0, gt=0, le=60)
    """How often the server looks for a newly promoted release, to load its engine before the next conversation needs it."""

    @model_validator(mode="after")
    def _keys_when_open(self) -> Self:
        if self.api_keys_env is None and self.operator_keys_env is None:
            if not is_loopback(self.host):
                raise ValueError(f"`host` {self.host!r} is reachable from other machines; set `api_keys_env` (and `operator_keys_env`) first")
            if foreign := [name for name in self.allowed_hosts if not is_loopback(name)]:
                raise ValueError(f"`allowed_hosts` lets others in as {foreign[0]!r}; set `api_keys_env` (and `operator_keys_env`) first")
        return self

    def api_keys(self) -> frozenset[str]:
        """The users' keys. Raises ConfigError if the variable named is empty."""
        return _keys(self.api_keys_env, "api_keys_env")

    def operator_keys(self) -> frozenset[str]:
        """The operators' keys. Raises ConfigError if the variable named is empty."""
        return _keys(self.operator_keys_env, "operator_keys_env")

    def host_names(self) -> frozenset[str]:
        """Every name under which the server answers, in lower case."""
        return frozenset(name.lower() for name in ("127.0.0.1", "localhost", "[::1]", "::1", self.host, *self.allowed_hosts))


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _keys(variable: str | None, field: str) -> frozenset[str]:
    if variable is None:
        return frozenset()
    keys = frozenset(key.strip() for key in os.environ.get(variable, "").split(",") if key.strip())
    if not keys:
        raise ConfigError(
            f"[serve] `{field}` names the environment variable {variable!r}, which is empty. Set it to one or more keys, separated by commas."
        )
    return keys

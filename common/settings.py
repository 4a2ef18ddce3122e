"""Every setting, with default and meaning: `BOVEDA_…` variables, checked once at start; an empty one is none.

Secrets are not settings: they lie in files whose paths are. Where a value carries one (the password in a URL), it can
be the content of a file named `boveda_<setting>` in BOVEDA_SECRETS_DIR, which no process list or container inspection
shows; the environment wins over it. `boveda config` prints this table.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import DirectoryPath, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from common.addresses import check_database_url, check_host, check_redis_url
from common.errors import ConfigurationError
from common.model.sizes import MIB


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="BOVEDA_", env_ignore_empty=True, frozen=True, validate_default=True)

    home: Path = Field(Path(".boveda"), description="folder of all state")
    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(5000, ge=1, le=65535, description="port of the API")
    flower_port: int = Field(
        5555, ge=0, le=65535, description="port of Flower, the task dashboard (loopback only); 0: no Flower"
    )
    url: str = Field("", description="the API the command line talks to; empty: the embedded cluster on host and port")
    api_processes: int = Field(3, ge=1, le=64, description="API processes")
    api_threads: int = Field(8, ge=1, le=8, description="threads of each API process (more would starve the probes)")

    auth: Literal["none", "token"] = Field("none", description="none (loopback only) or token")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("localhost", "127.0.0.1", "[::1]"), description="Host names answered in loopback mode, comma between"
    )
    admin_token_file: Path | None = Field(None, description="file with the first admin token")

    database_url: SecretStr = Field(SecretStr(""), description="SQLAlchemy URL; empty: SQLite in the home folder")
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="the queue")
    secrets_dir: DirectoryPath | None = Field(
        None, description="folder of files named boveda_<setting>, read for what the environment does not set"
    )
    nodes_file: Path | None = Field(None, description="JSON list of the first nodes, read when migrating")
    credentials_dir: Path | None = Field(None, description="folder of the nodes' credentials; empty: HOME/credentials")
    keyring_file: Path | None = Field(None, description="sealed keyring; empty: HOME/keyring.json")
    passphrase_file: Path | None = Field(None, description="passphrase of the keyring; empty: HOME/passphrase")

    copies: int = Field(3, ge=1, le=16, description="copies of each blob in a new bucket")
    write_copies: int = Field(1, ge=1, le=16, description="copies written before an upload is acknowledged")
    blob_size: int = Field(8 * MIB, ge=MIB, le=64 * MIB, description="largest plaintext of one blob, bytes")
    max_object_size: int = Field(5 * 1024 * 1024 * MIB, ge=0, description="largest object, bytes")

    orphan_grace: float = Field(3600, gt=0, description="seconds before a blob without a row may be reclaimed")
    doom_delay: float = Field(30, ge=0, description="seconds before copies of a replaced or deleted version go")
    reprotect_after: float = Field(
        900, gt=0, description="seconds a node is down or foreign before its copies are made elsewhere"
    )
    scrub_period: float = Field(
        2592000, gt=0, description="seconds in which every copy on a node is read once (at least 1 MiB/s are read)"
    )
    reclaim_interval: float = Field(
        3600, gt=0, description="seconds between two looks for blobs on a node that no row refers to"
    )
    sweep_interval: float = Field(2, gt=0, description="seconds between sweeps")
    repeat_seconds: float = Field(
        20, ge=1, description="seconds after which work that was put into the queue and not begun is put there again"
    )
    probe_interval: float = Field(2, gt=0, description="seconds between probes of a node")
    write_trial_interval: float = Field(
        60, gt=0, description="seconds between two trials whether a full or read-only node takes writes again"
    )
    lease_seconds: float = Field(60, ge=5, description="how long a worker holds a copy without renewing")
    backoff_base: float = Field(1, ge=0, description="first bound of the full-jitter back-off, seconds (0: tests)")
    upload_expiry: float = Field(
        86400,
        gt=0,
        description="seconds a resumable upload is kept after its last bytes, and remembered when it has ended",
    )
    idle_timeout: float = Field(20, gt=0, description="seconds a client may send nothing while its body is awaited")

    worker_metrics: str = Field(
        "",
        pattern=r"^$|^\S+:\d{1,5}$",
        description="host:port where a worker process serves its Prometheus metrics; empty: nowhere",
    )
    notify: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="apprise addresses for alerts, comma between (not in use yet)"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal, else JSON")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        folder = os.environ.get("BOVEDA_SECRETS_DIR", "")
        files = SecretsSettingsSource(settings_cls, secrets_dir=folder) if os.path.isdir(folder) else None
        return (init_settings, env_settings) + ((files,) if files else ())

    @field_validator("allowed_hosts", "notify", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("redis_url")
    @classmethod
    def _a_queue(cls, value: SecretStr) -> SecretStr:
        check_redis_url(value.get_secret_value())
        return value

    @field_validator("database_url")
    @classmethod
    def _a_database(cls, value: SecretStr) -> SecretStr:
        check_database_url(value.get_secret_value())
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_host(host) for host in value)

    # Rules between two settings stand at the later one: pydantic skips those of a whole model once a field is wrong.

    @field_validator("auth")
    @classmethod
    def _open_only_on_loopback(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and not is_loopback(info.data.get("host", "localhost")):
            raise ValueError("none is allowed only on a loopback BOVEDA_HOST; use token")
        return value

    @field_validator("write_copies")
    @classmethod
    def _not_over_copies(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("copies", value):
            raise ValueError("must not exceed BOVEDA_COPIES")
        return value

    # -- paths and addresses that follow from the home folder

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the catalogue."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.home.resolve()}/catalogue.db"

    @property
    def credentials(self) -> Path:
        return self.credentials_dir or self.home / "credentials"

    @property
    def keyring(self) -> Path:
        return self.keyring_file or self.home / "keyring.json"

    @property
    def passphrase(self) -> Path:
        return self.passphrase_file or self.home / "passphrase"

    @property
    def api_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.url or f"http://{host}:{self.port}"


_OF_OTHERS = frozenset({"BOVEDA_TOKEN", "BOVEDA_MINIO", "BOVEDA_TEST_REQUIRE", "BOVEDA_WORKERS"})
"""Read elsewhere: by the client, by `up`, by tests, by the containers."""


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def load() -> Settings:
    """The settings of this process; ConfigurationError lists everything that is wrong at once, without values."""
    lines = [f"{name}: there is no such setting; {meant} is one" for name, meant in _misspelt()]
    try:
        settings = Settings()
    except ValidationError as error:
        lines += [
            f"BOVEDA_{item['loc'][0]}".upper() + f": {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False, include_url=False)
        ]
    if lines:
        raise ConfigurationError("wrong settings:\n  " + "\n  ".join(lines))
    return settings


def _misspelt() -> list[tuple[str, str]]:
    """Names in the environment that are no setting, and nearly one. Others may be anybody's."""
    names = {f"BOVEDA_{name.upper()}" for name in Settings.model_fields} | _OF_OTHERS
    found = []
    for name in sorted(os.environ.keys() - names):
        if name.startswith("BOVEDA_") and os.environ[name]:
            found += [(name, near) for near in get_close_matches(name, names, 1, 0.9)]
    return found

"""A node as an operator writes it down: an entry of BOVEDA_NODES_FILE, or the body of a request that adds one."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from common.errors import ConfigurationError
from common.model.nodes import NodeSpec


class NodeEntry(BaseModel):
    """`credentials`: name of a file in BOVEDA_CREDENTIALS_DIR, without `.json`. An empty zone is one of its own."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    endpoint: str = Field(max_length=255)
    bucket: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$")
    credentials: str = Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")
    region: str = Field("us-east-1", pattern=r"^[A-Za-z0-9-]{1,63}$")
    zone: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,63}$")
    weight: float = Field(1.0, ge=0, le=1_000_000, allow_inf_nan=False)

    @field_validator("endpoint")
    @classmethod
    def _is_endpoint(cls, endpoint: str) -> str:
        return check_endpoint(endpoint)

    def spec(self) -> NodeSpec:
        return NodeSpec(**self.model_dump())


def check_endpoint(endpoint: str) -> str:
    """`http(s)://host[:port]` in lower case, so that one place has one spelling; ValueError if it is anything else."""
    rule = "must be http(s)://host[:port] and nothing more"
    try:
        parts = urlsplit(endpoint.lower())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise ValueError(rule) from None
    plain = f"{parts.scheme}://{parts.netloc}"
    if not usable or plain != endpoint.lower() or "@" in parts.netloc or not plain.isascii() or " " in plain:
        raise ValueError(rule)
    return plain


def read_nodes(path: Path) -> list[NodeSpec]:
    """The nodes of a JSON list; ConfigurationError names the entry that is wrong."""
    try:
        entries = TypeAdapter(list[NodeEntry]).validate_python(json.loads(path.read_text()))
    except OSError as error:
        raise ConfigurationError(f"BOVEDA_NODES_FILE cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"BOVEDA_NODES_FILE is not JSON: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigurationError(f"BOVEDA_NODES_FILE: {wrong}") from None
    return [entry.spec() for entry in entries]

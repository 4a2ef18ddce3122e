"""A node's credentials: a JSON file of mode 0600 with access_key and secret_key. The catalogue knows its name only."""

from __future__ import annotations

import json
from pathlib import Path

from common.errors import ConfigurationError


def read_credentials(path: Path) -> tuple[str, str]:
    """Access key and secret key. ConfigurationError, which names neither the path nor what the file says."""
    try:
        pair = json.loads(path.read_text())
        access, secret = pair["access_key"], pair["secret_key"]
    except (OSError, ValueError, KeyError, TypeError):
        access = secret = None
    if not (isinstance(access, str) and isinstance(secret, str) and access and secret):
        raise ConfigurationError("its credentials file must be readable JSON with access_key and secret_key")
    return access, secret

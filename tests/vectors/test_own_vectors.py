"""Our own vector files against the code that reads and writes production data.

The files are made by an independent implementation (`generate.py`); failures outnumber successes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import cache
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Protocol

import pytest
from blake3 import blake3
from pydantic import SecretBytes

from common.crypto import keyring as ring
from common.crypto.envelope import (
    CHUNK,
    OVERHEAD_HEADER,
    PREFIX,
    SUITE,
    BlobOpener,
    BlobSealer,
    blob_context,
    cipher_length,
    dek_context,
    span,
    upload_context,
)
from common.crypto.keyring import Kek
from common.crypto.stream import Reader
from common.errors import IntegrityError, KeyringError
from tests.vectors import generate
from tests.vectors.sources import OWN, Json, own


class Read(Protocol):
    __name__: str

    def __call__(self, blob: Json, cipher: bytes, /) -> Iterator[bytes]: ...


BLOBS = {blob["id"]: blob for blob in own("blob_v1.json")["blobs"]}
CASES = own("blob_v1.json")["cases"]
RANGES = own("blob_v1.json")["ranges"]
WRAPS = own("wrap_v1.json")
KEYRINGS = own("keyring_v1.json")


@pytest.mark.parametrize("name", generate.FILES)
def test_a_vector_file_is_what_the_generator_makes(name: str) -> None:
    assert (OWN / name).read_text() == generate.content(name)


def test_failures_outnumber_successes() -> None:
    assert len(BLOBS) == 14
    assert len(CASES) == 263
    assert len(RANGES) == 14
    assert len(WRAPS["cases"]) == 18
    assert len(KEYRINGS["cases"]) == 30


# -- blobs


def plaintext(blob: Json) -> bytes:
    return shake_256(blob["plain_seed"].encode()).digest(blob["plain_length"])


@cache
def sealed(identity: int) -> bytes:
    """The blob of the vectors as our sealer writes it."""
    blob = BLOBS[identity]
    plain = memoryview(plaintext(blob))
    out = bytearray(cipher_length(len(plain)))
    salt = bytes.fromhex(blob["salt"])
    dek = bytes.fromhex(blob["dek"])
    sealer = BlobSealer(dek, blob["version_id"], blob["number"], memoryview(out), draw=lambda size: salt[:size])
    for start in range(0, len(plain), CHUNK):
        sealer.write(plain[start : start + CHUNK])
    assert sealer.finish() == len(out)
    assert sealer.salt == salt
    return bytes(out)


@pytest.mark.parametrize("identity", BLOBS)
def test_sealing_gives_the_bytes_of_the_vectors(identity: int) -> None:
    blob = BLOBS[identity]
    cipher = sealed(identity)
    assert cipher[:OVERHEAD_HEADER].hex() == blob["header"]
    assert len(cipher) == blob["cipher_length"]
    assert blake3(cipher).hexdigest() == blob["cipher_blake3"]
    if "cipher" in blob:
        assert cipher.hex() == blob["cipher"]


def opener(blob: Json) -> BlobOpener:
    salt = bytes.fromhex(blob["salt"])
    return BlobOpener(bytes.fromhex(blob["dek"]), blob["version_id"], blob["number"], salt, blob["plain_length"])


def read_with_catalogue(blob: Json, cipher: bytes) -> Iterator[bytes]:
    """As a download does it: header, then chunk by chunk at the places the catalogue's length gives."""
    reader = opener(blob)
    reader.check_header(cipher[:OVERHEAD_HEADER])
    last = SUITE.last(blob["plain_length"])
    for index in range(last + 1):
        start = OVERHEAD_HEADER + index * SUITE.sealed_chunk
        end = len(cipher) if index == last else start + SUITE.sealed_chunk
        yield reader.open(index, memoryview(cipher)[start:end])


def read_alone(blob: Json, cipher: bytes) -> Iterator[bytes]:
    """As a stranger does it who has the data key and the blob, and no catalogue."""
    source = io.BytesIO(cipher)
    if source.read(len(PREFIX)) != PREFIX:
        raise IntegrityError("not a blob")
    context = blob_context(blob["version_id"], blob["number"])
    reader = Reader(SUITE, bytes.fromhex(blob["dek"]), context, source.read)
    while (chunk := reader.read()) is not None:
        yield chunk


@pytest.mark.parametrize("identity", BLOBS)
@pytest.mark.parametrize("read", [read_with_catalogue, read_alone])
def test_a_valid_blob_opens(identity: int, read: Read) -> None:
    blob = BLOBS[identity]
    plain = b"".join(read(blob, sealed(identity)))
    assert plain == plaintext(blob)
    assert sha256(plain).hexdigest() == blob["plain_sha256"]


def changed(original: bytes, operations: list[Json]) -> bytes:
    data = bytearray(original)
    for step in operations:
        match step["op"]:
            case "flip":
                data[step["offset"]] ^= 1 << step["bit"]
            case "write":
                new = bytes.fromhex(step["hex"])
                data[step["offset"] : step["offset"] + len(new)] = new
            case "truncate":
                assert step["length"] < len(data)
                del data[step["length"] :]
            case "append":
                data += bytes.fromhex(step["hex"])
            case "append_copy":
                data += original[step["from"] : step["from"] + step["length"]]
            case "copy":
                part = original[step["from"] : step["from"] + step["length"]]
                data[step["to"] : step["to"] + len(part)] = part
            case "remove":
                del data[step["offset"] : step["offset"] + step["length"]]
            case other:
                raise AssertionError(other)
    return bytes(data)


def name_of(case: Json) -> str:
    return f"{case['blob']}: {case['comment']}"


def reads_of(case: Json) -> list[Read]:
    """Salt and length of the catalogue mean nothing to a reader that has none."""
    return [read_with_catalogue] if {"salt", "plain_length"} & set(case.get("with", {})) else [*READS]


READS: tuple[Read, ...] = (read_with_catalogue, read_alone)
FAILURES = [
    pytest.param(case, read, id=f"{name_of(case)} ({read.__name__})") for case in CASES for read in reads_of(case)
]
ELSEWHERE = [case for case in CASES if "with" in case and "plain_length" not in case["with"]]


@pytest.mark.parametrize(("case", "read"), FAILURES)
def test_a_changed_blob_fails_and_releases_only_what_stood_before_the_change(case: Json, read: Read) -> None:
    with_ = case.get("with", {})
    assert with_ or changed(sealed(case["blob"]), case["operations"]) != sealed(case["blob"])
    blob = BLOBS[case["blob"]] | with_
    released: list[bytes] = []
    with pytest.raises(IntegrityError):
        _collect(read(blob, changed(sealed(case["blob"]), case["operations"])), released)
    assert sum(map(len, released)) == case["released_length"]
    assert sha256(b"".join(released)).hexdigest() == case["released_sha256"]


def _collect(chunks: Iterator[bytes], into: list[bytes]) -> None:
    """Not `list(chunks)`: what came before the failure must be kept."""
    for chunk in chunks:
        into.append(chunk)  # noqa: PERF402


@pytest.mark.parametrize("case", ELSEWHERE, ids=name_of)
def test_a_range_read_without_the_header_refuses_a_blob_in_another_place(case: Json) -> None:
    blob = BLOBS[case["blob"]]
    part = span(blob["plain_length"], 0, min(1, blob["plain_length"]))
    chunk = sealed(case["blob"])[part.offset :][: opener(blob).sealed_size(0)]
    assert opener(blob).open(0, chunk)[:1] == plaintext(blob)[:1]
    with pytest.raises(IntegrityError):
        opener(blob | case["with"]).open(0, chunk)


@pytest.mark.parametrize("case", RANGES, ids=lambda case: f"{case['blob']}: {case['start']}+{case['length']}")
def test_a_range_is_read_from_its_chunks_alone(case: Json) -> None:
    blob = BLOBS[case["blob"]]
    part = span(blob["plain_length"], case["start"], case["length"])
    assert (part.first, part.count) == (case["first_chunk"], case["chunks"])
    assert (part.offset, part.length, part.skip) == (case["cipher_offset"], case["cipher_length"], case["skip"])

    source = io.BytesIO(sealed(case["blob"])[part.offset : part.offset + part.length])
    reader = opener(blob)
    plain = b"".join(
        reader.open(index, source.read(reader.sealed_size(index)))
        for index in range(part.first, part.first + part.count)
    )
    wanted = plain[part.skip : part.skip + case["length"]]
    assert source.read() == b""
    assert sha256(wanted).hexdigest() == case["plain_sha256"]


# -- wrapped data keys

WRAPPED = WRAPS["version"]


def unwrapped(case: Json) -> bytes:
    kek = Kek(case["kek_id"], 0.0, SecretBytes(bytes.fromhex(case["kek"])))
    context = dek_context(case["bucket_id"], case["key"], case["version_id"], case["size"], case["blob_count"])
    return kek.unwrap(bytes.fromhex(case["wrapped"]), context)


def test_a_data_key_is_wrapped_as_in_the_vectors() -> None:
    kek = Kek(WRAPPED["kek_id"], 0.0, SecretBytes(bytes.fromhex(WRAPPED["kek"])))
    dek = bytes.fromhex(WRAPPED["dek"])
    place = [WRAPPED[name] for name in ("bucket_id", "key", "version_id", "size", "blob_count")]
    assert kek.wrap(dek, dek_context(*place)).hex() == WRAPPED["wrapped"]
    assert kek.wrap(dek, upload_context(WRAPPED["version_id"])).hex() == WRAPS["upload"]["wrapped"]
    assert unwrapped(WRAPPED) == dek


@pytest.mark.parametrize("case", WRAPS["cases"], ids=lambda case: case["comment"])
def test_a_wrapped_key_opens_only_in_its_own_place(case: Json) -> None:
    with pytest.raises(IntegrityError):
        unwrapped(WRAPPED | case["with"])


# -- the keyring file


def written(folder: Path, document: Json, passphrase: str) -> tuple[Path, Path]:
    path, secret = folder / "keyring.json", folder / "passphrase"
    path.write_text(json.dumps(document))
    secret.write_text(passphrase + "\n")
    return path, secret


def test_the_keyring_file_of_the_vectors_opens(tmp_path: Path) -> None:
    keyring = ring.read_keyring(*written(tmp_path, KEYRINGS["file"], KEYRINGS["passphrase"]))
    assert keyring.active == KEYRINGS["active"]
    got = [
        {"id": kek.id, "created_at": kek.created_at, "key": kek.key.get_secret_value().hex()}
        for kek in keyring.keks.values()
    ]
    assert got == KEYRINGS["keys"]


@pytest.mark.parametrize("case", KEYRINGS["cases"], ids=lambda case: case["comment"])
def test_a_changed_keyring_file_does_not_open(case: Json, tmp_path: Path) -> None:
    document = {**KEYRINGS["file"], **case.get("with", {})}
    document.pop(case.get("without", ""), None)
    paths = written(tmp_path, document, case.get("passphrase") or KEYRINGS["passphrase"])
    with pytest.raises(KeyringError):
        ring.read_keyring(*paths)

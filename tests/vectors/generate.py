"""Makes the vector files of our own formats: `python tests/vectors/generate.py` writes them beside itself.

A second implementation, written from docs/format.md with the standard library's HMAC and scrypt and with plain AES
calls; it imports nothing of Bóveda, so code and vectors cannot be wrong in the same way by sharing a function. Output
is deterministic: secrets and salts come from SHAKE-256 of a name.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blake3 import blake3
from Crypto.Cipher import AES

FOLDER = Path(__file__).parent
CHUNK = 1 << 20
TAG = 16
SEALED = CHUNK + TAG
HEADER = 72
HEX_MAX = 256  # longer ciphertexts stand in the file by their hashes only

Json = dict[str, Any]


def shake(name: str, length: int) -> bytes:
    return hashlib.shake_256(name.encode()).digest(length)


def field(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def number(value: int) -> bytes:
    return field(value.to_bytes(8, "big"))


# -- blobs

PREFIX = b"BVDA" + bytes([1, 1, 20]) + bytes(9)


def expand(key: bytes, info: bytes, length: int) -> bytes:
    first = hmac.digest(key, info + b"\x01", "sha512")
    return (first + hmac.digest(key, first + info + b"\x02", "sha512"))[:length]


def seal_blob(dek: bytes, version_id: str, blob_number: int, salt: bytes, plain: bytes) -> bytes:
    context = PREFIX + field(version_id.encode()) + number(blob_number)
    info = b"boveda/blob-v1/1MiB+" + b"AEAD_AES_256_GCM" + b"\x00" + salt + context
    derived = expand(dek, info, 76)
    key, base, commitment = derived[:32], derived[32:44], derived[44:]
    parts = [PREFIX, salt, commitment]
    for index in range(len(plain) // CHUNK + 1):
        nonce = bytes(a ^ b for a, b in zip(base, index.to_bytes(12, "big"), strict=True))
        sealed, tag = AES.new(key, AES.MODE_GCM, nonce=nonce).encrypt_and_digest(
            plain[index * CHUNK : (index + 1) * CHUNK]
        )
        parts += [sealed, tag]
    return b"".join(parts)


LENGTHS = (0, 1, 2, 15, 16, 17, 4095, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK)


def blobs() -> Iterator[Json]:
    for blob_number, length in enumerate(LENGTHS):
        name = f"blob {length}"
        version_id = shake(f"{name} version", 16).hex()
        dek, salt, plain = shake(f"{name} dek", 32), shake(f"{name} salt", 24), shake(name, length)
        sealed = seal_blob(dek, version_id, blob_number, salt, plain)
        blob = {
            "id": length,
            "dek": dek.hex(),
            "version_id": version_id,
            "number": blob_number,
            "salt": salt.hex(),
            "plain_seed": name,
            "plain_length": length,
            "plain_sha256": hashlib.sha256(plain).hexdigest(),
            "cipher_length": len(sealed),
            "cipher_blake3": blake3(sealed).hexdigest(),
            "header": sealed[:HEADER].hex(),
        }
        yield blob | ({"cipher": sealed.hex()} if len(sealed) <= HEX_MAX else {})


def case(blob: int, comment: str, released: int, *operations: Json, **with_: Any) -> Json:
    """`released`: plaintext bytes that a reader may give out before it fails."""
    plain = shake(f"blob {blob}", released)
    case = {"blob": blob, "comment": comment, "result": "invalid", "released_length": released}
    case |= {"released_sha256": hashlib.sha256(plain).hexdigest(), "operations": list(operations)}
    return case | ({"with": with_} if with_ else {})


def flip(offset: int, bit: int = 0) -> Json:
    return {"op": "flip", "offset": offset, "bit": bit}


def truncate(length: int) -> Json:
    return {"op": "truncate", "length": length}


def move(source: int, length: int, target: int) -> Json:
    """The original's bytes at `source` written over those at `target`."""
    return {"op": "copy", "from": source, "length": length, "to": target}


def chunk_at(index: int) -> int:
    return HEADER + index * SEALED


def header_failures() -> Iterator[Json]:
    where = {"prefix": range(16), "salt": (16, 27, 39), "commitment": (40, 55, 71)}
    for part, offsets in where.items():
        for offset in offsets:
            yield case(17, f"{part}: one bit of byte {offset} flipped", 0, flip(offset, offset % 8))
    for suite in (0, 2):
        yield case(17, f"suite {suite} instead of 1", 0, {"op": "write", "offset": 5, "hex": f"{suite:02x}"})
    yield case(17, "version 2 instead of 1", 0, {"op": "write", "offset": 4, "hex": "02"})
    yield case(17, "chunks of 16 KiB announced", 0, {"op": "write", "offset": 6, "hex": "0e"})
    for offset in (0, 16, 40, CHUNK + 87):
        yield case(2 * CHUNK + 1, f"bit 7 of byte {offset} flipped", 0, flip(offset, 7))
    for length in (0, 1, 15, 16, 39, 40, 71):
        yield case(17, f"header cut off behind {length} bytes", 0, truncate(length))


def place_failures() -> Iterator[Json]:
    for blob in (0, 17, CHUNK):
        yield case(blob, "wrong data key", 0, dek=shake("another dek", 32).hex())
        yield case(blob, "version id of another version", 0, version_id=shake("another version", 16).hex())
        yield case(blob, "version id with a letter in upper case", 0, version_id="A" + shake("x", 16).hex()[1:])
        yield case(blob, "version id empty", 0, version_id="")
        for wrong in (99, 1 << 32, 255):
            yield case(blob, f"blob number {wrong}", 0, number=wrong)
        yield case(blob, "salt of another sealing in the catalogue", 0, salt=shake("another salt", 24).hex())


def chunk_failures() -> Iterator[Json]:
    for length in LENGTHS:
        last = length // CHUNK
        for index in range(last + 1):
            size = min(CHUNK, length - index * CHUNK)
            places = {"first byte": 0, "middle byte": size // 2, "last byte": size - 1} if size else {}
            places |= {"first byte of the tag": size, "last byte of the tag": size + TAG - 1}
            for name, offset in places.items():
                yield case(length, f"{name} of chunk {index} flipped", index * CHUNK, flip(chunk_at(index) + offset))


def length_failures() -> Iterator[Json]:
    for length in (0, 1, 17, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK):
        last = length // CHUNK
        whole = HEADER + length + TAG * (last + 1)
        tail = chunk_at(last)
        yield case(length, "last byte missing", last * CHUNK, truncate(whole - 1))
        yield case(length, "last tag missing", last * CHUNK, truncate(whole - TAG))
        yield case(length, "one byte of the last tag left", last * CHUNK, truncate(whole - TAG + 1))
        yield case(length, "last chunk missing", last * CHUNK, truncate(tail))
        yield case(length, "one byte behind the end", last * CHUNK, {"op": "append", "hex": "00"})
        yield case(length, "17 bytes behind the end", last * CHUNK, {"op": "append", "hex": "00" * 17})
        again = {"op": "append_copy", "from": tail, "length": whole - tail}
        yield case(length, "last chunk there twice", last * CHUNK, again)
        for index in range(last):
            yield case(length, f"cut off at the start of chunk {index}", index * CHUNK, truncate(chunk_at(index)))
            cut = chunk_at(index) + CHUNK // 2
            yield case(length, f"cut off inside of chunk {index}", index * CHUNK, truncate(cut))
            yield case(
                length, f"cut off before the tag of chunk {index}", index * CHUNK, truncate(chunk_at(index) + CHUNK)
            )
    whole = HEADER + 3 * CHUNK + 4 * TAG
    middle = {"op": "remove", "offset": chunk_at(1), "length": SEALED}
    yield case(3 * CHUNK, "chunk 1 removed", CHUNK, middle)
    yield case(2 * CHUNK + 1, "chunk 0 removed", 0, middle | {"offset": chunk_at(0)})
    # The catalogue announces another length than was sealed; the blob itself is whole.
    for length, wrong in ((0, 1), (1, 0), (17, 16), (CHUNK, CHUNK - 1)):
        yield case(length, f"{wrong} bytes announced", 0, plain_length=wrong)
    for length, wrong in ((CHUNK, CHUNK + 1), (CHUNK + 1, CHUNK), (2 * CHUNK, CHUNK)):
        yield case(length, f"{wrong} bytes announced", CHUNK, plain_length=wrong)


def order_failures() -> Iterator[Json]:
    first, second, third = chunk_at(0), chunk_at(1), chunk_at(2)
    swap01 = (move(first, SEALED, second), move(second, SEALED, first))
    yield case(2 * CHUNK, "chunks 0 and 1 swapped", 0, *swap01)
    yield case(3 * CHUNK, "chunks 0 and 1 swapped", 0, *swap01)
    yield case(3 * CHUNK, "chunks 1 and 2 swapped", CHUNK, move(second, SEALED, third), move(third, SEALED, second))
    yield case(2 * CHUNK, "chunk 0 in place of chunk 1", CHUNK, move(first, SEALED, second))
    yield case(3 * CHUNK, "chunk 1 in place of chunk 0", 0, move(second, SEALED, first))
    yield case(3 * CHUNK, "chunk 0 in place of chunk 2", 2 * CHUNK, move(first, SEALED, third))
    yield case(2 * CHUNK, "tags of chunks 0 and 1 swapped", 0, *_swapped(first + CHUNK, second + CHUNK, TAG))
    yield case(2 * CHUNK + 1, "bytes of chunk 0 swapped", 0, *_swapped(first, first + 16, 16))


def _swapped(a: int, b: int, length: int) -> tuple[Json, Json]:
    return move(a, length, b), move(b, length, a)


def ranges() -> Iterator[Json]:
    """Parts of a blob and the chunks to read for them: a range up to the end takes in the last chunk, even if empty."""
    wanted = [
        (0, 0, 0, (0, 1)),
        (1, 0, 1, (0, 1)),
        (1, 1, 0, (0, 1)),
        (17, 3, 5, (0, 1)),
        (CHUNK, 0, CHUNK, (0, 2)),
        (CHUNK, CHUNK - 1, 1, (0, 2)),
        (CHUNK, 0, CHUNK - 1, (0, 1)),
        (CHUNK + 1, CHUNK, 1, (1, 1)),
        (CHUNK + 1, CHUNK - 1, 2, (0, 2)),
        (2 * CHUNK, CHUNK, 1, (1, 1)),
        (2 * CHUNK, CHUNK, CHUNK, (1, 2)),
        (3 * CHUNK, CHUNK - 1, CHUNK + 2, (0, 3)),
        (3 * CHUNK, CHUNK + 7, 1000, (1, 1)),
        (3 * CHUNK, 0, 3 * CHUNK, (0, 4)),
    ]
    for blob, start, length, (first, count) in wanted:
        plain = shake(f"blob {blob}", blob)[start : start + length]
        end = min(chunk_at(first + count), HEADER + blob + TAG * (blob // CHUNK + 1))
        yield {
            "blob": blob,
            "start": start,
            "length": length,
            "first_chunk": first,
            "chunks": count,
            "cipher_offset": chunk_at(first),
            "cipher_length": end - chunk_at(first),
            "skip": start - first * CHUNK,
            "plain_sha256": hashlib.sha256(plain).hexdigest(),
        }


def blob_file() -> Json:
    failures = [*header_failures(), *place_failures(), *chunk_failures(), *length_failures(), *order_failures()]
    return {
        "format": "boveda/blob-v1",
        "notes": [
            "plaintext: the first plain_length bytes of SHAKE-256 of plain_seed (UTF-8)",
            "blobs are valid; each case changes one as said, the operations in order, offsets from 0",
            "copy and append_copy take their bytes from the blob as it was before all operations",
            "with: arguments of the reader that replace the blob's own",
            "released: what a reader that opens chunk after chunk gives out before it fails",
        ],
        "blobs": list(blobs()),
        "cases": failures,
        "ranges": list(ranges()),
    }


# -- wrapped data keys


def wrap(kek: bytes, kek_id: str, dek: bytes, context: bytes) -> bytes:
    cipher = AES.new(kek, AES.MODE_SIV)
    cipher.update(field(kek_id.encode()) + field(context))
    ciphertext, iv = cipher.encrypt_and_digest(dek)
    return iv + ciphertext


def version_context(place: Json) -> bytes:
    texts = b"".join(field(place[name].encode()) for name in ("bucket_id", "key", "version_id"))
    return texts + number(place["size"]) + number(place["blob_count"])


def wrap_file() -> Json:
    kek, dek = shake("kek", 64), shake("wrapped dek", 32)
    place: Json = {
        "bucket_id": shake("bucket", 16).hex(),
        "key": "año/fichero.txt",
        "version_id": shake("version", 16).hex(),
    }
    place |= {"size": 9 << 20, "blob_count": 2}
    wrapped = wrap(kek, "kek-1", dek, version_context(place))
    upload = wrap(kek, "kek-1", dek, field(b"upload") + field(place["version_id"].encode()))
    cases: list[Json] = [
        {"comment": f"{name} changed", "with": {name: value}}
        for name, value in {
            "bucket_id": shake("another bucket", 16).hex(),
            "key": "an\u0303o/fichero.txt",
            "version_id": shake("another version", 16).hex(),
            "size": (9 << 20) + 1,
            "blob_count": 3,
            "kek_id": "kek-2",
            "kek": shake("another kek", 64).hex(),
        }.items()
    ]
    shifted = {"bucket_id": place["bucket_id"] + "a", "key": place["key"][1:]}
    cases.append({"comment": "the border between two fields moved", "with": shifted})
    for offset in (0, 15, 16, 47):
        changed = bytearray(wrapped)
        changed[offset] ^= 1
        cases.append({"comment": f"one bit of byte {offset} flipped", "with": {"wrapped": changed.hex()}})
    cases += [
        {"comment": f"cut off behind {length} bytes", "with": {"wrapped": wrapped[:length].hex()}}
        for length in (0, 15, 16, 47)
    ]
    cases.append({"comment": "a byte behind the end", "with": {"wrapped": wrapped.hex() + "00"}})
    cases.append({"comment": "wrapped for an upload", "with": {"wrapped": upload.hex()}})
    return {
        "format": "boveda/wrap-v1",
        "notes": ["version and upload are valid; each case changes arguments of version and must fail"],
        "version": place | {"kek": kek.hex(), "kek_id": "kek-1", "dek": dek.hex(), "wrapped": wrapped.hex()},
        "upload": {"version_id": place["version_id"], "wrapped": upload.hex()},
        "cases": cases,
    }


# -- the keyring file


def keyring_file() -> Json:
    passphrase, salt = "contraseña de prueba", shake("keyring salt", 16)
    cost = {"n": 1 << 10, "r": 8, "p": 1}
    keys = [{"id": f"kek-{i}", "created_at": 1.7e9 + i, "key": shake(f"keyring kek {i}", 64).hex()} for i in range(2)]
    plain = json.dumps({"active": "kek-1", "keys": keys}).encode()
    associated = b"".join(field(text) for text in (b"boveda-keyring-v1", b"scrypt"))
    associated += b"".join(number(cost[name]) for name in ("n", "r", "p")) + field(salt)
    key = hashlib.scrypt(passphrase.encode(), salt=salt, n=cost["n"], r=cost["r"], p=cost["p"], dklen=64)
    cipher = AES.new(key, AES.MODE_SIV)
    cipher.update(associated)
    ciphertext, iv = cipher.encrypt_and_digest(plain)
    sealed = iv + ciphertext
    document = {"format": "boveda-keyring-v1", "kdf": "scrypt", **cost}
    document |= {"salt": b64encode(salt).decode(), "sealed": b64encode(sealed).decode()}
    flipped = bytearray(sealed)
    flipped[-1] ^= 1
    changes: list[tuple[str, Json]] = [
        ("sealed bytes changed", {"sealed": b64encode(flipped).decode()}),
        ("sealed bytes cut off", {"sealed": b64encode(sealed[:-1]).decode()}),
        ("sealed bytes empty", {"sealed": ""}),
        ("salt changed", {"salt": b64encode(shake("another", 16)).decode()}),
        ("salt too short", {"salt": b64encode(salt[:8]).decode()}),
        ("salt not base64", {"salt": "*" * 24}),
        ("another n", {"n": 1 << 11}),
        ("another r", {"r": 4}),
        ("another p", {"p": 2}),
        ("n not a power of two", {"n": 1000}),
        ("n a text", {"n": "1024"}),
        ("n true", {"n": True}),
        ("n zero", {"n": 0}),
        ("n negative", {"n": -1024}),
        ("n that scrypt does not allow for r", {"n": 1 << 17, "r": 1}),
        ("memory above the limit", {"n": 1 << 20}),
        ("memory far above the limit", {"r": 1 << 40}),
        ("more passes than allowed", {"p": 5}),
        ("another format", {"format": "boveda-keyring-v2"}),
        ("another key derivation", {"kdf": "argon2id"}),
        ("an unknown member", {"comment": ""}),
    ]
    cases = [{"comment": comment, "with": change} for comment, change in changes]
    cases += [{"comment": f"no {name}", "without": name} for name in document]
    cases += [
        {"comment": "wrong passphrase", "passphrase": "contrasena de prueba"},
        {"comment": "passphrase with a blank behind it", "passphrase": passphrase + " "},
    ]
    return {
        "format": "boveda-keyring-v1",
        "notes": ["file opens with passphrase and holds active and keys; each case changes something and must fail"],
        "passphrase": passphrase,
        "file": document,
        "active": "kek-1",
        "keys": keys,
        "cases": cases,
    }


FILES = {"blob_v1.json": blob_file, "wrap_v1.json": wrap_file, "keyring_v1.json": keyring_file}


def content(name: str) -> str:
    return json.dumps(FILES[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in FILES:
        (FOLDER / name).write_text(content(name))

"""Project Wycheproof's vectors against the primitives as our own code calls them.

Each test counts what it ran, so that an empty or shrunken file fails.
"""

from __future__ import annotations

from collections import Counter

import pytest
from Crypto.Cipher import AES
from Crypto.Hash import HMAC, SHA512
from pydantic import SecretBytes

from common.crypto import siv
from common.crypto.stream import COMMITMENT, TAG, ChunkCipher, hkdf_expand
from common.errors import IntegrityError
from tests.vectors.sources import Json, wycheproof


def opens_as_a_chunk(case: Json) -> bool:
    cipher = ChunkCipher(case["key"], case["iv"], bytes(COMMITMENT))
    try:
        return cipher.open(0, case["ct"] + case["tag"]) == bytes(case["msg"])
    except IntegrityError:
        return False


def seals_as_a_chunk(case: Json) -> bytes:
    out = bytearray(len(case["msg"]) + TAG)
    ChunkCipher(case["key"], case["iv"], bytes(COMMITMENT)).seal(0, case["msg"], memoryview(out))
    return bytes(out)


def test_aes_gcm_chunks_agree_where_our_parameters_allow_the_case() -> None:
    """Nonces of 96 bits and no associated data: all that a chunk has."""
    seen: Counter[str] = Counter()
    for case in wycheproof("Cipher/wycheproof/aes_gcm_test.json"):
        if case["ivSize"] != 96 or case["aad"] or case["tagSize"] != 8 * TAG:
            continue
        seen[case["result"]] += 1
        assert opens_as_a_chunk(case) == (case["result"] == "valid"), case["tcId"]
        sealed = seals_as_a_chunk(case)
        assert (sealed == case["ct"] + case["tag"]) == (case["result"] == "valid"), case["tcId"]
    assert seen == {"valid": 64, "invalid": 81}


def test_aes_gcm_agrees_in_all_cases() -> None:
    """With other nonces and associated data, which our chunks never have, by a direct call."""
    seen: Counter[str] = Counter()
    for case in wycheproof("Cipher/wycheproof/aes_gcm_test.json"):
        seen[case["result"]] += 1
        try:
            cipher = AES.new(case["key"], AES.MODE_GCM, nonce=case["iv"], mac_len=TAG)
            cipher.update(case["aad"])
            good = cipher.decrypt_and_verify(case["ct"], case["tag"]) == case["msg"]
        except ValueError:
            good = False
        assert good == (case["result"] == "valid"), case["tcId"]
    assert seen == {"valid": 229, "invalid": 87}


def unwraps(case: Json) -> bool:
    try:
        return siv.unseal(SecretBytes(case["key"]), case["ct"], case["aad"]) == bytes(case["msg"])
    except IntegrityError:
        return False


def test_key_wrapping_agrees_with_the_aes_siv_vectors() -> None:
    seen: Counter[str] = Counter()
    for case in wycheproof("Cipher/wycheproof/aes_siv_cmac_test.json"):
        seen[case["result"]] += 1
        assert unwraps(case) == (case["result"] == "valid"), case["tcId"]
        if case["result"] == "valid":
            assert siv.seal(SecretBytes(case["key"]), case["msg"], case["aad"]) == case["ct"], case["tcId"]
    assert seen == {"valid": 118, "invalid": 324}


def test_aes_siv_with_a_nonce_agrees() -> None:
    """We wrap without a nonce; a nonce is the last component of the vector, which shows S2V over two of them."""
    seen: Counter[str] = Counter()
    for case in wycheproof("Cipher/wycheproof/aead_aes_siv_cmac_test.json"):
        seen[case["result"]] += 1
        try:
            cipher = AES.new(case["key"], AES.MODE_SIV, nonce=case["iv"])
            cipher.update(case["aad"])
            good = cipher.decrypt_and_verify(case["ct"], case["tag"]) == case["msg"]
        except ValueError:
            good = False
        assert good == (case["result"] == "valid"), case["tcId"]
    assert seen == {"valid": 252, "invalid": 648}


def test_hkdf_expand_agrees() -> None:
    """The vectors extract first, which is one HMAC; what we wrote is the expanding."""
    seen: Counter[str] = Counter()
    for case in wycheproof("Protocol/wycheproof/hkdf_sha512_test.json"):
        seen[case["result"]] += 1
        extracted = HMAC.new(case["salt"] or bytes(64), case["ikm"], SHA512).digest()
        if case["result"] == "valid":
            assert hkdf_expand(extracted, case["info"], case["size"]) == case["okm"], case["tcId"]
        else:
            with pytest.raises(ValueError, match="255"):
                hkdf_expand(extracted, case["info"], case["size"])
    assert seen == {"valid": 80, "invalid": 3}

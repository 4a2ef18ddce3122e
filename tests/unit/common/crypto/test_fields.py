from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.crypto.envelope import dek_context, upload_context
from common.crypto.fields import fields

values = st.lists(st.binary(max_size=12), max_size=6)


@given(values, values)
def test_different_fields_never_give_the_same_bytes(first: list[bytes], second: list[bytes]) -> None:
    assert (fields(*first) == fields(*second)) == (first == second)


def test_texts_and_numbers_are_encoded_as_documented() -> None:
    assert fields("ñ", 258) == bytes.fromhex("00000002 c3b1 00000008 0000000000000102")


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_a_number_that_does_not_fit_is_refused(number: int) -> None:
    with pytest.raises(OverflowError):
        fields(number)


def test_the_context_of_an_upload_is_never_that_of_a_version() -> None:
    assert upload_context("v") != dek_context("upload", "v", "", 0, 0)

"""What a name on the command line means: BUCKET/KEY, or a bare KEY in the bucket `archivos`.

The first slash divides; everything behind it is the key, as it stands (`a//b` and `a/../x` are names like others).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import click

from common.errors import NotAllowed
from common.model.names import SPANISH_BUCKET, check_bucket_name, check_key


@dataclass(frozen=True, slots=True)
class Address:
    """An object, or with an empty key its bucket; `key` may also be the beginning of keys, where a command says so."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"

    @property
    def bucket_path(self) -> str:
        return f"/v1/buckets/{quote(self.bucket, safe='')}"

    def path(self, route: str = "objects") -> str:
        """The REST address of the key: below `objects` or below `copies`."""
        return f"{self.bucket_path}/{route}/{quote(self.key)}"

    def below(self, name: str) -> Address:
        """The key `name` under this prefix, checked."""
        return Address(self.bucket, check_key(self.key + name))


def parse(text: str, *, bare_is_bucket: bool = False) -> Address:
    """An address; NotAllowed if a part breaks the rules for names. A key may be empty only behind a bucket's slash."""
    bucket, slash, key = text.partition("/")
    if not slash and not bare_is_bucket:
        bucket, key = SPANISH_BUCKET, text
        check_key(key)
    elif key:
        check_key(key)
    return Address(check_bucket_name(bucket), key)


class AddressType(click.ParamType[Address]):
    """A click type around `parse`; what breaks the rules is wrong use."""

    name = "address"

    def __init__(self, *, bare_is_bucket: bool = False, needs_key: bool = True) -> None:
        self.bare_is_bucket = bare_is_bucket
        self.needs_key = needs_key

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            address = parse(str(value), bare_is_bucket=self.bare_is_bucket)
        except NotAllowed as error:
            self.fail(f"{value!r} is no name here: {error.detail}", param, ctx)
        if self.needs_key and not address.key:
            self.fail(f"{value!r} names a bucket; the key of an object has to follow", param, ctx)
        return address


OBJECT = AddressType()
OBJECT_OR_BUCKET = AddressType(needs_key=False)
PREFIX = AddressType(bare_is_bucket=True, needs_key=False)


class BucketType(click.ParamType[str]):
    name = "bucket"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_bucket_name(str(value).removesuffix("/"))
        except NotAllowed as error:
            self.fail(f"{value!r} is no bucket's name: {error.detail}", param, ctx)


BUCKET = BucketType()

"""`put`, `get`, `cat`: objects in and out, streamed.

put: 1. all files and names are looked at before anything is sent, 2. each file is one request, in order, with its
length and SHA-256, which the API compares before it commits (a pipe's are not known before); a large one is several
requests, which go on after a break (`cli/transfer/resumable.py`), 3. the size it says it stored is compared with what
was read. The first failure ends the command; what was stored stays stored.
get, cat: see `cli/transfer/download.py` and `cli/transfer/part_file.py`.
"""

from __future__ import annotations

import io
import mimetypes
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cli.client.address import OBJECT, Address, parse
from cli.client.http import AnswerCut, Client, Refused, Unreachable, connect
from cli.command import ClientCommand
from cli.output import columns, document, size
from cli.progress import Bars, bars
from cli.transfer import resumable
from cli.transfer.backoff import PASSING
from cli.transfer.download import Download
from cli.transfer.part_file import PartFile, Stream
from cli.transfer.resumable import ResumableUpload, Tell
from cli.transfer.source_file import SourceFile
from cli.transfer.streams import LocalFile, UploadBody, sha256_of
from cli.transfer.upload_record import UploadRecord
from common.errors import NotAllowed
from common.model.names import SPANISH_BUCKET

STREAM = "-"


# -- put


@dataclass(frozen=True, slots=True)
class Item:
    """One file to send. `file` may be `-`."""

    file: str
    address: Address


@click.command(cls=ClientCommand, short_help="Store files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE… [BUCKET/KEY]")
@click.option("--to", metavar="BUCKET/KEY", help="The destination, where it could be taken for a file.")
@click.option("--content-type", metavar="TYPE", help="Default: guessed from the file's name.")
@click.option("--meta", multiple=True, metavar="NAME=VALUE", help="Kept with the object and returned as X-Meta-NAME.")
@click.option("--write-copies", type=click.IntRange(1), help="Answer only when so many nodes have it.")
def put(
    files: Sequence[str],
    to: str | None,
    content_type: str | None,
    meta: Sequence[str],
    write_copies: int | None,
    as_json: bool,
) -> None:
    """Store FILEs as objects; `-` is standard input.

    Without BUCKET/KEY a file keeps its name, in the bucket archivos. A BUCKET/KEY that ends in `/` is a prefix for the
    files' names. An object that is there already is replaced. Files above 64 MiB go in pieces: what breaks off goes on
    where it was, by itself, or when the same command is given again within a day.
    """
    items = plan(files, to)
    headers = {f"X-Meta-{name}": value for name, value in map(_meta, meta)}
    if content_type is not None and not (content_type.isascii() and content_type.isprintable()):
        raise click.UsageError(f"--content-type {content_type!r}: printable ASCII")
    if write_copies is not None:
        headers["X-Write-Copies"] = str(write_copies)
    client = connect()
    tell = _silent if as_json else _tell
    stored: list[Any] = []
    try:
        with bars(quiet=as_json) as progress:
            for item in items:
                kind = content_type or _guess(item.address.key)
                stored.append(_put(client, item, {**headers, "Content-Type": kind}, progress, tell))
    finally:
        _report(stored, as_json)


def _report(stored: Sequence[Any], as_json: bool) -> None:
    """Also after a failure: what came before it is there."""
    if as_json and stored:
        document({"objects": stored})
    elif stored:
        columns([f"{done['bucket']}/{done['key']}", size(done["size"]), _copies(done)] for done in stored)


def plan(files: Sequence[str], to: str | None) -> Sequence[Item]:
    """Which file goes where. UsageError if that is not clear, or a file is not there."""
    if to is None:
        files, to = _split(files)
    for file in files:
        if file != STREAM and not os.path.exists(file):
            hint = "" if len(files) == 1 else f"; for a destination write BUCKET/{file} or {file}/"
            raise click.UsageError(f"there is no file {file!r}{hint}")
        if os.path.isdir(file):
            raise click.UsageError(f"{file!r} is a folder; name the files in it")
    try:
        destination = parse(to if to is not None else f"{SPANISH_BUCKET}/")
        below = not destination.key or destination.key.endswith("/")
        if len(files) > 1 and not below:
            raise click.UsageError(f"several files need a destination that ends in '/': {to}/")
        items = [Item(file, destination.below(_name(file)) if below else destination) for file in files]
    except NotAllowed as error:
        raise click.UsageError(f"no such destination is possible: {error.detail}") from None
    if len({item.address for item in items}) < len(items):
        raise click.UsageError("two of these files have the same name; the second would replace the first")
    return items


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """The last argument is the destination if it can be one and is no file; if it is both, the user has to say."""
    last = arguments[-1]
    if len(arguments) == 1 or last == STREAM or "/" not in last:
        return arguments, None
    try:
        parse(last)
    except NotAllowed:
        return arguments, None
    if os.path.exists(last):
        raise click.UsageError(
            f"{last!r} is a file and could be a destination: write ./{last} for the file, --to {last} for the other"
        )
    return arguments[:-1], last


def _name(file: str) -> str:
    if file == STREAM:
        raise click.UsageError("standard input has no name: say BUCKET/KEY")
    return os.path.basename(file)


def _meta(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    plain = name.replace("-", "")
    if not equals or not (plain.isalnum() and plain.isascii()) or not value.isprintable():
        raise click.UsageError(f"--meta {text!r}: NAME=VALUE, printable; the name of ASCII letters, digits and -")
    return name, value


def _guess(key: str) -> str:
    kind, encoding = mimetypes.guess_type(key, strict=False)
    if encoding:  # a .tar.gz is stored as what it is: nobody may unpack it on the way
        kind = f"application/{encoding}"
    return kind or "application/octet-stream"


def _put(client: Client, item: Item, headers: dict[str, str], progress: Bars, tell: Tell) -> Any:
    with ExitStack() as stack:
        source, length = _open(item.file, stack)
        if length is not None and length > resumable.LARGE:
            file = SourceFile(source, item.file)
            noted = stack.enter_context(closing(UploadRecord(client.url, str(item.address), item.file)))
            return ResumableUpload(client, item.address, file, headers, noted, progress, tell).run()
        if length is not None:
            headers["Content-Length"] = str(length)
            headers["Repr-Digest"] = sha256_of(source)
        body = UploadBody(source, item.file, length, progress.start(str(item.address), length))
        answer = client.send("PUT", item.address.path(), headers=headers, body=body)
        stored = client.parsed(answer)
        body.check(int(stored["size"]))
        return stored


def _open(file: str, stack: ExitStack) -> tuple[io.RawIOBase, int | None]:
    """The file and its length; None where only its end will tell (pipes, devices)."""
    stream = file == STREAM
    try:
        # Unbuffered: what a slow pipe gives goes out at once, or the API would take the client for dead.
        source = stack.enter_context(io.FileIO(0 if stream else file, closefd=not stream))
        status = os.fstat(source.fileno())
    except OSError as error:
        raise LocalFile(f"cannot read {file}: {error.strerror}") from error
    return source, status.st_size if stat.S_ISREG(status.st_mode) and not stream else None


def _copies(stored: Any) -> str:
    """Nothing where it is not known: `ResumableUpload` may not have been allowed to look."""
    return f"{stored['copies']['stored']}/{stored['copies']['wanted']} copies" if stored["copies"] else ""


def _tell(line: str) -> None:
    click.echo(f"boveda: {line}", err=True)


def _silent(_line: str) -> None:
    return None


# -- get and cat


@click.command(cls=ClientCommand, short_help="Fetch an object into a file.")
@click.argument("source", type=OBJECT, metavar="[BUCKET/]KEY")
@click.argument("target", required=False, metavar="[FILE|FOLDER|-]")
def get(source: Address, target: str | None, as_json: bool) -> None:
    """Fetch an object into FILE (default: the last part of its key, here); `-` is standard output.

    A file that is there already is replaced, and only when the whole object has come and its digest is right. What
    breaks off goes on where it was: by itself, or when the same command is given again.
    """
    if target == STREAM:
        _cat(connect(), source)
        return
    path = _target(source, target)
    client = connect()
    with bars(quiet=as_json) as progress:
        # Devices and pipes have no "beside".
        fetch = _into_stream if path.exists() and not path.is_file() else _into_file
        etag, count = fetch(client, source, Path(os.path.realpath(path)), progress)
    if as_json:
        document({"bucket": source.bucket, "key": source.key, "etag": etag, "size": count, "file": str(path)})
    else:
        click.echo(f"{path}  {size(count)}")


def _into_file(client: Client, source: Address, path: Path, progress: Bars) -> tuple[str | None, int]:
    part = PartFile(path)
    try:
        Download(client, source, part, progress).run()
        done = part.etag, part.count
        part.finish()
        return done
    except (AnswerCut, Unreachable) as error:
        if not part.keep():
            raise
        raise type(error)(f"{error.detail}; {size(part.count)} are kept, the same command goes on from there") from None
    except Refused as error:
        if error.status in PASSING:
            part.keep()
        raise
    except KeyboardInterrupt:
        part.keep()
        raise
    finally:
        part.close()


def _into_stream(client: Client, source: Address, path: Path, progress: Bars) -> tuple[str | None, int]:
    try:
        with path.open("wb") as out:
            sink = Stream(out, str(path))
            Download(client, source, sink, progress).run()
            sink.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LocalFile(f"cannot write {path}: {error.strerror}") from error
    return sink.etag, sink.count


def _target(source: Address, target: str | None) -> Path:
    if target is not None and not os.path.isdir(target) and not target.endswith("/"):
        return Path(target)
    name = source.key.rpartition("/")[2]
    if name in ("", ".", ".."):
        raise click.UsageError(f"{source} has no name for a file in it: say which FILE to write")
    return Path(target or ".") / name


@click.command(cls=ClientCommand, short_help="Write objects to standard output.")
@click.argument("sources", type=OBJECT, nargs=-1, required=True, metavar="[BUCKET/]KEY…")
def cat(sources: Sequence[Address], as_json: bool) -> None:
    """Write objects to standard output, one behind the other.

    What went out cannot be taken back: exit status 0 says that all of it was right. `--json` shapes errors only.
    """
    client = connect()
    for source in sources:
        _cat(client, source)


def _cat(client: Client, source: Address) -> None:
    out = Stream(sys.stdout.buffer, "standard output")
    Download(client, source, out, Bars()).run()
    out.flush()

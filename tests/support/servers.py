"""Real servers for tests: storage nodes, the queue, PostgreSQL. Each has its own folder, ports and random secrets.

Each can be killed, stopped, hung (SIGSTOP) and started again, by its pid only, and keeps its data and address then.
What a machine does not have makes its tests be skipped, or fail where BOVEDA_TEST_REQUIRE=all says that nothing may be.
"""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

import psycopg
import pytest
from redis import Redis, RedisError

from cli.cluster.home import programs, servers
from cli.cluster.home.servers import Credentials, Launch, NodeKind
from cli.cluster.host import ports
from common.blobstore.base import Deadline
from common.blobstore.s3_store import S3Store, open_store
from common.errors import NodeError
from common.model.nodes import NodeSpec
from tests.support.waiting import wait_until

START_SECONDS = 30.0
TRUST_SECONDS = 10.0
NO_POSTGRES = "no PostgreSQL server (15 or newer) is installed"

T = TypeVar("T")


def absent(reason: str) -> NoReturn:
    """Skip this test for want of a server, or fail it where all of them are required."""
    if os.environ.get("BOVEDA_TEST_REQUIRE") == "all":
        pytest.fail(f"{reason}, and BOVEDA_TEST_REQUIRE=all", pytrace=False)
    pytest.skip(reason)


def tool(name: str) -> str:
    """A program that a test runs as its users do."""
    return shutil.which(name) or absent(f"no {name} is installed")


def until_taken(send: Callable[[], T], refused: Callable[[T], bool]) -> T:
    """What `send` gives, sent again for some seconds while it is refused.

    For the first uploads to a cluster: `/readyz` speaks for one process of the API, another may trust a node later.
    """
    end = time.monotonic() + TRUST_SECONDS
    while refused(given := send()) and time.monotonic() < end:
        time.sleep(0.2)
    return given


class Server:
    """A process of a foreign server in a session of its own."""

    def __init__(self, launch: Launch, folder: Path, user: str | None = None) -> None:
        self.launch = launch
        self.folder = folder
        self.log = folder / "log"
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and wait until it serves."""
        assert not self.running
        for path, text in self.launch.files.items():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.launch.argv,
                env=dict(self.launch.env),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._user,
                umask=0o077,
            )
        wait_until(self._settled, what=f"{self.launch.argv[0]} serves")
        if not self.running:
            raise RuntimeError(f"it ended at once:\n{self.log.read_text(errors='replace')[-2000:]}")

    def ready(self) -> bool:
        """Whether it serves now."""
        return answers(self.launch.endpoint + self.launch.ready)

    def stop(self) -> None:
        """End it in good order; kill it if it does not."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9, the whole group."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Hang it (SIGSTOP): connections are taken and never answered."""
        os.killpg(self.pid, signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        wait_until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", what="it hangs")

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def _settled(self) -> bool:
        return not self.running or self.ready()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
            os.killpg(process.pid, signal.SIGCONT)
        try:
            process.wait(self.launch.grace)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def answers(url: str) -> bool:
    """Whether a GET there is answered with success."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class RealNode(Server):
    """A storage node with a bucket. `spec` and `credentials` (a folder of files) are what Bóveda is told of it."""

    def __init__(self, kind: NodeKind, folder: Path, name: str = "node1", bucket: str = "boveda") -> None:
        program = programs.find_node(kind)
        if program is None:
            absent(f"no {kind} server is installed")
        self.kind = kind
        self.secrets = Credentials.random()
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(servers.node(kind, program, folder, ports.pick(servers.PORTS[kind]), self.secrets), folder)
        self.blobs.mkdir()
        self.credentials = folder / "credentials"
        self.credentials.mkdir(mode=0o700)
        self.credentials_file = self.credentials / f"{name}.json"
        self.credentials_file.write_text(self.secrets.document())
        self.credentials_file.chmod(0o600)
        self.spec = NodeSpec(name=name, endpoint=self.launch.endpoint, bucket=bucket, credentials=name)
        self._buckets = itertools.count(1)

    @property
    def endpoint(self) -> str:
        return self.launch.endpoint

    @property
    def blobs(self) -> Path:
        """The folder that is the node's disk."""
        return self.folder / "data"

    def start(self) -> None:
        super().start()
        self.make_bucket(self.spec.bucket)

    def make_bucket(self, bucket: str) -> None:
        """Make it, and wait until a blob can be written (a node that has just started may still refuse)."""
        with_store = self.store(bucket)
        try:
            wait_until(lambda: _takes_a_blob(with_store), what=f"{self.kind} takes a blob")
        finally:
            with_store.close()

    def fresh_bucket(self) -> NodeSpec:
        """The same node with an empty bucket of its own: what a test of a shared node uses."""
        bucket = f"t{next(self._buckets)}-{secrets.token_hex(4)}"
        self.make_bucket(bucket)
        return NodeSpec(self.spec.name, self.spec.endpoint, bucket, self.spec.credentials)

    def store(self, bucket: str | None = None) -> S3Store:
        """A client of it; the caller closes it."""
        spec = NodeSpec(self.spec.name, self.spec.endpoint, bucket or self.spec.bucket, self.spec.credentials)
        return open_store(spec, self.credentials_file)

    def wipe(self) -> None:
        """Lose the disk. The node has to be stopped; it comes back without its bucket."""
        assert not self.running, "stop it first: MinIO refuses everything when its disk is wiped while it runs"
        shutil.rmtree(self.blobs)
        self.blobs.mkdir()

    def start_without_bucket(self) -> None:
        """Start as it stands, bucket or none: what a supervisor does."""
        super().start()


def _takes_a_blob(store: S3Store) -> bool:
    try:
        store.create(Deadline(5))
        store.put("ready", b"?", Deadline(5))
        store.delete("ready", Deadline(5))
    except NodeError:
        return False
    return True


class RealQueue(Server):
    """Redis or Valkey with a password; `url` carries it."""

    def __init__(self, folder: Path) -> None:
        program = programs.find_queue()
        if program is None:
            absent("no redis-server or valkey-server is installed")
        self.password = secrets.token_hex(16)
        (self.port,) = ports.pick(1)
        super().__init__(servers.queue(program, folder, self.port, self.password), folder)
        self.url = f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def ready(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False

    def client(self) -> Redis:
        return Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=1)

    def flush(self) -> None:
        with self.client() as client:
            client.flushdb()


class RealPostgres(Server):
    """PostgreSQL, never as root, in a folder of its user's own. `databases` are made from the template by number."""

    def __init__(self) -> None:
        programs = find_postgres()
        if programs is None:
            absent(NO_POSTGRES)
        self._user = _plain_user()
        self.password = secrets.token_hex(16)
        (self.port,) = ports.pick(1)
        folder = Path(tempfile.mkdtemp(prefix="boveda-test-pg-"))  # pytest's own folders are closed to other users
        self._initialise(programs, folder)
        options = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=100")
        listen = ("-h", "127.0.0.1", "-p", str(self.port), "-k", "")
        argv = (str(programs / "postgres"), "-D", str(folder / "db"), *listen, *(f"-c{option}" for option in options))
        launch = Launch(argv, _locale_environment(), f"127.0.0.1:{self.port}")
        super().__init__(launch, folder, self._user)
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://boveda:{self.password}@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """A new, empty database; its name."""
        name = f"test{next(self._numbers)}"
        self._do(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        self._do(f"DROP DATABASE {name} WITH (FORCE)")

    def ready(self) -> bool:
        try:
            self._do("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def settle(self) -> None:
        """Have all that was done so far survive a crash, and nothing that follows written for some seconds."""
        self._do("ALTER SYSTEM SET wal_writer_delay = '10s'")
        self._do("SELECT pg_reload_conf()")
        self._do("CHECKPOINT")

    def stop(self) -> None:
        self._end(signal.SIGINT)  # its fast shutdown; SIGTERM would wait for clients

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _do(self, statement: str) -> None:
        url = self.url("postgres").replace("+psycopg", "")
        with psycopg.connect(url, connect_timeout=2, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _initialise(self, programs: Path, folder: Path) -> None:
        word = folder / "password"
        word.write_text(self.password)
        if self._user is not None:
            shutil.chown(folder, self._user)
            shutil.chown(word, self._user)
        common = (str(programs / "initdb"), "-D", str(folder / "db"), "-U", "boveda", "-A", "scram-sha-256")
        # A collation that is not the order of bytes shows whether the catalogue asks for its own.
        collations = (("--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8"), ("--locale=C",))
        for collation in collations:
            argv = (*common, "-E", "UTF8", "-N", f"--pwfile={word}", *collation)
            made = subprocess.run(
                argv,
                env=_locale_environment(),
                cwd=folder,
                user=self._user,
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode == 0:
                return
        raise RuntimeError(f"initdb failed: {made.stderr}")


def _locale_environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "TZ": "UTC"}


def _plain_user() -> str | None:
    """Whom to run as: PostgreSQL refuses root. None: as we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            pwd.getpwnam(name)
            return name
    return absent("no user but root is there to run PostgreSQL")


def find_postgres() -> Path | None:
    """The folder with initdb and postgres, of the newest version there is, 15 or newer."""
    folders = [Path(found).parent for found in (shutil.which("initdb"),) if found]
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True
    )
    folders += Path("/usr/pgsql").parent.glob("pgsql-*/bin")
    return next((folder for folder in folders if _is_new_enough(folder)), None)


def _is_new_enough(folder: Path) -> bool:
    if not (folder / "postgres").exists() or not (folder / "initdb").exists():
        return False
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    number = said.split()[2].split(".")[0] if len(said.split()) > 2 else ""
    return number.isdigit() and int(number) >= 15


def free_port() -> int:
    (port,) = ports.pick(1)
    return port


def refuses(port: int) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0

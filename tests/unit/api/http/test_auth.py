"""Who may do what: on a loopback address by Host and Origin, elsewhere by bearer tokens with scopes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from api.http.auth import SCOPES
from common.catalogue.access import Token
from common.errors import ConfigurationError
from tests.unit.api.conftest import MakeApi
from tests.unit.api.world import ApiWorld, problem

PATH = "/v1/buckets/casa/objects/a"
ADMIN = "an-admin-token-of-the-test"


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5000", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:80", "[::1]:5000", "[::1]"]
)
def test_own_hosts_are_answered(shared: ApiWorld, host: str) -> None:
    assert shared.client.get("/v1/buckets", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "localhost:5000:1",
        "evil:5000@localhost",
        "",
        "localhost:",
        "[::2]",
        "::1",
    ],
)
@pytest.mark.parametrize("path", ["/v1/buckets", "/healthz", "/nothing"])
def test_foreign_host_answers_403(shared: ApiWorld, host: str, path: str) -> None:
    problem(shared.client.get(path, headers={"Host": host}), 403, "forbidden")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "https://evil.example:5000",
        "http://localhost.evil.example:5000",
        "http://localhost:3000",  # another port is another's page
        "http://localhost",
        "file://",
        "chrome-extension://abcdef",
        "http://evil@localhost:5000",
        "localhost:5000",
        "http://[bad:5000",
        "",
    ],
)
def test_foreign_origin_answers_403(shared: ApiWorld, origin: str) -> None:
    headers = {"Host": "localhost:5000", "Origin": origin}
    problem(shared.client.put(PATH, data=b"1", headers=headers), 403, "forbidden")
    problem(shared.client.get("/v1/buckets", headers=headers), 403, "forbidden")


@pytest.mark.parametrize("origin", ["http://localhost:5000", "http://127.0.0.1:5000"])
def test_own_origin_is_answered(shared: ApiWorld, origin: str) -> None:
    headers = {"Host": "localhost:5000", "Origin": origin}
    assert shared.client.get("/v1/buckets", headers=headers).status_code == 200


@pytest.fixture
def guarded(make_api: MakeApi, tmp_path: Path) -> ApiWorld:
    """With tokens: the admin's, and one for each scope whose secret is the scope's name."""
    file = tmp_path / "admin-token"
    file.write_text(ADMIN + "\n")
    api = make_api(auth="token", admin_token_file=file)
    for scope in SCOPES:
        api.catalogue.tokens.ensure(scope + "-only", hashlib.sha256(scope.encode()).hexdigest(), [scope])
    return api


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer \xff"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": hashlib.sha256(b"read").hexdigest()},
        {"Authorization": "Bearer " + hashlib.sha256(b"read").hexdigest()},
    ],
)
@pytest.mark.parametrize("path", ["/v1/buckets", PATH, "/metrics", "/v1/status", "/descargar/a", "/nothing"])
def test_without_a_known_token_answers_401(guarded: ApiWorld, headers: dict[str, str], path: str) -> None:
    response = guarded.client.get(path, headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/v1/openapi.json"])
def test_open_addresses_need_no_token_and_answer_any_host(guarded: ApiWorld, path: str) -> None:
    assert guarded.client.get(path, headers={"Host": "api.example"}).status_code == 200


def test_options_needs_no_token(guarded: ApiWorld) -> None:
    assert guarded.client.options("/v1/buckets").status_code == 200


def test_first_admin_token_comes_from_its_file_and_may_do_everything(guarded: ApiWorld) -> None:
    admin = bearer(ADMIN)
    assert guarded.client.put("/v1/buckets/nuevo", headers=admin).status_code == 201
    assert guarded.client.put(PATH, data=b"1", headers=admin).status_code == 201
    assert guarded.client.delete(PATH, headers=admin).status_code == 204
    assert guarded.client.get("/metrics", headers=admin).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/buckets", "read"),
        ("GET", "/v1/buckets/casa/objects", "read"),
        ("GET", "/v1/status", "read"),
        ("GET", "/v1/nodes", "read"),
        ("GET", "/v1/jobs", "read"),
        ("PUT", PATH, "write"),
        ("DELETE", PATH, "delete"),
        ("DELETE", "/eliminar/a", "delete"),
        ("GET", "/descargar/a", "read"),
        ("POST", "/cargar", "write"),
        ("GET", "/metrics", "metrics"),
        ("PUT", "/v1/buckets/otro", "admin"),
        ("DELETE", "/v1/buckets/otro", "admin"),
        ("POST", "/v1/jobs", "admin"),
        ("PATCH", "/v1/nodes/n0", "admin"),
        ("POST", "/v1/nodes", "admin"),
        ("DELETE", "/v1/nodes/n0", "admin"),
        ("POST", "/v1/nodes/simulate-loss", "admin"),
        ("GET", "/v1/dead-letters", "read"),
        ("POST", "/v1/dead-letters/retry", "admin"),
        ("POST", "/v1/dead-letters/1/retry", "admin"),
        ("DELETE", "/v1/dead-letters/1", "admin"),
    ],
)
def test_each_route_wants_its_scope(guarded: ApiWorld, method: str, path: str, scope: str) -> None:
    for offered in SCOPES:
        status = guarded.client.open(path, method=method, headers=bearer(offered)).status_code
        assert (status != 403) == (offered in (scope, "admin")), offered
        assert status != 401


def test_admin_file_that_cannot_serve_is_named_at_the_start(make_api: MakeApi, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("short")
    for name in ("short", "absent"):
        api = make_api(auth="token", admin_token_file=tmp_path / name)
        with pytest.raises(ConfigurationError, match="BOVEDA_ADMIN_TOKEN_FILE"):
            api.services.guard.start()


def test_token_for_one_bucket_opens_no_other(guarded: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    token = Token("1", "t", SCOPES, ("casa",), None)
    monkeypatch.setattr(guarded.catalogue.tokens, "find", lambda _: token)
    headers = bearer("whatever")
    assert guarded.client.put(PATH, data=b"1", headers=headers).status_code == 201
    assert guarded.client.get("/v1/buckets/casa/copies/a", headers=headers).status_code == 200
    names = [bucket["name"] for bucket in guarded.client.get("/v1/buckets", headers=headers).get_json()["buckets"]]
    assert names == ["casa"]
    for path in ("/v1/buckets/archivos", "/v1/buckets/archivos/objects/a", "/descargar/a", "/v1/nodes", "/v1/jobs"):
        assert guarded.client.get(path, headers=headers).status_code == 403


def test_tokens_are_stored_hashed(guarded: ApiWorld) -> None:
    guarded.client.get("/v1/buckets", headers=bearer(ADMIN))
    database = Path(str(guarded.catalogue.database.engine.url.database))
    stored = b"".join(path.read_bytes() for path in database.parent.glob(database.name + "*"))
    assert hashlib.sha256(ADMIN.encode()).hexdigest().encode() in stored
    assert ADMIN.encode() not in stored

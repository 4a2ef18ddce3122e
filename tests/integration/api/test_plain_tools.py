"""The contract's own lines of `curl` and `ab`, against a real server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.integration.api.conftest import Server
from tests.support.servers import tool


def run(program: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run([tool(program), *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_curl_lines_of_the_contract_work(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Actividad.txt").write_text("hola, Bóveda\n")
    assert '"archivo":"Actividad.txt"' in run(
        "curl", "-sSF", "archivo=@Actividad.txt", f"{server.url}/cargar", cwd=tmp_path
    )
    run("curl", "-sS", f"{server.url}/descargar/Actividad.txt", "--output", "descargado.txt", cwd=tmp_path)
    assert (tmp_path / "descargado.txt").read_text() == "hola, Bóveda\n"
    assert "mensaje" in run("curl", "-sSX", "DELETE", f"{server.url}/eliminar/Actividad.txt", cwd=tmp_path)
    missing = run("curl", "-sS", "-w", "%{http_code}", f"{server.url}/descargar/Actividad.txt", cwd=tmp_path)
    assert missing == '{"error": "archivo no encontrado"}404'


def test_curl_uploads_and_downloads_several_blobs(server: Server, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(range(256)) * 4096 * 5)
    address = f"{server.url}/v1/buckets/casa/objects/big"
    assert run("curl", "-sS", "-w", "%{http_code}", "-o", "out", "-T", "big", address, cwd=tmp_path) in ("200", "201")
    run("curl", "-sS", "-o", "back", address, cwd=tmp_path)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()


def test_ab_lines_of_the_contract_fail_nowhere(server: Server, tmp_path: Path) -> None:
    """`ab` speaks HTTP/1.0 and closes after each answer, or keeps the connection with -k."""
    form = b'--xyz\r\nContent-Disposition: form-data; name="archivo"; filename="ab.bin"\r\n\r\n%b\r\n--xyz--\r\n'
    (tmp_path / "form").write_bytes(form % bytes(16384))
    upload = ["-p", "form", "-T", "multipart/form-data; boundary=xyz"]
    for extra in ([], ["-k"]):
        for arguments, path in ((upload, "/cargar"), ([], "/descargar/ab.bin")):
            report = run("ab", *extra, "-n", "60", "-c", "6", *arguments, f"{server.url}{path}", cwd=tmp_path)
            assert re.search(r"Complete requests:\s+60\b", report), report
            assert re.search(r"Failed requests:\s+0\b", report), report
            assert "Non-2xx" not in report, report

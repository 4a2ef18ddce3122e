"""What can be said of the container files without an engine; `make compose-test` runs them for real."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path

import pytest

from common.nodes_file import read_nodes
from common.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "compose"
# Of compose itself, not settings of a process.
OWN = {"BOVEDA_WORKERS", "BOVEDA_BUILD_NETWORK", "BOVEDA_SECRETS"}
FILES = [COMPOSE / "docker-compose.yml", COMPOSE / "env.example", ROOT / "Dockerfile.api", ROOT / "Dockerfile.worker"]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    subprocess.run([COMPOSE / "secrets.sh", folder], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_setting_that_is_given_to_a_container_exists(file: Path) -> None:
    known = {f"BOVEDA_{name}".upper() for name in Settings.model_fields} | OWN
    named = set(re.findall(r"\bBOVEDA_[A-Z_]+\b", file.read_text()))
    assert named <= known


def test_every_image_has_a_tag_and_none_is_latest() -> None:
    defaults = re.findall(
        r"\b(?:image: |[A-Z]+_IMAGE:-)([a-z][\w./-]*)(:[\w.-]+)?", (COMPOSE / "docker-compose.yml").read_text()
    )
    assert len(defaults) >= 7
    assert [image for image, tag in defaults if tag in ("", ":latest")] == []


def test_the_dockerfiles_need_no_frontend_from_a_registry_and_end_as_a_plain_user() -> None:
    for name in ("Dockerfile.api", "Dockerfile.worker"):
        text = (ROOT / name).read_text()
        assert "# syntax=" not in text
        assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1].split(":")[0] not in ("0", "root")
        assert "--require-hashes" in text
        assert "\nHEALTHCHECK " in text


def test_every_mounted_secret_is_made_and_the_folder_is_closed(made: Path) -> None:
    mounted = set(re.findall(r"BOVEDA_SECRETS:-\./secrets\}/([\w.]+)", (COMPOSE / "docker-compose.yml").read_text()))
    assert mounted <= {file.name for file in made.iterdir()}
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_a_second_run_changes_no_secret_and_adds_what_is_missing(made: Path) -> None:
    before = {file.name: file.read_text() for file in made.iterdir()}
    (made / "passphrase").unlink()
    subprocess.run([COMPOSE / "secrets.sh", made], check=True, capture_output=True)
    after = {file.name: file.read_text() for file in made.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"passphrase"}


def test_each_node_has_credentials_of_its_own(made: Path) -> None:
    nodes = read_nodes(COMPOSE / "nodes.json")
    keys = [json.loads((made / f"{node.credentials}.json").read_text()) for node in nodes]
    assert len({key["access_key"] for key in keys} | {key["secret_key"] for key in keys}) == 2 * len(nodes)
    for node, key in zip(nodes, keys, strict=True):
        assert (made / f"{node.name}.user").read_text() == key["access_key"]
        assert (made / f"{node.name}.password").read_text() == key["secret_key"]

"""What may import what, what an import may do, and what a text of this project may not say."""

import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gateway", "blocks", "tasks", "flows", "deployments", "infra")

# Names are put together here, so that this file obeys its own rule.
_REGISTRIES = ("pypi" + ".org", "pythonhosted" + ".org", "anaconda" + ".org", "npmjs" + ".org", "index-" + "url =")
_MACHINE_PATH = re.compile(r"(?<![\w./>$}-])/(?:root|home/\w+|work|Users|mnt|tmp/\w+)/[\w.-]+")

_WATCHED_IMPORT = """
import importlib, json, socket, sys
sys.dont_write_bytecode = True

def refuse(*_, **__):
    raise AssertionError("an import opened a connection")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(sys.modules)))
"""


def imported_by(directory: Path, *modules: str) -> set[str]:
    """The top-level packages of ``imported_names``."""
    return {name.partition(".")[0] for name in imported_names(directory, *modules)}


def imported_names(directory: Path, *modules: str) -> set[str]:
    """What is in ``sys.modules`` after a new process, offline in ``directory``, has imported ``modules``."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "PYTHONPATH": str(ROOT), "TMPDIR": str(directory)}
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED_IMPORT, json.dumps(modules)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_of(package: str) -> Iterator[str]:
    yield package
    for found in pkgutil.walk_packages([str(ROOT / package)], prefix=f"{package}."):
        # ``__main__`` and Alembic's environment are scripts: to import them is to run them.
        if not found.name.endswith(("__main__", "migrations.env")):
            yield found.name


def test_the_online_path_brings_nothing_of_the_control_plane(tmp_path: Path) -> None:
    brought = imported_by(tmp_path, "gateway.app", *modules_of("gateway"))
    assert {"gateway", "fastapi", "sqlalchemy"} <= brought
    assert not brought & {"prefect", "mlflow", "evidently", "pandas", "scipy", "matplotlib", "infra", "tests"}
    assert list(tmp_path.iterdir()) == []


def test_the_flows_of_every_minute_start_without_what_few_of_their_runs_need(tmp_path: Path) -> None:
    """Each run is a new process: an import of theirs is paid three times a minute, all day."""
    names = imported_names(tmp_path, "flows.score_calls", "flows.advance_canaries", "flows.advance_experiments")
    heavy = {"mlflow", "evidently", "pandas", "matplotlib", "scipy.stats", "openai", "anthropic", "fastapi"}
    assert {"prefect", "scipy.special"} <= names
    assert not names & heavy


def test_importing_does_no_input_or_output(tmp_path: Path) -> None:
    """One process for all: most of the time goes into importing what these packages stand on."""
    imported_by(tmp_path, *(module for package in PACKAGES for module in modules_of(package)))
    # Prefect makes its own home when it is imported, whoever imports it.
    assert [path.name for path in tmp_path.iterdir() if path.name not in (".prefect", ".config", ".cache")] == []


def tracked_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=30)
    if listed.returncode:
        pytest.skip("not a checkout")
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            try:
                yield name, path.read_text()
            except UnicodeDecodeError:
                continue


def test_no_text_names_a_package_registry_or_a_path_of_one_machine() -> None:
    told = []
    for name, text in tracked_texts():
        for number, line in enumerate(text.splitlines(), 1):
            if any(host in line for host in _REGISTRIES) or _MACHINE_PATH.search(line):
                told.append(f"{name}:{number}: {line.strip()[:120]}")
    assert told == []


def test_every_module_of_the_tests_is_in_a_package() -> None:
    """Two test files of one name in folders without ``__init__.py`` would shadow each other."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()] == []

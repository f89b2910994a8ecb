"""The commit of a file, from repositories as git lays them out."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.specs.commit import CHANGED, commit_of

ONE, TWO = "1" * 40, "2" * 64


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "yard" / "prompts" / "help").mkdir(parents=True)
    git = tmp_path / "yard" / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    return tmp_path / "yard"


def spec_of(repository: Path) -> Path:
    return repository / "prompts" / "help" / "prompt.yaml"


def test_of_a_branch(repository: Path) -> None:
    (repository / ".git" / "refs" / "heads" / "main").write_text(f"{ONE}\n")
    assert commit_of(spec_of(repository)) == ONE


def test_of_a_packed_branch(repository: Path) -> None:
    packed = f"# pack-refs with: peeled\n{TWO} refs/heads/other\n{ONE} refs/heads/main\n^{TWO}\n"
    (repository / ".git" / "packed-refs").write_text(packed)
    assert commit_of(spec_of(repository)) == ONE


def test_of_no_branch(repository: Path) -> None:
    (repository / ".git" / "HEAD").write_text(f"{TWO}\n")
    assert commit_of(spec_of(repository)) == TWO


def test_of_a_worktree(repository: Path, tmp_path: Path) -> None:
    (repository / ".git" / "refs" / "heads" / "side").write_text(ONE)
    place = repository / ".git" / "worktrees" / "side"
    place.mkdir(parents=True)
    (place / "HEAD").write_text("ref: refs/heads/side\n")
    (place / "commondir").write_text("../..\n")
    (tmp_path / "side").mkdir()
    (tmp_path / "side" / ".git").write_text(f"gitdir: {place}\n")
    assert commit_of(tmp_path / "side" / "prompt.yaml") == ONE


@pytest.mark.parametrize("head", ["ref: refs/heads/unborn", "ref: ../../secret", "ref: HEAD", "rubbish", ""])
def test_where_there_is_none(repository: Path, head: str) -> None:
    (repository / ".git" / "HEAD").write_text(head)
    assert commit_of(spec_of(repository)) == ""


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_what_was_not_committed_is_told(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        asked = ["git", "-C", str(tmp_path), "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments]
        subprocess.run(asked, check=True, capture_output=True, timeout=30)

    spec, other = tmp_path / "help" / "prompt.yaml", tmp_path / "other.txt"
    spec.parent.mkdir()
    spec.write_text("name: help\n")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    commit = commit_of(spec)
    assert len(commit) == 40
    other.write_text("elsewhere")
    assert commit_of(spec) == commit
    spec.write_text("name: help\nversion: 1.1.0\n")
    assert commit_of(spec) == commit + CHANGED
    git("add", ".")
    git("commit", "--quiet", "-m", "two")
    assert commit_of(spec) not in (commit, commit + CHANGED)
    (spec.parent / "golden.jsonl").write_text("{}\n")
    assert commit_of(spec).endswith(CHANGED)


def test_outside_of_a_repository(tmp_path: Path) -> None:
    assert commit_of(tmp_path / "prompt.yaml") == ""

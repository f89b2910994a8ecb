"""The commit of a file, from repositories as git lays them out."""

from pathlib import Path

import pytest

from tasks.specs.commit import commit_of

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


def test_outside_of_a_repository(tmp_path: Path) -> None:
    assert commit_of(tmp_path / "prompt.yaml") == ""

"""What a tenant may read from the disk: Markdown below its own folder of the root, and nothing else."""

import os
from pathlib import Path

import pytest

from gateway.errors import InvalidRequest
from tasks.document_folder import list_files, read_file


@pytest.fixture
def root(tmp_path: Path) -> str:
    manuals = tmp_path / "root" / "acme" / "manuals"
    manuals.mkdir(parents=True)
    (manuals / "b.md").write_text("# B\n\nAbout b.\n")
    (manuals / "a.md").write_text("\ufeff# A\nAbout a.")
    (manuals / "notes.txt").write_text("no document")
    (tmp_path / "root" / "other").mkdir()
    (tmp_path / "root" / "other" / "secret.md").write_text("# Secret\n\nOf another tenant.")
    return str(tmp_path / "root")


def test_markdown_files_are_listed_and_read(root: str) -> None:
    assert list_files(root, "acme", "manuals", 2) == ["a.md", "b.md"]
    assert read_file(root, "acme", "manuals", "a.md") == ("A", "About a.")


@pytest.mark.parametrize(
    ("tenant", "folder", "says"),
    [
        ("acme", "nowhere", "no such folder"),
        ("acme", "../other", "relative path"),
        ("acme", "/etc", "relative path"),
        ("..", "acme/manuals", "tenant"),
        ("acme/manuals", "x", "tenant"),
        ("nobody", "manuals", "no such folder"),
    ],
)
def test_nothing_else_is(root: str, tenant: str, folder: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        list_files(root, tenant, folder, 9)
    assert root not in caught.value.message


@pytest.mark.parametrize("name", ["../manuals/a.md", "/etc/passwd", "..", "", "c.md", "a.md/x", "."])
def test_files_are_names_in_the_folder(root: str, name: str) -> None:
    with pytest.raises(InvalidRequest):
        read_file(root, "acme", "manuals", name)


def test_links_do_not_lead_out(root: str, tmp_path: Path) -> None:
    own = tmp_path / "root" / "acme"
    (own / "out").symlink_to(tmp_path / "root" / "other")
    (own / "manuals" / "secret.md").symlink_to(tmp_path / "root" / "other" / "secret.md")
    (own / "round").symlink_to(own / "round")
    for folder in ("out", "round"):
        with pytest.raises(InvalidRequest, match="no such folder"):
            list_files(root, "acme", folder, 9)
    with pytest.raises(InvalidRequest, match="no such folder or file"):
        read_file(root, "acme", "manuals", "secret.md")


def test_a_pipe_is_no_file(root: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root" / "acme" / "manuals" / "pipe.md")
    with pytest.raises(InvalidRequest, match="no such folder or file"):
        read_file(root, "acme", "manuals", "pipe.md")


def test_what_is_no_document_is_said(root: str, tmp_path: Path) -> None:
    manuals = tmp_path / "root" / "acme" / "manuals"
    (manuals / "plain.md").write_text("no title")
    (manuals / "bytes.md").write_bytes(b"# T\n\n\xff")
    (manuals / "large.md").write_text("# T\n" + "x" * 1_100_000)
    for name, says in (("plain.md", "# Title"), ("bytes.md", "UTF-8"), ("large.md", "larger than")):
        with pytest.raises(InvalidRequest, match=says):
            read_file(root, "acme", "manuals", name)


def test_bounds_and_emptiness(root: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="more than 1"):
        list_files(root, "acme", "manuals", 1)
    (tmp_path / "root" / "acme" / "empty").mkdir()
    with pytest.raises(InvalidRequest, match=r"no \.md file"):
        list_files(root, "acme", "empty", 9)
    with pytest.raises(InvalidRequest, match="switched off"):
        list_files("", "acme", "manuals", 9)

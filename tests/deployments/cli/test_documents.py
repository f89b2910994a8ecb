import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.cli.document_files import UnreadableDocument, read_documents
from deployments.cli.gateway_client import GatewayClient, GatewayRefused
from deployments.stack.errors import StackError
from gateway.errors import Unauthenticated
from tests.deployments.cli.conftest import Promptyard
from tests.deployments.cli.small_gateway import KEY, SmallGateway, serve_small_gateway


@pytest.fixture
def gateway() -> Iterator[SmallGateway]:
    with serve_small_gateway() as server:
        yield server


@pytest.fixture
def documents(promptyard: Promptyard, gateway: SmallGateway, home: Path) -> Promptyard:
    (home / "key").write_text(f"{KEY}\n")
    port = gateway.url.rsplit(":", 1)[1]

    def call(*arguments: str, **more: str) -> object:
        return promptyard("documents", *arguments, **{"PROMPTYARD_PORT": port, **more})

    return call  # type: ignore[return-value]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("returns", "shipping"):
        (folder / f"{name}.md").write_text(f"# About {name}\n\nAll about {name}.\n")
    (folder / "notes.txt").write_text("not a document")
    return folder


def test_a_folder_is_put_once_and_then_unchanged(documents: Promptyard, gateway: SmallGateway, folder: Path) -> None:
    assert "2 documents, 2 changed, 0 unchanged" in documents("put", "shop", str(folder)).stdout
    assert gateway.documents["shop", "returns"]["title"] == "About returns"
    assert gateway.documents["shop", "returns"]["text"] == "All about returns."
    (folder / "returns.md").write_text("# About returns\n\nWithin 14 days.\n")
    result = documents("put", "shop", str(folder))
    assert "1 changed, 1 unchanged" in result.stdout
    assert result.stderr == "putting 2 documents\n", "a folder of a thousand is not a thousand lines"


def test_one_document_says_what_became_of_it(documents: Promptyard, folder: Path) -> None:
    result = documents("put", "shop", str(folder / "returns.md"))
    assert (result.stdout, result.stderr) == ("shop/returns: version 1.\n", "")
    assert documents("put", "shop", str(folder / "returns.md")).stdout == "shop/returns: unchanged, version 1.\n"


def test_for_machines_every_document_is_there(documents: Promptyard, folder: Path) -> None:
    found = json.loads(documents("put", "shop", str(folder), "--json").stdout)
    assert [(one["id"], one["version"], one["changed"]) for one in found["documents"]] == [
        ("returns", 1, True),
        ("shipping", 1, True),
    ]


def test_what_get_prints_can_be_put_again(documents: Promptyard, folder: Path, tmp_path: Path) -> None:
    documents("put", "shop", str(folder))
    again = tmp_path / "returns.md"
    again.write_text(documents("get", "shop", "returns").stdout)
    assert json.loads(documents("put", "shop", str(again), "--json").stdout)["documents"][0]["changed"] is False


def test_list_and_delete(documents: Promptyard, folder: Path) -> None:
    documents("put", "shop", str(folder))
    assert "no answer made from it is served" in documents("delete", "shop", "returns").stdout
    assert [one["id"] for one in json.loads(documents("list", "shop", "--json").stdout)["documents"]] == ["shipping"]
    listed = documents("list", "shop").stdout
    assert "shipping" in listed
    assert "returns" not in listed


def test_a_long_list_is_whole(documents: Promptyard, gateway: SmallGateway, tmp_path: Path) -> None:
    gateway.page = 2
    names = [f"text-{number}" for number in range(5)]
    for name in names:
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\nAll about {name}.\n")
    documents("put", "shop", *(str(tmp_path / f"{name}.md") for name in names))
    gateway.asked.clear()
    assert [one["id"] for one in json.loads(documents("list", "shop", "--json").stdout)["documents"]] == names
    assert len(gateway.asked) == 3
    assert "5 documents" in documents("list", "shop").stdout


def test_an_error_of_the_gateway_is_its_message_and_hint(documents: Promptyard) -> None:
    error = documents("get", "shop", "nope").exception
    assert isinstance(error, GatewayRefused)
    assert (error.refused_status, error.message, error.hint) == (404, "there is none", "Check the id.")


def test_one_bad_file_and_nothing_is_sent(documents: Promptyard, gateway: SmallGateway, folder: Path) -> None:
    (folder / "a.md").write_text("no title\n")
    (folder / "b.md").write_text("# Title alone\n")
    (folder / "c.md").write_bytes(b"# Title\n\n\xff")
    error = documents("put", "shop", str(folder), str(folder / "missing.md")).exception
    assert isinstance(error, UnreadableDocument)
    first, *lines = error.message.splitlines()
    assert first.startswith("4 of the files")
    assert [line.rsplit("/", 1)[1] for line in lines] == [
        "a.md: the first line is not '# Title'",
        "b.md: the text is empty",
        "c.md: is not UTF-8 text",
        "missing.md: there is no such file",
    ]
    assert gateway.asked == []


def test_two_files_of_one_id_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.md").write_text(f"# T\n\n{name}\n")
    with pytest.raises(UnreadableDocument, match="has the same id, 'same'"):
        read_documents([tmp_path / "x", tmp_path / "y"])
    assert len(read_documents([tmp_path / "x", tmp_path / "x" / "same.md"])) == 1


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"has no \.md file"):
        read_documents([tmp_path])


def test_without_a_key_the_hint_says_where_one_comes_from(promptyard: Promptyard) -> None:
    error = promptyard("documents", "list", "shop").exception
    assert isinstance(error, Unauthenticated)
    assert "promptyard up" in error.hint


def test_without_a_gateway_the_hint_says_how_to_start_one(documents: Promptyard) -> None:
    error = documents("list", "shop", PROMPTYARD_PORT="1").exception
    assert isinstance(error, StackError)
    assert "promptyard up" in error.hint


def test_names_are_quoted_and_no_key_is_shown(gateway: SmallGateway) -> None:
    with GatewayClient(gateway.url, "py_wrong") as client:
        assert "py_wrong" not in repr(client)
        with pytest.raises(GatewayRefused, match="no such key") as caught:
            client.call("GET", "v1", "documents", "a/b", "../c")
    assert gateway.asked == [("GET", "/v1/documents/a%2Fb/..%2Fc")]
    assert "py_wrong" not in str(caught.value)

"""What is refused, and how it is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.errors import BodyTooLarge, InvalidRequest, PromptyardError
from gateway.retrieval.document_rules import MAX_TEXT_BYTES, check_content, check_name
from gateway.retrieval.documents import Documents
from tests.gateway.retrieval.fakes import C, FakeEpochs, T

HOSTILE = [
    "",
    ".",
    "..",
    "a/b",
    "../../etc/passwd",
    "a b",
    "a\n",
    "\n",
    "a\x00",
    "a]",
    "[doc:a]",
    "{a}",
    "a:b",
    "a@1",
    "a|b",
    "a*",
    "%2e%2e",
    "é",
    "\u202ea",
    "\ud800",
    "'; DROP TABLE documents; --",
    "x" * 121,
    "x" * 1_000_000,
]


@pytest.fixture
def engine(sqlite_file: Path, open_engine: Callable[..., Engine]) -> Engine:
    """What is refused never reaches SQL, so one kind of database is enough."""
    return open_engine(f"sqlite:///{sqlite_file}")


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_refused_everywhere(documents: Documents, epochs: FakeEpochs, name: str) -> None:
    for place in ((name, C, "a"), (T, name, "a"), (T, C, name)):
        with pytest.raises(InvalidRequest, match=r"cannot be the name of a (tenant|collection|document)") as refusal:
            await documents.put(*place, title="A", text="one")
        assert len(refusal.value.message) < 700  # ten characters for an escaped one
        assert refusal.value.message.isascii()
        with pytest.raises(InvalidRequest):
            await documents.get(*place)
        with pytest.raises(InvalidRequest):
            await documents.delete(*place)
    for scope in ((name, C), (T, name)):
        with pytest.raises(InvalidRequest):
            await documents.list(*scope)
    assert epochs.log == []


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "-", "_", "a..b", "x" * 120, "returns-policy"])
def test_good_names_pass(name: str) -> None:
    check_name("document", name)


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        ({"text": ""}, InvalidRequest, "text is empty"),
        ({"text": " \n\t"}, InvalidRequest, "text is empty"),
        ({"text": "a\x00b"}, InvalidRequest, "the text holds a NUL"),
        ({"text": "\ud800"}, InvalidRequest, "the text holds"),
        ({"text": "x" * (MAX_TEXT_BYTES + 1)}, BodyTooLarge, "larger than 1000000 bytes"),
        ({"text": "é" * (MAX_TEXT_BYTES // 2 + 1)}, BodyTooLarge, "larger than 1000000 bytes"),
        ({"title": "x" * 301}, InvalidRequest, "title is longer"),
        ({"title": "a\n[doc:other] b"}, InvalidRequest, "title must be one line"),
        ({"title": "a\u2028b"}, InvalidRequest, "title must be one line"),
        ({"title": "a\x00"}, InvalidRequest, "the title holds a NUL"),
        ({"attributes": {"a": object()}}, InvalidRequest, "not plain JSON"),
        ({"attributes": [1]}, InvalidRequest, "not plain JSON"),
        ({"attributes": {"a": "x" * 16_000}}, InvalidRequest, "attributes are larger"),
        ({"attributes": {"a": ["\x00"]}}, InvalidRequest, "attributes hold a NUL"),
        ({"attributes": {"\x00": 1}}, InvalidRequest, "attributes hold a NUL"),
        ({"attributes": {"a": {"b": "\ud800"}}}, InvalidRequest, "not plain JSON"),
    ],
)
def test_bad_content_is_refused(content: dict[str, Any], kind: type[PromptyardError], says: str) -> None:
    with pytest.raises(kind, match=says):
        check_content(**({"title": "A", "text": "one", "attributes": {}} | content))


def test_the_largest_content_passes() -> None:
    content = check_content("x" * 300, "é" * (MAX_TEXT_BYTES // 2), {"a": "x" * 15_000})
    assert len(content.text.encode()) == MAX_TEXT_BYTES


def test_the_digest_tells_fields_apart() -> None:
    digests = {
        check_content("ab", "c", {}).digest("e"),
        check_content("a", "bc", {}).digest("e"),
        check_content("a", "bc", {"x": 1}).digest("e"),
        check_content("a", "bc", {"x": "1"}).digest("e"),
        check_content("a", "bc", {"x": True}).digest("e"),
        check_content("a", "bc", {}).digest("f"),
    }
    assert len(digests) == 6


@pytest.mark.parametrize("levels", [500, 960])
def test_attributes_that_are_nested_too_deep_are_refused_and_no_crash(levels: int) -> None:
    attributes: dict[str, Any] = {}
    for _ in range(levels):
        attributes = {"a": attributes}
    with pytest.raises(InvalidRequest, match="not plain JSON"):
        check_content("A", "one", {"deep": attributes})

"""Which documents of an answer are out of date."""

import pytest
from sqlalchemy import Engine

from gateway.settings import Settings
from tasks.provenance import DocumentVersion, least_versions, outdated
from tests.tasks.rows import add, document_row


def test_written_form_is_read() -> None:
    assert DocumentVersion.parse("doc:help-centre/refunds.eu@12") == ("help-centre", "refunds.eu", 12)


@pytest.mark.parametrize(
    "written", ["", "doc:a/b", "doc:a@1", "doc:a/b@x", "prompt:a/b@1", "doc:a/b/c@1", "doc:a/b@1 "]
)
def test_what_is_not_a_document_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not 'doc:"):
        DocumentVersion.parse(written)


@pytest.mark.parametrize(
    ("written", "is_outdated"),
    [
        ("doc:articles/kept@3", False),
        ("doc:articles/kept@4", False),  # written after the versions were read
        ("doc:articles/kept@2", True),
        ("doc:articles/gone@2", True),  # deleted at version 2
        ("doc:articles/gone@3", False),  # and written again since
        ("doc:articles/unknown@1", True),
        ("doc:elsewhere/kept@3", True),
        ("no document", True),
    ],
)
def test_least_versions_decide(settings: Settings, ledger: Engine, written: str, is_outdated: bool) -> None:
    add(ledger, document_row("kept", 3), document_row("gone", 2, deleted=True))
    add(ledger, document_row("kept", 9, tenant="somebody-else"))
    least = least_versions(ledger, "acme", "articles")
    assert bool(outdated([written], "articles", least)) is is_outdated

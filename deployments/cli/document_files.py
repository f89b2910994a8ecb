"""Documents as files: Markdown whose first line is ``# Title``; the name without its ending is the id."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import InvalidRequest, PromptyardError
from gateway.retrieval.document_rules import check_content, check_name
from gateway.retrieval.markdown import ENDING, title_and_text

_HINT = "Each file is Markdown with '# Title' in its first line, then the text."


class UnreadableDocument(InvalidRequest):
    """Some files cannot be sent; the message has a line for each."""

    code = "unreadable_document"
    default_hint = f"Nothing was sent. {_HINT}"


@dataclass(frozen=True)
class DocumentFile:
    """A document that is ready to be sent."""

    id: str
    title: str
    text: str
    path: Path


def read_documents(paths: Iterable[Path]) -> list[DocumentFile]:
    """The documents of files and folders (``*.md`` directly in them), by id.

    Raises UnreadableDocument, naming every file with a problem: all are right, or none is used.
    """
    found: dict[str, DocumentFile] = {}
    problems: list[str] = []
    for path in paths:
        files = sorted(path.glob(f"*{ENDING}")) if path.is_dir() else [path]
        if not files:
            problems.append(f"{path}: has no {ENDING} file")
        for file in files:
            try:
                document = read_document(file)
            except (ValueError, OSError, PromptyardError) as error:
                problems.append(f"{file}: {_reason(error)}")
                continue
            known = found.setdefault(document.id, document)
            if known is not document and known.path.resolve() != file.resolve():
                problems.append(f"{file}: {known.path} has the same id, {document.id!r}")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise UnreadableDocument(f"{len(problems)} of the files cannot be sent:{lines}")
    return [found[id] for id in sorted(found)]


def read_document(path: Path) -> DocumentFile:
    """Raises OSError, ValueError or InvalidRequest, which say what is wrong."""
    title, text = title_and_text(path.read_text(encoding="utf-8"))
    check_name("document", path.stem)
    content = check_content(title, text, {})
    return DocumentFile(path.stem, content.title, content.text, path)


def _reason(error: Exception) -> str:
    if isinstance(error, PromptyardError):
        return error.message
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    if isinstance(error, OSError):
        return "there is no such file" if isinstance(error, FileNotFoundError) else str(error.strerror or error)
    return str(error)

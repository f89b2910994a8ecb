"""Folders of Markdown files on this machine's disk that a tenant may import: below its own folder of one root only."""

import os
from pathlib import Path

from gateway.errors import InvalidRequest
from gateway.jobs.rules import folder_segments
from gateway.retrieval.document_rules import MAX_TEXT_BYTES, check_name
from gateway.retrieval.markdown import ENDING, title_and_text

_LARGEST = MAX_TEXT_BYTES + 2_000
"""Bytes of a file: the text and its title."""


def list_files(root: str, tenant: str, folder: str, most: int) -> list[str]:
    """The names of the Markdown files directly in ``root/tenant/folder``, sorted.

    Raises InvalidRequest: no root is configured, the folder is not there or lies elsewhere, it has none or too many.
    """
    place = _inside(root, tenant, folder)
    names: list[str] = []
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.endswith(ENDING):
                    names.append(entry.name)
                if len(names) > most:
                    raise InvalidRequest(f"the folder has more than {most} documents", hint="Split it.")
    except OSError as error:
        raise InvalidRequest(f"the folder cannot be read: {error.strerror}") from None
    if not names:
        raise InvalidRequest(f"the folder has no {ENDING} file")
    return sorted(names)


def read_file(root: str, tenant: str, folder: str, name: str) -> tuple[str, str]:
    """Title and text of one of the files. Raises InvalidRequest, which does not tell where on the disk it lies."""
    path = _inside(root, tenant, folder, name)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise InvalidRequest(f"the file cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise InvalidRequest(f"the file is larger than {_LARGEST} bytes")
    try:
        return title_and_text(content.decode())
    except UnicodeDecodeError:
        raise InvalidRequest("the file is not UTF-8 text") from None


def _inside(root: str, tenant: str, folder: str, name: str = "") -> Path:
    """The real path, links followed, which must lie below the tenant's folder."""
    if not root:
        raise InvalidRequest("imports from a folder are switched off", hint="Set PROMPTYARD_IMPORT_ROOT.")
    check_name("tenant", tenant)
    own = Path(root, tenant)
    if name and Path(name).name != name:
        raise InvalidRequest("the file's name is none")
    try:
        allowed = own.resolve(strict=True)
        path = own.joinpath(*folder_segments(folder), name).resolve(strict=True)
    except (OSError, RuntimeError):  # the latter: links that go round
        raise InvalidRequest("there is no such folder or file") from None
    if not path.is_relative_to(allowed) or (name and not path.is_file()):
        raise InvalidRequest("there is no such folder or file")
    return path

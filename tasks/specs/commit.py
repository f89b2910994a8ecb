"""Which commit a file was read at, from the repository's own files: no shell, no git.

Formats: gitrepository-layout(5) (``HEAD``, ``refs/``, ``packed-refs``), git-worktree(1) (``gitdir:``, ``commondir``).
"""

import re
from pathlib import Path

_OBJECT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_DEEPEST = 64
_INDIRECTIONS = 5


def commit_of(path: Path) -> str:
    """The commit that is checked out where the file lies (hex); empty outside of a repository or before a commit.

    What of the file is not committed yet is not told: the digest beside it is of what was read.
    """
    folder = path.resolve().parent
    for place in (folder, *folder.parents)[:_DEEPEST]:
        try:
            if repository := _repository(place / ".git"):
                return _resolve(repository, "HEAD")
        except (OSError, UnicodeDecodeError):
            return ""
    return ""


def _repository(dot_git: Path) -> Path | None:
    if dot_git.is_dir():
        return dot_git
    if dot_git.is_file():
        text = dot_git.read_text(encoding="utf-8").strip()
        if text.startswith("gitdir:"):
            return (dot_git.parent / text.removeprefix("gitdir:").strip()).resolve()
    return None


def _resolve(repository: Path, name: str) -> str:
    common = repository
    if (pointer := repository / "commondir").is_file():
        common = (repository / pointer.read_text(encoding="utf-8").strip()).resolve()
    for _ in range(_INDIRECTIONS):
        found = next((file for file in (repository / name, common / name) if file.is_file()), None)
        text = found.read_text(encoding="utf-8").strip() if found else _packed(common, name)
        if not text.startswith("ref:"):
            return text if _OBJECT.fullmatch(text) else ""
        name = text.removeprefix("ref:").strip()
        if ".." in name or name.startswith("/"):
            return ""
    return ""


def _packed(common: Path, name: str) -> str:
    packed = common / "packed-refs"
    if not packed.is_file():
        return ""
    for line in packed.read_text(encoding="utf-8").splitlines():
        value, _, known = line.partition(" ")
        if known == name:
            return value
    return ""

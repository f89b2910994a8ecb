"""Which commit a file was read at, from the repository's own files: git is only asked whether that is all of it.

Formats: gitrepository-layout(5) (``HEAD``, ``refs/``, ``packed-refs``), git-worktree(1) (``gitdir:``, ``commondir``).
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

_OBJECT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_DEEPEST = 64
_INDIRECTIONS = 5


CHANGED = "+"
"""Behind a commit: something in the file's folder was not committed."""
_PATIENCE = 5.0


def commit_of(path: Path) -> str:
    """The commit that is checked out where the file lies (hex); empty outside of a repository or before a commit.

    ``CHANGED`` follows where git is installed and finds files in the same folder that are not as they are in it.
    """
    folder = path.resolve().parent
    for place in (folder, *folder.parents)[:_DEEPEST]:
        try:
            if repository := _repository(place / ".git"):
                commit = _resolve(repository, "HEAD")
                return commit + CHANGED if commit and _is_changed(folder) else commit
        except (OSError, UnicodeDecodeError):
            return ""
    return ""


def _is_changed(folder: Path) -> bool:
    git = shutil.which("git")
    if git is None:
        return False
    # Nothing that the repository's own settings name is started.
    asked = [git, "-C", str(folder), "-c", "core.fsmonitor=false", "status", "--porcelain", "--", "."]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        told = subprocess.run(  # noqa: S603 - the user's own git, without a shell
            asked, capture_output=True, timeout=_PATIENCE, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.returncode == 0 and bool(told.stdout.strip())


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

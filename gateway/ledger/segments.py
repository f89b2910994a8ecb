"""A spool folder as the writer reads it: numbered segments, and the position up to which they are in SQL."""

import contextlib
import os
from pathlib import Path

import msgspec

OWNER_LOCK = "owner.lock"
_POSITION = "position.json"
_SUFFIX = ".segment"


class Position(msgspec.Struct, frozen=True, order=True):
    """Everything before byte ``offset`` of ``segment`` is in SQL or was rejected."""

    segment: int = 1
    offset: int = 0


class Batch(msgspec.Struct, frozen=True):
    """Lines from one segment, and where the next batch begins. The last line may be torn, if no more will come."""

    lines: tuple[bytes, ...]
    end: Position


_decoder = msgspec.json.Decoder(Position)


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{number:010d}{_SUFFIX}"


def segment_numbers(directory: Path) -> list[int]:
    """In the order of writing. Raises ``OSError``."""
    return sorted(
        int(name.removesuffix(_SUFFIX))
        for name in os.listdir(directory)
        if name.endswith(_SUFFIX) and name.removesuffix(_SUFFIX).isdigit()
    )


def load_position(directory: Path) -> Position:
    """The start while there is none, or while it cannot be read: delivering twice is harmless, skipping is not."""
    try:
        position = _decoder.decode((directory / _POSITION).read_bytes())
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return Position()
    return position if position >= Position() and position.offset >= 0 else Position()


def store_position(directory: Path, position: Position) -> None:
    """Atomically, by rename."""
    temporary = directory / f"{_POSITION}.new"
    temporary.write_bytes(msgspec.json.encode(position))
    temporary.replace(directory / _POSITION)


def read_batch(directory: Path, position: Position, *, sealed: bool, max_lines: int, max_bytes: int) -> Batch:
    """The next lines after ``position``: at most ``max_lines``, and no further line once ``max_bytes`` are read.

    ``sealed``: the owner is dead, so that the last segment is as final as those before it. A torn last line of a live
    segment waits for its rest. ``end`` equals ``position`` when there is nothing to do.
    """
    numbers = [number for number in segment_numbers(directory) if number >= position.segment]
    if not numbers:
        return Batch((), position)
    # the owner starts a segment only after it has finished the one before: listing first, then reading, sees all of it
    number, final = numbers[0], sealed or len(numbers) > 1
    offset = position.offset if number == position.segment else 0
    lines: list[bytes] = []
    size = 0
    with segment_path(directory, number).open("rb") as file:
        file.seek(offset)
        while len(lines) < max_lines and size < max_bytes:
            line = file.readline()
            if not line:
                break
            if not line.endswith(b"\n") and not final:
                break
            lines.append(line)
            size += len(line)
        else:
            return Batch(tuple(lines), Position(number, offset + size))
    return Batch(tuple(lines), Position(number + 1, 0) if final else Position(number, offset + size))


def discard_delivered(directory: Path, position: Position) -> None:
    """Delete the segments before the position."""
    for number in segment_numbers(directory):
        if number < position.segment:
            segment_path(directory, number).unlink(missing_ok=True)


def remove_spool(directory: Path) -> None:
    """Remove a dead owner's folder, which the caller has locked and emptied. The lock's file goes last."""
    for name in (f"{_POSITION}.new", _POSITION, OWNER_LOCK):
        (directory / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something of somebody else's is in it
        directory.rmdir()


def undelivered_bytes(directory: Path) -> int:
    """Raises ``OSError``."""
    position = load_position(directory)
    total = -position.offset if segment_path(directory, position.segment).exists() else 0
    for number in segment_numbers(directory):
        if number >= position.segment:
            with contextlib.suppress(FileNotFoundError):  # the writer deletes while we count
                total += segment_path(directory, number).stat().st_size
    return max(0, total)

"""What identical calls in flight share: the pieces of an answer as they come, then the whole of it or the error."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from gateway.errors import StreamInterrupted
from gateway.trail import Trail
from gateway.types import Delta, Reply


class Flight:
    """For one event loop. ``trail`` tells what happened; whoever books it sets ``trail.booked``.

    Readers may come at any time and get all of it, from the start.
    """

    def __init__(self, key: str, trail: Trail) -> None:
        self.key = key
        self.trail = trail
        self.pieces: list[Delta] = []
        self.reply: Reply | None = None
        self.error: BaseException | None = None
        self.passengers = 0
        self.elsewhere = False
        """Whether some of it was heard of another worker: by then it may have become untrue."""
        self.on_piece: Callable[[], None] | None = None
        """Is told of every change, for those who listen elsewhere."""
        self._text = ""
        self._repeated: str | None = None
        self._contradicted = False
        self._waiting_for_end: list[asyncio.Future[None]] = []
        self._waiting_for_more: list[asyncio.Future[None]] = []

    @property
    def landed(self) -> bool:
        return self.reply is not None or self.error is not None

    def say(self, piece: Delta) -> None:
        """One more piece. After ``begin_again`` what was said before is swallowed. Raises StreamInterrupted."""
        if self.landed:
            return
        if self._repeated is not None:
            left = self._unsaid(piece)
            if left is None:
                return
            piece = left
        content = piece.delta.get("content")
        if isinstance(content, str):
            self._text += content
        self.pieces.append(piece)
        _wake(self._waiting_for_more)
        if self.on_piece is not None:
            self.on_piece()

    def overhear(self, pieces: list[Delta], position: int) -> None:
        """Pieces that another worker has said, ``position`` before them. Raises StreamInterrupted.

        Once they are not those that were heard before, another leader says another answer, or cuts it otherwise: then
        no more are taken, and what is missing is said when the whole answer is there, if it goes on like that.
        """
        self.elsewhere = True
        known = len(self.pieces) - position
        if known < 0:
            return
        self._contradicted = self._contradicted or pieces[:known] != self.pieces[position:][: len(pieces)]
        if not self._contradicted:
            for piece in pieces[known:]:
                self.say(piece)

    def land(self, reply: Reply) -> None:
        """The whole answer. What of it was not said in pieces (they may be lost between processes) is said now."""
        if self.landed:
            return
        if self.pieces and not reply.text.startswith(self._text):
            self.fail(_interrupted(reply))
            return
        if self.pieces and len(reply.text) > len(self._text):
            self.pieces.append(Delta(delta={"content": reply.text[len(self._text) :]}))
        self.reply = reply
        self._end()

    def fail(self, error: BaseException) -> None:
        if not self.landed:
            self.error = error
            self._end()

    def begin_again(self) -> None:
        """Somebody else makes the answer from its beginning: who has heard a part of it must not hear it twice.

        Raises StreamInterrupted when more than text was said, which nobody can hold against a second answer.
        """
        if any(set(piece.delta) - {"role", "content"} for piece in self.pieces):
            raise StreamInterrupted("the call that this one shared broke off")
        self._repeated = "" if self.pieces else None

    async def whole(self) -> Reply:
        """Raises what the flight failed with: the same instance in everyone who waits."""
        while not self.landed:
            await _sleep_in(self._waiting_for_end)
        if self.error is not None:
            raise self.error
        assert self.reply is not None  # noqa: S101 (it has landed)
        return self.reply

    async def aloud(self) -> AsyncGenerator[Delta, None]:
        """All pieces, the last one with the whole reply. Raises what the flight failed with."""
        position = 0
        while True:
            while position < len(self.pieces):
                position += 1
                yield self.pieces[position - 1]
            if self.error is not None:
                raise self.error
            if self.reply is not None:
                if not self.pieces:
                    yield Delta(delta=dict(self.reply.message))
                yield Delta(reply=self.reply)
                return
            await _sleep_in(self._waiting_for_more)

    def _end(self) -> None:
        _wake(self._waiting_for_end)
        _wake(self._waiting_for_more)
        if self.on_piece is not None:
            self.on_piece()

    def _unsaid(self, piece: Delta) -> Delta | None:
        """What of a second answer's piece goes beyond the first's; None while it repeats it."""
        assert self._repeated is not None  # noqa: S101 (checked by the caller)
        if set(piece.delta) - {"role", "content"}:
            raise StreamInterrupted("the call that this one shared broke off")
        self._repeated += piece.delta.get("content") or ""
        if len(self._repeated) <= len(self._text):
            if not self._text.startswith(self._repeated):
                raise StreamInterrupted("the call that this one shared broke off")
            return None
        if not self._repeated.startswith(self._text):
            raise StreamInterrupted("the call that this one shared broke off")
        left, self._repeated = self._repeated[len(self._text) :], None
        return Delta(delta={"content": left})


def _interrupted(reply: Reply) -> StreamInterrupted:
    return StreamInterrupted(
        "the answer that was begun is not the one that was made", provider=reply.provider, model=reply.model
    )


async def _sleep_in(sleepers: "list[asyncio.Future[None]]") -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    sleepers.append(future)
    try:
        await future
    finally:
        if not future.done() or future.cancelled():
            sleepers[:] = [one for one in sleepers if one is not future]


def _wake(sleepers: "list[asyncio.Future[None]]") -> None:
    woken, sleepers[:] = list(sleepers), []
    for future in woken:
        if not future.done():
            future.set_result(None)

"""An endpoint whose calls may be turns of a conversation: laid out for the prompt, and held here if so asked.

A turn is claimed before the model is asked and written before the last byte of its answer leaves; a call that fails
writes nothing. If the turn cannot be written although the answer is there and paid for, the answer leaves all the same
and says ``"kept": false``.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from msgspec import structs

from gateway.api.serving import Answering
from gateway.clock import new_id
from gateway.conversations import rules, store
from gateway.errors import InvalidRequest, PromptyardError
from gateway.jobs.rules import storable
from gateway.types import Answer, Call, Delta, Message

if TYPE_CHECKING:
    from gateway.compose import Gateway

log = logging.getLogger(__name__)

NEW = "new"


class Conversing(Answering):
    """``Answering`` for a body with ``messages``, ``conversation`` and ``keep``, which its face has checked."""

    async def whole(self, gateway: "Gateway", call: Call, body: Mapping[str, Any]) -> Answer:
        async with _turn(gateway, call, body) as turn:
            return await turn.kept(await super().whole(gateway, turn.call, body))

    async def pieces(
        self, gateway: "Gateway", call: Call, body: Mapping[str, Any]
    ) -> AsyncGenerator[Delta | Answer, None]:
        async with _turn(gateway, call, body) as turn, aclosing(super().pieces(gateway, turn.call, body)) as pieces:
            async for piece in pieces:
                yield await turn.kept(piece) if isinstance(piece, Answer) else piece


class _Turn:
    """One turn under way; of a conversation that the caller holds itself there is nothing to keep."""

    def __init__(self, gateway: "Gateway", call: Call, claim: store.Claim | None, sent: int) -> None:
        self.call = call
        self._gateway = gateway
        self._claim = claim
        self._said: Sequence[Message] = ()
        self._sent = sent

    def says(self, said: Sequence[Message]) -> None:
        self._said = said

    async def kept(self, answer: Answer) -> Answer:
        """The answer that says how its turn was kept."""
        claim, self._claim = self._claim, None
        if claim is None:
            return answer
        messages = storable((*self._said, rules.remembered(answer.reply.message)))
        now = self._gateway.clock.now()
        try:
            written = await asyncio.shield(asyncio.to_thread(store.finish, self._gateway.engine, claim, messages, now))
        except PromptyardError as error:
            log.error("turn %d of a conversation was not kept: %s", claim.seq, error.message)
            written = False
        told = {
            "id": claim.place.conversation,
            "turn": claim.seq,
            "kept": written,
            "turns_sent": self._sent,
            "turns_dropped": claim.seq - 1 - self._sent,
        }
        return structs.replace(answer, conversation=told)

    async def release(self) -> None:
        """SQL being away leaves the claim to its lease."""
        if self._claim is not None:
            with contextlib.suppress(PromptyardError):
                await asyncio.shield(asyncio.to_thread(store.release, self._gateway.engine, self._claim))


@asynccontextmanager
async def _turn(gateway: "Gateway", call: Call, body: Mapping[str, Any]) -> AsyncIterator[_Turn]:
    call = gateway.pipeline.router.route(call)  # once: what it is laid out for is what answers, whatever is published
    version = call.version
    assert version is not None  # noqa: S101 (the face reads managed prompts only)
    name = body.get("conversation") or (NEW if body.get("keep") else None)
    said = rules.said(call.messages, call.variables)
    if name is None:
        turn = _Turn(gateway, call, None, 0)
        messages = call.messages
    else:
        if not said:
            raise InvalidRequest("a turn needs what the user says", hint="Send 'messages', or the variable 'question'.")
        turn, earlier = await _claimed(gateway, call, str(name))
        turn.says(said)
        messages = (*earlier, *call.messages)
    try:
        placed = rules.place(version, call.variables, messages)
        turn.call = structs.replace(call, variables=placed.variables, history=placed.history, messages=placed.messages)
        yield turn
    finally:
        await turn.release()


async def _claimed(gateway: "Gateway", call: Call, name: str) -> tuple[_Turn, rules.Messages]:
    settings, clock = gateway.settings, gateway.clock
    new = name == NEW
    place = store.Place(call.tenant, new_id("conv", clock) if new else name)
    claiming = asyncio.ensure_future(
        asyncio.to_thread(
            store.begin,
            gateway.engine,
            place,
            new=new,
            prompt=call.prompt,
            call_id=call.id,
            now=clock.now(),
            turns_at_most=settings.conversation_turns,
            chars_at_most=settings.conversation_chars,
        )
    )
    try:
        claim, turns = await asyncio.shield(claiming)
    except asyncio.CancelledError:  # the caller has left: a claim that is made all the same is given back
        with contextlib.suppress(PromptyardError):
            await _Turn(gateway, call, (await claiming)[0], 0).release()
        raise
    earlier = tuple(message for turn in turns for message in turn)
    return _Turn(gateway, call, claim, len(turns)), earlier

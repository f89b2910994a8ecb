"""One upstream call for identical calls in flight: who may share, what they share, and who pays for it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from msgspec import structs

from gateway.cache.coalesce import Left, Seat, Work
from gateway.cache.flight import Flight
from gateway.cache.keys import Scope
from gateway.clock import Clock
from gateway.errors import PromptyardError, StreamInterrupted
from gateway.ports import AnswerCache, Coalescer, Epochs, Limits
from gateway.producer import Producer
from gateway.trail import Trail
from gateway.types import NO_LIMITS, CacheMode, Call, Delta, Layer, Origin, Reply

_TRIES = 2
"""Of a whole call: one for a stream that it joined and that broke off."""


class Sharing:
    """Over a Producer. Tells the call's trail what happened, and ``trail.layer`` whose answer it is.

    What was shared has a trail of its own. Whoever is told of it first books it: the leader may have left.
    """

    def __init__(
        self,
        *,
        cache: AnswerCache,
        epochs: Epochs,
        coalescer: Coalescer,
        producer: Producer,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._epochs = epochs
        self._coalescer = coalescer
        self._producer = producer
        self._limits = limits
        self._clock = clock
        self._later: set[asyncio.Task[None]] = set()

    async def whole(self, trail: Trail) -> Reply:
        """The reply, and all that ``Producer.produce`` raises."""
        call = trail.call
        if not self._may_share(call):
            reply = await self._producer.produce(call, trail)
            self._keep_later(trail)
            return reply
        begun = self._clock.monotonic()
        interrupted: StreamInterrupted | None = None
        for again in range(_TRIES):
            seat = self._board(trail, aloud=False, apart=":again" if again else "")
            try:
                reply = await seat.flight.whole()
            except asyncio.CancelledError:
                await self._get_off(seat, trail)
                raise
            except BaseException as error:
                _book(seat.flight, trail)
                await seat.leave()
                if not isinstance(error, StreamInterrupted):
                    raise
                interrupted = error  # of a stream that this call has heard nothing of: it asks anew
                continue
            await seat.leave()
            if seat.flight.elsewhere and not await self._is_current(trail):
                reply = await self._producer.produce(trail.call, trail)
                self._keep_later(trail)
                return reply
            self._arrived(seat, trail, begun)
            return reply
        assert interrupted is not None  # noqa: S101 (nothing else goes on)
        raise interrupted

    async def aloud(self, trail: Trail) -> AsyncGenerator[Delta, None]:
        """As ``whole``, in pieces; the last one has the whole reply."""
        call = trail.call
        if not self._may_share(call):
            async with aclosing(self._producer.stream(call, trail)) as pieces:
                async for piece in pieces:
                    yield piece
            self._keep_later(trail)
            return
        begun = self._clock.monotonic()
        seat = self._board(trail, aloud=True)
        begun_aloud = arrived = changed = False
        try:
            async with aclosing(seat.flight.aloud()) as pieces:
                async for piece in pieces:
                    if not begun_aloud and seat.flight.elsewhere and not await self._is_current(trail):
                        changed = True
                        break
                    begun_aloud = True
                    if piece.reply is not None:
                        arrived = True
                        self._arrived(seat, trail, begun)
                    yield piece
        except (asyncio.CancelledError, GeneratorExit):
            if not arrived:
                await self._get_off(seat, trail)
            else:
                await seat.leave()
            raise
        except BaseException:
            _book(seat.flight, trail)
            await seat.leave()
            raise
        await seat.leave()
        if changed:
            async with aclosing(self._producer.stream(trail.call, trail)) as pieces:
                async for piece in pieces:
                    yield piece
            self._keep_later(trail)

    def when_landed(self, flight: Flight, trail: Trail, then: Callable[[], None]) -> None:
        """``then`` is called when the flight that its caller left, and others wait for, has cost what it costs."""

        async def wait() -> None:
            with contextlib.suppress(Exception):  # its cost counts, however it ended
                await flight.whole()
            _book(flight, trail)
            then()

        self._run(wait())

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and all is kept that can be."""
        return not self._later and not len(self._coalescer)

    async def settle(self) -> None:
        """Wait until what is done after answers is done."""
        await self._coalescer.settle()
        while self._later:
            await asyncio.wait(list(self._later))

    def _board(self, trail: Trail, *, aloud: bool, apart: str = "") -> Seat:
        """``apart`` keeps a flight from those of the same call without it."""
        call = trail.call
        shared = Trail(call=call, begun=trail.begun)
        key = _flight(self._cache.key(call), call) + apart
        if key not in self._coalescer and call.rendered and call.limits is not NO_LIMITS:
            # All that will be sent is known: it is reserved while the turn to work is waited for. Only by who begins
            # the flight: nobody would settle what those reserve who come along.
            shared.reserving = asyncio.create_task(self._reserve(call), name="reserve")

        async def make(flight: Flight) -> None:
            if not aloud:
                flight.land(await self._producer.produce(call, shared))
                return
            async with aclosing(self._producer.stream(call, shared)) as pieces:
                async for piece in pieces:
                    if piece.reply is None:
                        flight.say(piece)
                    else:
                        flight.land(piece.reply)

        async def keep() -> bool:
            return await self._producer.keep(shared)

        async def look() -> Reply | None:
            return (await self._cache.find(call)).reply

        def spare() -> None:
            if (reserving := shared.reserving) is not None:
                shared.reserving = None
                self._run(self._give_back(reserving))

        work = Work(
            make=make,
            keep=keep,
            look=look,
            spare=spare,
            fresh=call.cache is CacheMode.REFRESH,
            keeps=lambda: shared.keeping is not None,
        )
        return self._coalescer.board(key, work, shared)

    async def _is_current(self, trail: Trail) -> bool:
        """Whether nothing was changed or removed since the call looked; else the call goes on under what holds now.

        Who makes an answer checks it when it is there. It may take a while to get here, and a change that was
        acknowledged meanwhile counts for this call as for any other.
        """
        call = trail.call
        if call.collection:
            found = await self._cache.find(call, self._epochs.current(call.tenant, call.collection))
        else:
            found = await self._cache.find(call)
        if found.cuts == call.cuts and found.epoch == call.epoch:
            return True
        rendered = () if call.collection else call.rendered
        trail.call = structs.replace(call, epoch=found.epoch, cuts=found.cuts, rendered=rendered)
        return False

    async def _reserve(self, call: Call) -> Any:
        return await self._limits.reserve(call)

    async def _give_back(self, reserving: "asyncio.Task[Any]") -> None:
        with contextlib.suppress(PromptyardError):
            await self._limits.release(await reserving)

    def _may_share(self, call: Call) -> bool:
        return _may_share(call) and self._producer.may_share(call)

    def _arrived(self, seat: Seat, trail: Trail, begun: float) -> None:
        if not seat.led:
            trail.passed("coalesced", begun, self._clock.monotonic())
        if not _book(seat.flight, trail):
            trail.layer = Layer.EXACT if seat.late else Layer.COALESCED

    async def _get_off(self, seat: Seat, trail: Trail) -> None:
        """The caller has left: who ends a flight books it, and what goes on for other workers is booked later."""
        left = await seat.leave()
        if left is Left.ENDED or seat.flight.landed:
            _book(seat.flight, trail)
        elif left is Left.GOES_ON_ELSEWHERE:
            trail.left = seat.flight

    def _keep_later(self, trail: Trail) -> None:
        if trail.keeping is not None:
            self._run(self._keep(trail))

    async def _keep(self, trail: Trail) -> None:
        await self._producer.keep(trail)

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work, name="after the answer")
        self._later.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._later.discard)


def _book(flight: Flight, trail: Trail) -> bool:
    """Whether this trail is the one that carries the flight's costs."""
    if flight.trail.booked:
        return False
    flight.trail.booked = True
    trail.join(flight.trail)
    return True


def _flight(key: str, call: Call) -> str:
    """What identical calls in flight have in common, their purse included; the braces are of their scope.

    Who flies along is refused and waits as the leader is: nobody by the limits of another's key, and no live call in
    the line of a background one. Keys without limits of their own share all.
    """
    limited = call.limits.tokens_per_minute is not None or call.limits.daily_budget_usd is not None
    mode = "fresh" if call.cache is CacheMode.REFRESH else ""
    purse = call.key_id if limited else ""
    return f"{{{Scope.of(call)}}}:{key}:{call.epoch}:{call.cuts}:{mode}:{call.origin is Origin.LIVE}:{purse}"


def _may_share(call: Call) -> bool:
    """Evidence is made for each user anew; what may vary or is nobody else's business is not shared either."""
    version = call.version
    return not (
        call.evidence
        or call.cache is CacheMode.BYPASS
        or (call.collection and not call.epoch)
        or (version is not None and version.personal)
        or call.params.get("temperature") != 0
    )

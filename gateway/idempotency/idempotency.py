"""One answer, one ledger row and one charge for an Idempotency-Key, whichever worker it reaches and however often.

SQL is the truth; there is no Redis in it. How a call goes, and what a ``kill -9`` (or a cancellation) leaves behind::

    claim = await idempotency.begin(tenant, key, fingerprint, call_id)      # or a Replay
    (1) the call is made under claim.call_id, recorded in the ledger's spool (2), then
    kept = await idempotency.finish(claim, outcome)    (3)    and the answer leaves; or, if it failed,
    await idempotency.release(claim)

(1) Killed before the call was recorded: the lease runs out, and the next call takes the claim over *with the dead
    call's id*. The provider may be asked twice; the ledger has one row and one charge.
(2) Killed between record and ``finish``: the same. The ledger takes the first record of an id and no other.
(3) Killed between ``finish`` and the answer's last byte: the next call with the key is a replay.

Killed between the record of a failure and ``release``: as (2), and the ledger keeps the record that reached it first.

A cancellation reaches none of the writes: a claim that is made while its caller leaves is given back, a ``finish`` or
``release`` goes on by itself. Whoever has a Claim must end it; one that is forgotten is not renewed for ever.

What remains when SQL goes away between ``begin`` and ``finish``: the answer leaves, this worker replays it from memory
and stores it as soon as SQL is back. If it dies before that, or if another worker sees the run-out lease first, the
call is made once more under the same id: the provider is paid twice, the tenant is charged once. Of two answers under
one id, the first that is stored is everybody's from then on.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sqlalchemy import Engine

from gateway.clock import Clock, new_id
from gateway.errors import IdempotencyBusy, Overloaded, StorageUnavailable
from gateway.idempotency import claims
from gateway.idempotency.claims import NOT_KEPT, Claim, Place, Replay, not_kept
from gateway.idempotency.held import HeldClaims
from gateway.idempotency.insistence import Insistence
from gateway.idempotency.keys import check_key
from gateway.idempotency.lanes import Lane, Lanes
from gateway.idempotency.policy import IdempotencyPolicy, pause_after


class Idempotency:
    """For one event loop of one worker. ``owner`` is the worker's instance; ``sleep`` takes seconds."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        owner: str,
        policy: IdempotencyPolicy | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        entropy: random.Random | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._owner = owner[:80]
        self._policy = policy or IdempotencyPolicy()
        self._sleep = sleep
        self._entropy = entropy or random.SystemRandom()
        self._lanes = Lanes(self._policy.max_waiting)
        self._insistence = Insistence(self._policy, clock, sleep, self._entropy)
        self._claiming = 0
        self._held = HeldClaims(engine, clock, self._policy, self._lanes, self._insistence, sleep)

    @property
    def waiting(self) -> int:
        """Calls that wait for another with their key."""
        return self._lanes.waiting_now

    @property
    def unstored(self) -> int:
        """Answers that have left, and that only this worker can replay because SQL has not taken them yet."""
        return self._held.unstored

    async def begin(self, tenant: str, key: str, fingerprint: str, call_id: str) -> Claim | Replay:
        """A Claim: make the call, under ``claim.call_id``, and end it with ``finish`` or ``release``. Or a Replay.

        Waits, at most ``policy.wait`` seconds, while another call works on the key, and takes over when that one fails
        or its worker dies. Await it directly: a wrapper that drops its result loses a claim.

        Raises InvalidRequest for a key that is none; IdempotencyConflict when it came with another body, or when its
        answer was not kept; IdempotencyBusy when the other call is still under way after that time; Overloaded when
        too many wait already; StorageUnavailable: without SQL nothing keeps a call from being made twice.
        """
        place = Place(tenant, check_key(key))
        lane = self._lanes.enter(place)
        granted: Claim | Replay | None = None
        try:
            granted = await self._granted(lane, place, fingerprint, call_id)
        finally:
            if not isinstance(granted, Claim):
                self._lanes.leave(place)
        if isinstance(granted, Replay) and granted.outcome == NOT_KEPT:
            raise not_kept()
        return granted

    async def finish(self, claim: Claim, outcome: bytes) -> bytes:
        """Keep the outcome for replays, and return the one that counts: this one, unless another worker was first.

        Never raises and never waits longer than ``policy.store_wait`` seconds for SQL. An outcome of more than
        ``policy.max_outcome_bytes``, or NOT_KEPT, is not kept: the key's next call is refused, not charged.
        """
        return await self._held.finish(claim, outcome)

    async def release(self, claim: Claim, *, recorded: bool = True) -> None:
        """The call failed: the next one with its key is made anew, under an id of its own. Idempotent, never raises.

        ``recorded``: whether anything of it may be in the ledger under ``claim.call_id``. Does nothing after
        ``finish``, so it may stand in a ``finally``.
        """
        await self._held.release(claim, recorded=recorded)

    async def settle(self, patience: float = 5.0) -> None:
        """At the end of the process: wait up to ``patience`` seconds for what is being stored."""
        self._held.close()
        await self._insistence.settle(patience)

    async def _granted(self, lane: Lane, place: Place, fingerprint: str, call_id: str) -> Claim | Replay:
        """Whoever is granted a claim keeps the lane's turn."""
        until = asyncio.get_running_loop().time() + self._policy.wait
        lane.check(fingerprint)
        if lane.turn.locked():
            async with self._waiting(until):
                await lane.turn.acquire()
        else:
            await lane.turn.acquire()
        claimed = False
        try:
            lane.check(fingerprint)
            if lane.replay is None:
                granted = await self._from_sql(lane, place, fingerprint, call_id, until)
                if isinstance(granted, Claim):
                    self._held.add(granted, lane)
                    claimed = True
                    return granted
                lane.replay = granted
            return lane.replay
        finally:
            if not claimed:
                if lane.replay is None:
                    lane.fingerprint = ""
                lane.turn.release()

    async def _from_sql(self, lane: Lane, place: Place, fingerprint: str, call_id: str, until: float) -> Claim | Replay:
        while True:
            granted = await self._attempt(place, fingerprint, call_id)
            lane.fingerprint = fingerprint  # SQL says the same: others of this process need not ask
            if granted is not None:
                return granted
            async with self._waiting(until):
                await self._until_it_ends(place, fingerprint)

    @asynccontextmanager
    async def _waiting(self, until: float) -> AsyncIterator[None]:
        """Wait inside of it, up to this time of the event loop. Raises IdempotencyBusy, Overloaded."""
        try:
            with self._lanes.waiting():
                async with asyncio.timeout_at(until):
                    yield
        except TimeoutError:
            raise IdempotencyBusy(
                "the first call with this Idempotency-Key is still under way", retry_after=self._policy.longest_pause
            ) from None

    async def _until_it_ends(self, place: Place, fingerprint: str) -> None:
        for seen in itertools.count():
            await self._sleep(pause_after(seen, self._policy, self._entropy))
            now = self._clock.now()
            if not await asyncio.to_thread(claims.is_under_way, self._engine, place, fingerprint, now):
                return

    async def _attempt(self, place: Place, fingerprint: str, call_id: str) -> Claim | Replay | None:
        """A claim that is made after its caller has left, or has waited too long for SQL, is given back."""
        if self._claiming >= self._policy.max_claiming:
            raise Overloaded("too many Idempotency-Keys are being looked up", retry_after=1)
        owner = f"{self._owner}#{new_id('claim', self._clock)}"
        asked = self._insistence.spawn(
            asyncio.to_thread(
                claims.claim,
                self._engine,
                place,
                fingerprint=fingerprint,
                call_id=call_id,
                owner=owner,
                now=self._clock.now(),
                policy=self._policy,
            )
        )
        self._claiming += 1
        asked.add_done_callback(self._asked)
        try:
            async with asyncio.timeout(self._policy.claim_wait):
                return await asyncio.shield(asked)
        except TimeoutError:
            asked.add_done_callback(self._return_unclaimed)
            raise StorageUnavailable("the Idempotency-Key could not be looked up in time", retry_after=1) from None
        except asyncio.CancelledError:
            asked.add_done_callback(self._return_unclaimed)
            raise

    def _asked(self, _asked: "asyncio.Task[Claim | Replay | None]") -> None:
        self._claiming -= 1

    def _return_unclaimed(self, asked: "asyncio.Task[Claim | Replay | None]") -> None:
        if asked.cancelled() or asked.exception() is not None:
            return
        claim = asked.result()
        if isinstance(claim, Claim):
            self._insistence.spawn(
                self._insistence.write(lambda: claims.release(self._engine, claim, recorded=False), lambda: True)
            )

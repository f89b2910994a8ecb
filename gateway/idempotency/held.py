"""The claims that this worker holds: renewed while their calls run, then finished or released, whatever SQL does."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.errors import StorageUnavailable
from gateway.idempotency import claims
from gateway.idempotency.claims import NOT_KEPT, Claim, Replay
from gateway.idempotency.insistence import Insistence
from gateway.idempotency.lanes import Lane, Lanes
from gateway.idempotency.policy import IdempotencyPolicy

log = logging.getLogger(__name__)


class _Held:
    """A claim, its lane, and where its end is told."""

    def __init__(self, claim: Claim, lane: Lane, since: float, lease_until: float) -> None:
        self.claim = claim
        self.since = since
        self.lease_until = lease_until
        self.ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        """With the outcome that counts; NOT_KEPT after a release."""
        self._lane = lane

    def end(self, replay: Replay | None) -> None:
        """Let the next in the lane go on: with the answer, or with a claim of its own. Idempotent."""
        if self.ended.done():
            return
        self._lane.replay = replay
        if replay is None:
            self._lane.fingerprint = ""
        self._lane.turn.release()
        self.ended.set_result(replay.outcome if replay else NOT_KEPT)


class HeldClaims:
    """For one event loop. A claim that is added holds the turn of its lane, and a membership of it, until it ends."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        policy: IdempotencyPolicy,
        lanes: Lanes,
        insistence: Insistence,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._policy = policy
        self._lanes = lanes
        self._insistence = insistence
        self._sleep = sleep
        self._held: dict[str, _Held] = {}
        self._keeper: asyncio.Task[None] | None = None
        self.unstored = 0
        """Answers in memory that SQL has not taken yet."""
        self.unstored_bytes = 0

    def add(self, claim: Claim, lane: Lane) -> None:
        now = self._clock.now()
        self._held[claim.owner] = _Held(claim, lane, now, now + self._policy.lease)
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep())

    async def finish(self, claim: Claim, outcome: bytes) -> bytes:
        """See ``Idempotency.finish``."""
        kept = outcome if len(outcome) <= self._policy.max_outcome_bytes else NOT_KEPT
        held = self._held.pop(claim.owner, None)
        if held is None:
            return await self._finish_late(claim, kept) or outcome
        self._insistence.spawn(self._store(held, kept))
        await asyncio.wait((held.ended,), timeout=self._policy.store_wait)
        counts = held.ended.result() if held.ended.done() else NOT_KEPT
        return outcome if counts == NOT_KEPT else counts

    async def release(self, claim: Claim, *, recorded: bool) -> None:
        """See ``Idempotency.release``."""
        held = self._held.pop(claim.owner, None)
        if held is not None:
            self._insistence.spawn(self._give_back(held, recorded))
            await asyncio.wait((held.ended,), timeout=self._policy.store_wait)

    def close(self) -> None:
        """Renew nothing any more: leases run out."""
        if self._keeper is not None:
            self._keeper.cancel()

    async def _keep(self) -> None:
        """Renew leases at a third of their time: one failure then costs no lease. Ends with the last claim."""
        while self._held:
            await self._sleep(self._policy.lease / 3)
            now = self._clock.now()
            for held in [one for one in self._held.values() if now - one.since >= self._policy.longest_hold]:
                log.error("call %s holds its Idempotency-Key for too long: let go", held.claim.call_id)
                del self._held[held.claim.owner]
                held.end(None)
                self._lanes.leave(held.claim.place)
            due = [one for one in self._held.values() if one.lease_until - now < self._policy.lease * 2 / 3]
            if not due:
                continue
            until = now + self._policy.lease
            try:
                await asyncio.to_thread(claims.renew, self._engine, [one.claim for one in due], until)
            except StorageUnavailable:
                continue  # nobody takes over through a SQL that is away; the next round tries again
            for held in due:
                held.lease_until = until

    async def _store(self, held: _Held, outcome: bytes) -> None:
        """From the first try that SQL did not take, the outcome is replayed from memory."""
        claim, remembered = held.claim, False

        def missed() -> bool:
            nonlocal remembered
            if not remembered:
                held.end(Replay(claim.call_id, outcome))
                remembered = self._has_room_for(len(outcome))
                if remembered:
                    self.unstored += 1
                    self.unstored_bytes += len(outcome)
            return remembered

        try:
            stored = await self._insistence.write(lambda: claims.finish(self._engine, claim, outcome), missed)
            held.end(Replay(claim.call_id, outcome if stored is None else stored))
        finally:
            if remembered:
                self.unstored -= 1
                self.unstored_bytes -= len(outcome)
            held.end(None)
            self._lanes.leave(claim.place)

    def _has_room_for(self, size: int) -> bool:
        policy = self._policy
        return self.unstored < policy.max_unstored and self.unstored_bytes + size <= policy.max_unstored_bytes

    async def _finish_late(self, claim: Claim, outcome: bytes) -> bytes | None:
        """Of a claim that was let go: whoever took it over may not have answered yet."""
        late = asyncio.to_thread(claims.finish, self._engine, claim, outcome)
        try:
            return await asyncio.shield(self._insistence.spawn(late))
        except StorageUnavailable:
            return None

    async def _give_back(self, held: _Held, recorded: bool) -> None:
        def missed() -> bool:
            held.end(None)
            return True

        try:
            await self._insistence.write(lambda: claims.release(self._engine, held.claim, recorded=recorded), missed)
        finally:
            held.end(None)
            self._lanes.leave(held.claim.place)

"""Making an answer that nobody has: what grounds it, and whether it is still true when it is there."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from msgspec import structs

from gateway.cache.rules import KEPT, layers_below, why_not_keep
from gateway.clock import Clock
from gateway.dialogue import SEARCHED, UNREPEATABLE, Dialogue
from gateway.errors import DocumentsChanging
from gateway.ports import AnswerCache, Epochs, Retriever, SemanticLayer
from gateway.prompts.template import render, with_history
from gateway.trail import Trail
from gateway.types import Call, Candidate, Delta, Layer, Passage, Reply

MAX_REMAKES = 3
TOOLS = "tools"
"""Why an answer was not kept."""


class Producer:
    """Every method tells the trail what happened. Safe to share between all requests of one event loop."""

    def __init__(
        self,
        *,
        cache: AnswerCache,
        epochs: Epochs,
        retriever: Retriever,
        dialogue: Dialogue,
        show_passages: Callable[[Sequence[Passage]], str],
        clock: Clock,
        semantic: SemanticLayer | None = None,
    ) -> None:
        self._cache = cache
        self._semantic = semantic
        self._epochs = epochs
        self._retriever = retriever
        self._dialogue = dialogue
        self._show_passages = show_passages
        self._clock = clock

    def may_share(self, call: Call) -> bool:
        """Whether identical calls in flight may be one, as far as tools are concerned."""
        return self._dialogue.may_share(call)

    async def ground(self, call: Call, trail: Trail) -> Call:
        """Fetch the documents and render the template with them."""
        version = call.version
        if call.rendered:
            return call
        if version is None:
            return structs.replace(call, rendered=call.messages)
        values = dict(call.variables)
        if version.retrieval is not None:
            begun = self._clock.monotonic()
            policy = version.retrieval
            found = await self._retriever.find(
                call.tenant, policy.collection, call.epoch, call.query, policy.top_k, layers_below(call)
            )
            trail.looks.extend(found.looks)
            context = values[policy.into] = self._show_passages(found.passages)
            # Under an unknown epoch nothing is kept: the documents may be older than what was acknowledged.
            epoch = call.epoch if found.fresh else ""
            call = structs.replace(call, passages=found.passages, context=context, epoch=epoch)
            trail.passed("retrieve", begun, self._clock.monotonic())
        said = with_history(render(version.template, values), call.history)
        trail.call = structs.replace(call, rendered=(*said, *call.messages))
        return trail.call

    async def ground_anew(self, call: Call, trail: Trail) -> Call:
        """The call as today's documents ground it; itself while nothing can have changed since it was grounded.

        An unknown epoch, then or now, is a change that may be under way: SQL is asked.
        """
        if not call.collection:
            return call
        epoch = await self._epochs.current(call.tenant, call.collection)
        if epoch and epoch == call.epoch:
            return call
        return await self.ground(structs.replace(call, epoch=epoch, rendered=()), trail)

    async def produce(self, call: Call, trail: Trail) -> Reply:
        """A whole answer, kept if it may be. One whose documents changed meanwhile is made again.

        Raises ProviderError, RateLimited, BudgetExhausted, StorageUnavailable, and DocumentsChanging when they change
        faster than the model answers: an answer that an acknowledged change made wrong is not served.
        """
        if (similar := await self._similar(call, trail)) is not None:
            return similar
        call = await self.ground(call, trail)
        for _ in range(MAX_REMAKES):
            reply = await self._dialogue.whole(call, trail)
            now = await self.ground_anew(call, trail)
            if _still_true(call, now, trail):
                return self._true(now, reply, trail)
            call = now
        raise DocumentsChanging("the documents change faster than an answer can be made", retry_after=1)

    async def stream(self, call: Call, trail: Trail) -> AsyncGenerator[Delta, None]:
        """The answer in pieces, the last one with the whole reply; as ``produce``, which see.

        Documents are checked once more when the first piece is there; after it nothing can be called back, and what
        changed meanwhile keeps the answer out of the cache.
        """
        if (similar := await self._similar(call, trail)) is not None:
            yield Delta(delta=dict(similar.message))
            yield Delta(reply=similar)
            return
        call = await self.ground(call, trail)
        for _ in range(MAX_REMAKES):
            async with aclosing(self._dialogue.aloud(call, trail)) as pieces:
                first = await anext(pieces)
                now = await self.ground_anew(call, trail)
                if not _still_true(call, now, trail):
                    call = now
                    continue
                piece: Delta | None = first
                while piece is not None:
                    if piece.reply is None:
                        yield piece
                    else:
                        yield structs.replace(piece, reply=self._true(now, piece.reply, trail))
                    piece = await anext(pieces, None)
                return
        raise DocumentsChanging("the documents change faster than an answer can be made", retry_after=1)

    def _true(self, call: Call, reply: Reply, trail: Trail) -> Reply:
        """The reply with its provenance, for its caller now, and for the cache when its caller has it."""
        reply = structs.replace(reply, documents=tuple(dict.fromkeys((*provenance(call), *reply.documents))))
        # What a tool has found is no part of the grounding, by which a kept answer would be held to be true later.
        unsure = trail.notes.get(UNREPEATABLE) or trail.notes.get(SEARCHED)
        reason = TOOLS if unsure else why_not_keep(call, reply)
        trail.notes["kept"] = reason or KEPT
        trail.keeping = None if reason else (call, reply)
        return reply

    async def keep(self, trail: Trail) -> bool:
        """Keep what was produced, if it may be kept; nobody has to wait for it. Whether it is in the cache now."""
        if trail.keeping is None:
            return False
        (call, reply), trail.keeping = trail.keeping, None
        if await self._cache.keep(call, reply) != KEPT:
            return False
        if self._semantic is not None:
            await self._semantic.learn(call, reply, trail, self.still_true)
        return True

    async def still_true(self, call: Call, candidate: Candidate) -> Reply | None:
        """The kept answer from before a change of documents, if today's ground the call just the same; kept on then.

        ``call`` carries the epoch of today, and is not grounded.
        """
        if not call.epoch:
            return None
        grounded = await self.ground(call, Trail(call=call, begun=self._clock.monotonic()))
        if not grounded.epoch or grounded.grounding != candidate.grounding:
            return None
        reply = structs.replace(candidate.reply, documents=provenance(grounded))
        # Nobody else has said that the documents are still those of the epoch: only an answer that is kept is served.
        return reply if await self._cache.keep(grounded, reply, candidate) == KEPT else None

    async def _similar(self, call: Call, trail: Trail) -> Reply | None:
        """The answer to a question that means the same. Nothing is kept of it under this question's name: the right
        to serve it may be taken back, and then it must be gone."""
        if self._semantic is None:
            return None
        reply = await self._semantic.find(call, trail, self.still_true)
        if reply is not None:
            trail.layer = Layer.SEMANTIC
        return reply


def provenance(call: Call) -> tuple[str, ...]:
    """``doc:<collection>/<id>@<version>`` of each document that the model saw."""
    return tuple(dict.fromkeys(f"doc:{call.collection}/{p.document}@{p.version}" for p in call.passages))


def _still_true(call: Call, now: Call, trail: Trail) -> bool:
    """Whether what grounded the answer is what grounds it now.

    What a tool has found is no part of the grounding, and nobody can say what it would find now: any change since the
    call's epoch may have changed it.
    """
    if now is call:
        return True
    return now.grounding == call.grounding and (now.epoch == call.epoch or not trail.notes.get(SEARCHED))

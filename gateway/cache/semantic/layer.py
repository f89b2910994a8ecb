"""The semantic layer: an answer to another question, where that has been earned, and what it takes to earn it.

It keeps no answers. A similar question is turned into the call that would have asked it, and the exact layer is asked
for that call's answer, under the epoch of now: so nothing here can be older, or of another scope, than what the exact
layer serves. A question whose answer is gone is forgotten.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct, structs

from gateway.cache import rules
from gateway.cache.semantic import scope
from gateway.cache.semantic.choice import CANDIDATES, Choice, Veto, choose
from gateway.cache.semantic.guards import veto as guards_veto
from gateway.cache.semantic.index import Near, SimilarIndex
from gateway.cache.semantic.items import Vector
from gateway.cache.semantic.probes import Probes
from gateway.cache.semantic.scope import Question, SemanticScope
from gateway.cache.semantic.score import fingerprint
from gateway.cache.semantic.shelf import Shelf
from gateway.cache.semantic.verdicts import Verdict
from gateway.clock import Clock
from gateway.embedding.base import Embedder, Vectors
from gateway.trail import Look, Trail
from gateway.types import (
    CachePolicy,
    Call,
    Candidate,
    LayerPolicy,
    Origin,
    PromptVersion,
    Reply,
    SemanticMode,
    SemanticPair,
    SemanticPolicy,
)

LAYER = "semantic"
LEXICAL = "lexical"
VETOED_SHARE = 0.25
"""Of what is picked for the judge otherwise: pairs that a guard rejected, to know what the guards cost."""

_READS = 2  # kept answers that are asked for, at most
_GONE = frozenset({rules.MISS, rules.EXPIRED, rules.REMOVED})

StillTrue = Callable[[Call, Candidate], Awaitable[Reply | None]]
"""The kept answer to a call from before a change of documents, if today's documents ground it just the same."""

_log = logging.getLogger(__name__)


class _Found(Protocol):
    @property
    def reply(self) -> Reply | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def epoch(self) -> str: ...
    @property
    def cuts(self) -> str: ...
    @property
    def candidate(self) -> Candidate | None: ...


class _Exact(Protocol):
    async def find(self, call: Call, epoch: Awaitable[str] | None = None) -> _Found: ...
    def key(self, call: Call) -> str: ...


class _Epochs(Protocol):
    async def current(self, tenant: str, collection: str) -> str: ...


class _Vectors(Protocol):
    @property
    def vectors(self) -> Vectors: ...
    @property
    def outcome(self) -> str: ...


class _KeptVectors(Protocol):
    async def embed(self, tenant: str, texts: Sequence[str], policy: LayerPolicy) -> _Vectors: ...


class _Verdicts(Protocol):
    async def of(self, scope: SemanticScope) -> Verdict | None: ...
    def forget(self) -> None: ...


class _Seen(Struct):
    """What a look found out, for when the fresh answer is there."""

    question: Question
    policy: CachePolicy
    vector: Vector | None = None
    picked: Near | None = None
    score: float = 0.0
    veto: str = ""
    probability: float = 1.0
    embedded: Look | None = None
    """Into the vectors that are kept, if it was asked."""


class SemanticAnswers:
    """For one event loop. Trouble is a miss; nothing here raises.

    ``embeddings`` keeps vectors, where that is faster than making them. ``compared`` and ``reworded`` are those of
    ``gateway/prompts/rewording.py``. Without ``record`` no pair can be judged, so the layer cannot earn anything: it
    does not even look.
    """

    def __init__(
        self,
        *,
        cache: _Exact,
        epochs: _Epochs,
        embedder: Embedder,
        shelf: Shelf,
        verdicts: _Verdicts,
        compared: Callable[[PromptVersion], str],
        reworded: Callable[[Call, str, str], Call],
        record: Callable[[SemanticPair], None] | None,
        clock: Clock,
        entropy: random.Random,
        embeddings: _KeptVectors | None = None,
        veto: Veto = guards_veto,
    ) -> None:
        self._cache = cache
        self._epochs = epochs
        self._embedder = embedder
        self._shelf = shelf
        self.verdicts = verdicts
        self._compared = compared
        self._reworded = reworded
        self._record = record
        self._clock = clock
        self._entropy = entropy
        self._embeddings = embeddings
        self._veto = veto
        self.probes = Probes(clock)

    async def find(self, call: Call, trail: Trail, still_true: StillTrue) -> Reply | None:
        """The answer that may be served for this routed call. Tells ``trail.notes["semantic"]`` what it saw."""
        version = call.version
        if version is None:
            return None
        variable = self._compared(version)
        if why := scope.why_not_look(call, variable) or ("" if self._record is not None else "content"):
            trail.notes[LAYER] = {"state": scope.OFF, "why": why}
            trail.looked(LAYER, why)
            return None
        begun = self._clock.monotonic()
        notes: dict[str, Any] = {"state": "trouble", "served": False}
        trail.notes[LAYER] = notes
        reply: Reply | None = None
        try:
            question = scope.question_of(call, version, variable, self._embedder.name)
            seen = trail.similar = _Seen(question, version.cache)
            reply = await self._find(call, seen, notes, still_true)
        except Exception as trouble:  # an embedder that is down, above all: the call goes on without
            notes["why"] = type(trouble).__name__
            _log.warning("the semantic layer could not look: %s", type(trouble).__name__)
        now = self._clock.monotonic()
        trail.passed(LAYER, begun, now)
        trail.looked(LAYER, rules.HIT if reply is not None else str(notes["state"]), now - begun)
        if isinstance(trail.similar, _Seen) and trail.similar.embedded is not None:
            trail.looks.append(trail.similar.embedded)
        return reply

    async def learn(self, call: Call, reply: Reply, trail: Trail, still_true: StillTrue) -> None:
        """A fresh answer of this grounded call is in the exact layer: it can be found for similar questions.

        What takes time goes on in the background.
        """
        version, record = call.version, self._record
        if version is None or record is None:
            return
        try:
            variable = self._compared(version)
            if scope.why_not_learn(call, variable):
                return
            seen = trail.similar
            if not isinstance(seen, _Seen):
                seen = _Seen(scope.question_of(call, version, variable, self._embedder.name), version.cache)
            self.probes.begin(self._teach(seen, reply.text))
            if (probed := self.probes.answered(call.id)) is not None:
                record(structs.replace(probed, fresh_answer=reply.text, at=self._clock.now()))
            elif seen.picked is not None:
                self.probes.begin(self._pair(call, reply, seen, seen.picked, record, still_true))
        except Exception as trouble:
            _log.warning("the semantic layer could not learn: %s", type(trouble).__name__)

    async def stop(self) -> None:
        """Give up what is under way in the background."""
        await self.probes.stop()
        await self._shelf.stop()

    async def settle(self) -> None:
        """Wait for what is under way in the background."""
        await self.probes.settle()
        await self._shelf.settle()

    async def _find(self, call: Call, seen: _Seen, notes: dict[str, Any], still_true: StillTrue) -> Reply | None:
        question, policy = seen.question, seen.policy.semantic
        notes["embedder"] = self._embedder.name
        notes[LEXICAL] = is_lexical(self._embedder.name)
        verdict = await self.verdicts.of(question.scope) if policy.mode is SemanticMode.ON else None
        index = await self._shelf.index(question.part)
        if index is None:
            notes["state"] = "loading"
            return None
        notes["state"] = _state(policy, verdict)
        serving = verdict if _may_serve(policy, verdict) else None
        drawn = call.origin is Origin.LIVE and self._entropy.random() < policy.judged_share
        notes["looked"] = bool(len(index)) and (drawn or serving is not None)
        if not notes["looked"]:  # what is neither served nor judged is not worth its time
            return None
        seen.vector = await self._embed(seen)
        near = await index.nearest(seen.vector, CANDIDATES, self._clock.now())
        choice = choose(question.text, near, self._veto)
        best = choice.best
        if best is None:
            notes["similarity"] = round(near[0].similarity, 4) if near else None
            return None
        notes |= {"similarity": round(best.similarity, 4), "score": round(choice.score(best), 4)}
        notes["veto"] = "" if choice.fitting else choice.veto
        notes["kept_key"] = self._name(call, question, best)
        if serving is not None:
            notes["threshold"] = round(serving.threshold, 4)
            served = await self._serve(call, question, choice, serving, index, still_true)
            if served is not None:
                reply, of = served
                score = choice.score(of)
                notes |= {"served": True, "similarity": round(of.similarity, 4), "score": round(score, 4)}
                notes["kept_key"] = self._name(call, question, of)
                self._sample(call, question, of, score, reply, policy.sampled_share)
                return reply
        if drawn:
            self._pick(seen, choice, policy.judged_share)
        return None

    async def _serve(
        self,
        call: Call,
        question: Question,
        choice: Choice,
        verdict: Verdict,
        index: SimilarIndex,
        still_true: StillTrue,
    ) -> tuple[Reply, Near] | None:
        for one in choice.fitting[:_READS]:
            if choice.score(one) < verdict.threshold:
                return None
            reply = await self._kept(call, question, one, index, still_true)
            if reply is not None:
                return reply, one
        return None

    async def _kept(
        self, call: Call, question: Question, near: Near, index: SimilarIndex, still_true: StillTrue
    ) -> Reply | None:
        """What the exact layer would serve whoever asks the kept question now."""
        kept = self._reworded(call, question.variable, near.text)
        epoch = self._epochs.current(call.tenant, call.collection) if call.collection else None
        found = await self._cache.find(kept, epoch)
        if found.reply is not None:
            return found.reply
        if found.candidate is not None:
            kept = structs.replace(kept, epoch=found.epoch, cuts=found.cuts)
            reply = await still_true(kept, found.candidate)
            if reply is not None:
                return reply
        if found.candidate is not None or found.reason in _GONE:
            index.drop(near.text)
        return None

    def _pick(self, seen: _Seen, choice: Choice, drawn_with: float) -> None:
        """Have the judge compare, once the fresh answer is there; of what a guard rejected, only some."""
        best = choice.best
        if best is None or (not choice.fitting and self._entropy.random() >= VETOED_SHARE):
            return
        seen.picked, seen.score = best, choice.score(best)
        seen.veto = "" if choice.fitting else choice.veto
        seen.probability = drawn_with * (1.0 if choice.fitting else VETOED_SHARE)

    def _sample(
        self, call: Call, question: Question, near: Near, score: float, kept: Reply, probability: float
    ) -> None:
        """By chance, answer anew what was just served, so that the judge can compare."""
        if call.origin is not Origin.LIVE or self._entropy.random() >= probability:
            return
        pair = _pair_of(call, question, near, score, kept, "", probability, served=True)
        self.probes.ask(call, pair)

    def _name(self, call: Call, question: Question, near: Near) -> str:
        """Of the kept answer, without saying what the question was."""
        return self._cache.key(self._reworded(call, question.variable, near.text))[:16]

    async def _pair(
        self,
        call: Call,
        reply: Reply,
        seen: _Seen,
        picked: Near,
        record: Callable[[SemanticPair], None],
        still_true: StillTrue,
    ) -> None:
        index = await self._shelf.index(seen.question.part)
        if index is None:
            return
        kept = await self._kept(call, seen.question, picked, index, still_true)
        if kept is None:  # it could not have been served
            return
        pair = _pair_of(call, seen.question, picked, seen.score, kept, seen.veto, seen.probability, served=False)
        record(structs.replace(pair, fresh_answer=reply.text, at=self._clock.now()))

    async def _embed(self, seen: _Seen) -> Vector:
        """What retrieval asks for next is asked for in the same way, so that it is there already."""
        question = seen.question
        if self._embeddings is None:
            vectors = await self._embedder.embed([question.text])
        else:
            begun = self._clock.monotonic()
            found = await self._embeddings.embed(question.scope.tenant, [question.text], seen.policy.embedding)
            seen.embedded = Look("embedding", found.outcome, self._clock.monotonic() - begun)
            vectors = found.vectors
        row: Vector = vectors[0]
        return row

    async def _teach(self, seen: _Seen, answer: str) -> None:
        question, vector = seen.question, seen.vector
        lifetime = min(seen.policy.semantic.ttl, seen.policy.ttl)
        now = self._clock.now()
        index = await self._shelf.index(question.part)
        if index is not None and index.expires_at(question.text) > now + lifetime / 2:
            return
        if vector is None:
            vector = await self._embed(seen)
        if vector.any():
            await self._shelf.add(question.part, question.text, vector, now + lifetime, fingerprint(answer))


def is_lexical(embedder: str) -> bool:
    """Whether an embedder knows words, not meaning."""
    return embedder.startswith(LEXICAL)


def _may_serve(policy: SemanticPolicy, verdict: Verdict | None) -> bool:
    """The bound is held against the policy here too: the one that was judged by may have been a laxer one."""
    return verdict is not None and verdict.serving and verdict.upper <= policy.max_wrong


def _state(policy: SemanticPolicy, verdict: Verdict | None) -> str:
    if policy.mode is SemanticMode.SHADOW:
        return "shadow"
    return "serving" if _may_serve(policy, verdict) else "unproven"


def _pair_of(
    call: Call,
    question: Question,
    near: Near,
    score: float,
    kept: Reply,
    veto: str,
    probability: float,
    *,
    served: bool,
) -> SemanticPair:
    of = question.scope
    return SemanticPair(
        id=call.id,
        tenant=of.tenant,
        prompt=of.prompt,
        version=of.version,
        recipe=of.recipe,
        asked=question.text,
        kept=near.text,
        similarity=score,
        veto=veto,
        probability=probability,
        served=served,
        kept_answer=kept.text,
    )

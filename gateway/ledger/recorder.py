"""The pipeline's hand-off: metrics at once, the ledger by the spool, both before the answer leaves."""

import logging

from gateway.clock import Clock
from gateway.errors import PromptyardError, StorageUnavailable
from gateway.ledger.lines import Record
from gateway.ledger.records import PAIR, call_record, failure_record, score_record
from gateway.ledger.spool import Spool, SpoolFull
from gateway.telemetry import Metrics
from gateway.tracing import Tracing
from gateway.trail import Trail
from gateway.types import Answer, Call, SemanticPair

log = logging.getLogger(__name__)


class SpoolRecorder:
    """Counts and records. A spool that cannot take a record is counted and logged, and never fails a call."""

    def __init__(
        self, spool: Spool, metrics: Metrics, clock: Clock, *, keep_content: bool = True, tracing: Tracing | None = None
    ) -> None:
        self._spool = spool
        self._metrics = metrics
        self._clock = clock
        self._keep_content = keep_content
        self._tracing = tracing

    def answered(self, answer: Answer, trail: Trail) -> None:
        self._metrics.answered(answer, trail)
        self._hand_over("call", call_record(answer, self._keep_content, trail))
        if self._tracing is not None and self._tracing.wants():
            self._tracing.answered(answer, trail)

    def failed(self, trail: Trail, error: PromptyardError, latency_ms: float) -> None:
        self._metrics.failed(trail, error)
        self._hand_over("call", failure_record(trail, error, latency_ms, self._keep_content))
        log.info("a call failed: %s", error.code, extra={"call_id": trail.call.id, "code": error.code})
        if self._tracing is not None and self._tracing.wants():
            self._tracing.failed(trail, error, latency_ms)

    def refused(self, call: Call, error: PromptyardError) -> None:
        self._metrics.refused.labels(error.code).inc()

    def pair(self, pair: SemanticPair) -> None:
        """Two questions for the judge; not without the content of calls, which it is made of."""
        if self._keep_content:
            self._hand_over(PAIR, pair)

    def feedback(self, *, tenant: str, call_id: str, metric: str, value: float, comment: str) -> None:
        """Raises StorageUnavailable when the spool is full: the caller may send the feedback again."""
        record = score_record(
            call_id=call_id,
            tenant=tenant,
            metric=metric,
            source="feedback",
            value=value,
            reason=comment,
            scored_at=self._clock.now(),
        )
        try:
            self._spool.append("score", record)
        except (SpoolFull, OSError, TypeError) as error:
            raise StorageUnavailable("the feedback could not be kept", retry_after=5) from error

    def _hand_over(self, kind: str, record: Record) -> None:
        try:
            self._spool.append(kind, record)
        except (SpoolFull, OSError, TypeError) as error:
            self._metrics.ledger_rejected.inc()
            log.error("the ledger misses a %s (%s): is the ledger-writer running?", kind, type(error).__name__)

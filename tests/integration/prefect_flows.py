"""Flows as light as can be, for a server and a worker that are real."""

from prefect import flow

from flows.update_documents import UpdateRequest


@flow(name="tiny_sweep", persist_result=False)
def tiny_sweep() -> None:
    """Started by a schedule."""


@flow(name="tiny_documents", persist_result=False)
def tiny_documents(request: UpdateRequest) -> None:
    """Started by the event of a changed document, whose payload must fit the real flow's parameter."""
    if not (request.tenant and request.collection and request.document_id):
        raise ValueError(f"the event's payload did not arrive: {request}")

"""What an item of a job is: a completion through the same path as a live call, or a document through the same put."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs
from sqlalchemy import Engine

from gateway.api.chat_response import completion
from gateway.api.job_request import read_item, version_of
from gateway.api.serving import Asker
from gateway.compose import Gateway
from gateway.errors import Forbidden, PromptyardError
from gateway.jobs import running
from gateway.jobs.rules import ItemState, JobKind, call_id, storable
from gateway.jobs.running import Outcome
from gateway.prompts.projection import project_routes
from gateway.prompts.router import Router
from gateway.settings import Settings
from gateway.storage.engine import reading
from gateway.storage.models import ApiKeyRow, JobItemRow, JobRow
from gateway.types import NO_LIMITS, Call, KeyLimits, Principal, PromptVersion, RoutingTable
from tasks.document_folder import list_files, read_file
from tasks.job_items import Held, Work, failure
from tasks.releases import store

_encode = msgspec.json.Encoder(decimal_format="number").encode


def work_of(settings: Settings, gateway: Gateway, held: Held, job: JobRow) -> Work:
    """How this job's items are done; what holds for all of them is decided once and noted in the job.

    Raises PromptyardError when the job as a whole cannot go on, such as Forbidden for a key that was revoked since.
    """
    principal = _principal(held.engine, job)
    if job.kind == JobKind.COMPLETION:
        return _completions(gateway, held, job, principal)
    return _imports(settings, gateway, held, job)


def _completions(gateway: Gateway, held: Held, job: JobRow, principal: Principal) -> Work:
    request, clock = job.request, held.clock
    version = _version(held, job, principal, gateway.provider_names)

    async def complete(item: JobItemRow) -> Outcome:
        own_id = call_id(job.id, item.seq, item.attempts)
        try:
            call = read_item(request, item.input, Asker(own_id, clock.now(), principal, gateway.provider_names))
            answer = await gateway.pipeline.answer(structs.replace(call, version=version))
        except Exception as error:
            return failure(_known(error), item.attempts, own_id)
        output = storable(msgspec.json.decode(_encode(completion(answer))))
        return Outcome(state=ItemState.DONE, call_id=own_id, output=output, cost_usd=answer.paid_usd)

    return complete


def _version(held: Held, job: JobRow, principal: Principal, providers: frozenset[str]) -> PromptVersion | None:
    """One for the whole job, however long it takes: that which is in production when the job begins, or the pinned one.

    Raises UnknownPrompt when it is not active any more by then.
    """
    request = job.request
    if not request["prompt"]:
        return None
    name = request["prompt"].partition("@")[0]
    if known := request.get("version"):
        bundle = store.get_version(held.engine, job.tenant, name, known).bundle
        return msgspec.convert(bundle, PromptVersion)
    call: Call = read_item(request, {}, Asker("", held.clock.now(), principal, providers))
    with reading(held.engine) as session:
        router = Router(RoutingTable(routes=tuple(project_routes(session))))
    version = version_of(call, router)
    if version is not None:
        running.note(held.engine, job.id, held.owner, {**request, "version": version.version})
    return version


def _imports(settings: Settings, gateway: Gateway, held: Held, job: JobRow) -> Work:
    root, folder, collection = settings.import_root, job.request["folder"], job.request["collection"]
    if folder and not job.total:
        names = list_files(root, job.tenant, folder, settings.job_max_items)
        items = [{"id": name.rpartition(".")[0], "file": name} for name in names]
        running.set_items(held.engine, job.id, held.owner, items)

    def content(item: Mapping[str, Any]) -> tuple[str, str, Mapping[str, Any]]:
        if folder:
            return *read_file(root, job.tenant, folder, item["file"]), {}
        return item["title"], item["text"], item["attributes"]

    async def put(item: JobItemRow) -> Outcome:
        """A second time, after a kill, the same content changes nothing."""
        try:
            title, text, attributes = await asyncio.to_thread(content, item.input)
            state = await gateway.documents.put(
                job.tenant, collection, item.input["id"], title=title, text=text, attributes=attributes
            )
        except Exception as error:
            return failure(_known(error), item.attempts)
        return Outcome(state=ItemState.DONE, output=msgspec.to_builtins(state))

    return put


def _principal(engine: Engine, job: JobRow) -> Principal:
    """The key's identity and limits as they are now. Raises Forbidden when it was revoked."""
    with reading(engine) as session:
        row = session.get(ApiKeyRow, job.key_id)
    if row is None or row.revoked_at is not None:
        raise Forbidden("the API key that asked for this job was revoked")
    limits = msgspec.convert(row.limits, KeyLimits) if row.limits else NO_LIMITS
    return Principal(tenant=job.tenant, key_id=row.id, limits=limits)


def _known(error: Exception) -> PromptyardError:
    """What nobody foresaw spoils its item alone, and its message is kept nowhere: it could hold a prompt."""
    return error if isinstance(error, PromptyardError) else PromptyardError(type(error).__name__)

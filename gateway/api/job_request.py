"""The body of ``POST /v1/jobs``, checked item by item before anything is accepted, and each item as the Call it is."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from msgspec import structs
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from gateway.api.chat_request import MANAGED, read_call
from gateway.api.serving import Asker
from gateway.errors import InvalidRequest
from gateway.jobs.rules import JobKind, check_storable, folder_segments
from gateway.jobs.store import NewJob
from gateway.prompts.router import Router
from gateway.prompts.template import bind
from gateway.retrieval.document_rules import check_content, check_name
from gateway.types import Call, Origin, PromptVersion

_STRICT = ConfigDict(extra="forbid", strict=True)
_NOT_PARAMS = frozenset({"model", "messages", "stream", "stream_options", "user", "variables", "promptyard"})


class CompletionItem(BaseModel):
    """One completion, as a body of ``/v1/chat/completions`` would ask for it."""

    model_config = _STRICT

    variables: dict[str, Any] = Field(default_factory=dict, description="Of the managed prompt.")
    messages: list[dict[str, Any]] = Field(default_factory=list, description="Follow the managed prompt's template.")
    user: str = Field("", max_length=200)


class CompletionJob(BaseModel):
    """Many completions of one managed prompt or one model."""

    model_config = _STRICT

    kind: Literal["completion"]
    prompt: str = Field("", max_length=300, description="name or name@version: of the one in production by default.")
    model: str = Field("", max_length=400, description="In place of a prompt: a model's name, or provider/model.")
    items: list[CompletionItem] = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict, description="Sampling parameters, the same for all items.")
    promptyard: dict[str, Any] = Field(default_factory=dict, description="cache and personal, as in a chat completion.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.prompt) == bool(self.model):
            raise ValueError("either 'prompt' or 'model' must be given")
        return self


class ImportedDocument(BaseModel):
    """A document as ``PUT /v1/documents/{collection}/{id}`` takes it."""

    model_config = _STRICT

    id: str = Field(max_length=120)
    title: str = Field("", max_length=500)
    text: str = Field(min_length=1, max_length=1_000_000)
    attributes: dict[str, Any] = Field(default_factory=dict)


class ImportJob(BaseModel):
    """Documents for one collection: in the body, or the Markdown files of a folder on the control plane's disk."""

    model_config = _STRICT

    kind: Literal["import"]
    collection: str = Field(max_length=120)
    documents: list[ImportedDocument] = Field(default_factory=list)
    folder: str = Field(
        "", max_length=1_000, description="Relative, below the tenant's folder in PROMPTYARD_IMPORT_ROOT."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.documents) == bool(self.folder):
            raise ValueError("either 'documents' or 'folder' must be given")
        return self


class JobBody(RootModel[Annotated[CompletionJob | ImportJob, Field(discriminator="kind")]]):
    """What is to be done."""


def job_of(body: JobBody, job_id: str, asker: Asker, router: Router, *, most_items: int, import_root: str) -> NewJob:
    """The job, every item of it checked. Raises InvalidRequest, which names the item; UnknownPrompt; BodyTooLarge."""
    asked = body.root
    count = len(asked.items if isinstance(asked, CompletionJob) else asked.documents)
    if count > most_items:
        raise InvalidRequest(f"the job has {count} items, {most_items} are allowed", hint="Split it into several jobs.")
    if isinstance(asked, CompletionJob):
        request, items = _completions(asked, asker, router)
    else:
        request, items = _import(asked, asker.principal.tenant, import_root)
    kind, principal = JobKind(asked.kind), asker.principal
    return NewJob(id=job_id, tenant=principal.tenant, key_id=principal.key_id, kind=kind, request=request, items=items)


def read_item(request: Mapping[str, Any], item: Mapping[str, Any], asker: Asker) -> Call:
    """An item of a completion job as the Call it is, by the very rules of a chat completion. Raises InvalidRequest."""
    model = f"{MANAGED}{request['prompt']}" if request["prompt"] else request["model"]
    call = read_call({**request["params"], **item, "model": model, "promptyard": request["promptyard"]}, asker)
    return structs.replace(call, origin=Origin.JOB)


def version_of(call: Call, router: Router) -> PromptVersion | None:
    """The version that answers a whole job: the pinned one, else the one in production, never a canary.

    None for a raw call. Raises UnknownPrompt.
    """
    return router.route(structs.replace(call, user="")).version


def _completions(
    asked: CompletionJob, asker: Asker, router: Router
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    wrong = sorted(_NOT_PARAMS.intersection(asked.params))
    if wrong:
        raise InvalidRequest(f"params.{wrong[0]} is no sampling parameter", hint="Put it into the items, or beside.")
    if "origin" in asked.promptyard:
        raise InvalidRequest("promptyard.origin of a job is 'job'", hint="Leave it out.")
    request = {"prompt": asked.prompt, "model": asked.model, "params": asked.params, "promptyard": asked.promptyard}
    check_storable(request, "the body")
    items: list[Mapping[str, Any]] = []
    version: PromptVersion | None = None
    for number, one in enumerate(asked.items):
        item = one.model_dump(exclude_defaults=True)
        try:
            check_storable(item, "it")
            call = read_item(request, item, asker)
            version = version or version_of(call, router)
            if version is not None:
                bind(version, call.variables)
        except InvalidRequest as error:
            raise InvalidRequest(f"items.{number}: {error.message}", hint=error.hint) from None
        items.append(item)
    return request, items


def _import(asked: ImportJob, tenant: str, import_root: str) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    check_name("tenant", tenant)
    check_name("collection", asked.collection)
    if asked.folder:
        if not import_root:
            raise InvalidRequest(
                "imports from a folder are switched off", hint="Send 'documents', or set PROMPTYARD_IMPORT_ROOT."
            )
        return {"collection": asked.collection, "folder": "/".join(folder_segments(asked.folder))}, []
    seen: set[str] = set()
    for number, one in enumerate(asked.documents):
        try:
            check_name("document", one.id)
            check_content(one.title, one.text, one.attributes)
            if one.id in seen:
                raise InvalidRequest("its id is there twice", hint="One job writes a document once.")
        except InvalidRequest as error:
            raise InvalidRequest(f"documents.{number}: {error.message}", hint=error.hint) from None
        seen.add(one.id)
    return {"collection": asked.collection, "folder": ""}, [one.model_dump() for one in asked.documents]

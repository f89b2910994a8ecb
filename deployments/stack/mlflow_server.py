"""MLflow's server in one process: ``python -m deployments.stack.mlflow_server FOLDER HOST PORT``.

``mlflow server`` imports MLflow, prepares the stores, and then starts a second Python that imports MLflow again: on a
small machine that doubles the longest wait of the whole stack. This does the same steps (``mlflow/server/__init__.py``,
``_run_server``, version 3.17) once. Outside the local stack, use ``mlflow server``.
"""

import os
import sys
from pathlib import Path


def main(folder: Path, host: str, port: int) -> None:
    """Serve runs, prompts and artifacts from ``folder`` until a signal ends it."""
    import uvicorn
    from mlflow.server import constants
    from mlflow.server.handlers import initialize_backend_stores

    store, root = f"sqlite:///{folder}/mlflow.db", "mlflow-artifacts:/"
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: store,
        constants.REGISTRY_STORE_URI_ENV_VAR: store,
        constants.ARTIFACT_ROOT_ENV_VAR: root,
        constants.ARTIFACTS_DESTINATION_ENV_VAR: str(folder / "artifacts"),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    initialize_backend_stores(store, store, root)
    uvicorn.run("mlflow.server.fastapi_app:app", host=host, port=port, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

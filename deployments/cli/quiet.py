"""Keeps libraries that talk a lot out of a command's output. What they say is in the stack's logs and on the pages."""

import logging
import os


def quiet_libraries() -> None:
    """Call before Prefect or MLflow is imported. What their loggers say still reaches the run's page in Prefect."""
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    for name in ("mlflow", "alembic", "httpx", "httpx2", "evidently"):
        logging.getLogger(name).setLevel(logging.ERROR)

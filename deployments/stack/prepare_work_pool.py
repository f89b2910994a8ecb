"""Makes the process work pool: ``python -m deployments.stack.prepare_work_pool API NAME``.

Over Prefect's HTTP API alone: importing Prefect takes seconds, and the worker waits for this.
"""

import json
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_VIEW = "server/api/collections_data/views/aggregate-worker-metadata.json"


def process_template() -> dict[str, Any]:
    """Prefect's own template for process workers; empty when it is not where it used to be (a worker then adds it)."""
    spec = find_spec("prefect")
    if spec is None or spec.origin is None:
        return {}
    try:
        workers = json.loads((Path(spec.origin).parent / _VIEW).read_text())
        return dict(workers["prefect"]["process"]["default_base_job_configuration"])
    except (OSError, ValueError, KeyError):
        return {}


def create_pool(api: str, name: str, template: dict[str, Any]) -> bool:
    """True when the pool was made, False when it was there. Raises OSError when the server refuses or is away."""
    body = json.dumps({"name": name, "type": "process", "base_job_template": template}).encode()
    request = urllib.request.Request(  # noqa: S310 - the stack's own address
        f"{api}/work_pools/", data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10.0):
            return True
    except urllib.error.HTTPError as error:
        if error.code == 409:
            return False
        raise


if __name__ == "__main__":
    api, name = sys.argv[1:]
    print(f"work pool '{name}' {'made' if create_pool(api, name, process_template()) else 'was there'}")

"""``python -m infra.simulator --host 127.0.0.1 --port 8090 [--seed 0] [--latency-p50 10 --latency-p95 25]``."""

import argparse
import gc

from .app import build_app
from .faults import Latency
from .server import build_server


def main() -> None:
    """Parses the command line and serves until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.simulator", description="A stand-in for OpenAI and Anthropic."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--seed", type=int, default=0, help="fixes ids, latencies and injected errors")
    parser.add_argument("--latency-p50", type=float, default=10.0, metavar="MS", help="median latency (default 10)")
    parser.add_argument("--latency-p95", type=float, default=25.0, metavar="MS", help="95th percentile (default 25)")
    given = parser.parse_args()
    try:
        latency = Latency(given.latency_p50, given.latency_p95)
    except ValueError as error:
        parser.error(str(error))
    server = build_server(build_app(given.seed, latency=latency), given.host, given.port)
    gc.freeze()
    print(f"simulator: http://{given.host}:{given.port} (seed {given.seed})", flush=True)
    server.run()


if __name__ == "__main__":
    main()

"""Save the workspace's blocks in Prefect from the environment: ``python -m deployments.save_blocks``."""

from blocks.workspace import save_workspace
from gateway.settings import Settings


def main() -> None:
    for slug in save_workspace(Settings()):
        print(f"saved {slug}/default")


if __name__ == "__main__":
    main()

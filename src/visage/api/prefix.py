"""Under which path a proxy shows the service."""

from starlette.types import Scope


def prefix_of(scope: Scope) -> str:
    """ROOT_PATH, without a slash at its end."""
    return str(scope.get("root_path", "")).rstrip("/")

from collections.abc import Callable
from typing import Any, final

__all__ = ["Memory", "Plane", "WatchHandle", "__version__"]
__version__: str

@final
class Memory:
    def __new__(cls, tree: str | None = None) -> Memory: ...
    def client(self, environment: str) -> Plane: ...
    def set(self, kind: str, name: str, value: str) -> None: ...
    def forget_flag(self, key: str) -> None: ...

@final
class WatchHandle:
    def end(self) -> None: ...

@final
class Plane:
    def __new__(cls, settings: dict[str, Any]) -> Plane: ...
    def wait_ready(self, seconds: float, environment: str | None = None) -> int: ...
    def is_ready(self) -> bool: ...
    def is_enabled(
        self,
        flag: str,
        tenant: str | None,
        user: str | None,
        rollout: float | None,
        default: bool,
        environment: str | None,
        attributes: dict[str, Any] | None,
    ) -> bool: ...
    def evaluate(
        self,
        flag: str,
        default: str,
        tenant: str | None = None,
        user: str | None = None,
        environment: str | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> str: ...
    def resolve(
        self,
        agent: str,
        tenant: str | None = None,
        user: str | None = None,
        environment: str | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> bytes: ...
    def config(
        self, path: str, tenant: str | None = None, user: str | None = None, environment: str | None = None
    ) -> str: ...
    def watch(
        self,
        path: str,
        callback: Callable[[str], None],
        tenant: str | None = None,
        environment: str | None = None,
    ) -> WatchHandle: ...
    def published(
        self, kind: str, name: str, version: str | None = None, environment: str | None = None
    ) -> str: ...
    def list_published(
        self,
        kind: str,
        text: str | None = None,
        category: str | None = None,
        capability: str | None = None,
        owner: str | None = None,
    ) -> str: ...
    def publish(self, kind: str, manifest: str) -> str: ...
    def set_status(self, kind: str, name: str, version: str, status: str) -> int: ...
    def status(self) -> str: ...
    def close(self) -> None: ...

from collections.abc import Callable
from typing import Any, final

from typing_extensions import Self, disjoint_base

__all__ = [
    "Ambient",
    "Client",
    "Memory",
    "Plane",
    "WatchHandle",
    "__version__",
    "evaluate_flat",
    "forked",
    "leave",
    "share",
    "shared",
    "watch_standing",
]
__version__: str

def leave() -> None: ...
def forked() -> None: ...
def shared() -> Plane | None: ...
def share(plane: Plane | None) -> Plane | None: ...
def evaluate_flat(
    plane: Plane, flag: str, default: str, context: str, environment: str | None = None
) -> str: ...
def watch_standing(
    plane: Plane, callback: Callable[[str, str], None], environment: str | None = None
) -> tuple[WatchHandle, WatchHandle]: ...

@final
class Ambient:
    def __new__(
        cls, outer: Ambient | None, tenant: str | None, user: str | None, attributes: dict[str, Any]
    ) -> Ambient: ...

@disjoint_base
class Client:
    def __new__(cls, *_arguments: Any, **_settings: Any) -> Self: ...
    def _ask(self, plane: Plane) -> None: ...
    @property
    def _own(self) -> Plane | None: ...
    @property
    def _plane(self) -> Plane: ...
    def is_enabled(
        self,
        flag: str,
        user_id: str | None = None,
        *,
        tenant_id: str | None = None,
        rollout_percentage: float | None = None,
        default: bool = False,
        environment: str | None = None,
    ) -> bool:
        """Says whether a flag is on.

        A flag that does not exist, or cannot be evaluated, is ``default``; that is counted, never raised.
        ``rollout_percentage`` is an upper bound of the caller's on what rules and defaults give.
        """

@final
class Memory:
    def __new__(cls, tree: str | None = None) -> Memory: ...
    def client(self, environment: str, contract: str | None = None) -> Plane: ...
    def set(self, kind: str, name: str, value: str) -> None: ...
    def forget_flag(self, key: str) -> None: ...

@final
class WatchHandle:
    def end(self) -> None: ...

@final
class Plane:
    def __new__(cls, settings: dict[str, Any]) -> Plane: ...
    def wait_ready(self, seconds: float, environment: str | None = None) -> int: ...
    def load_tenant(self, tenant: str, seconds: float, environment: str | None = None) -> int: ...
    def is_ready(self) -> bool: ...
    def evaluate(
        self,
        flag: str,
        default: str,
        tenant: str | None = None,
        user: str | None = None,
        environment: str | None = None,
    ) -> str: ...
    def resolve(
        self,
        agent: str,
        tenant: str | None = None,
        user: str | None = None,
        environment: str | None = None,
    ) -> tuple[dict[str, Any], bytes]: ...
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
    def forked(self) -> None: ...
    def close(self) -> None: ...

"""A control plane in memory, for unit tests: no server, no files, every change seen at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from control_plane import _shared
from control_plane._core import Memory
from control_plane.client import ControlPlaneClient, as_json
from control_plane.contract import Contract

__all__ = ["InMemory"]


class InMemory:
    """A control plane whose content a test says, over nothing or over a tree::

        @pytest.fixture
        def plane():
            with InMemory().shared() as plane:
                yield plane

        def test_the_beta(plane):
            plane.flag("beta_features", True)
            assert FeatureFlagManager().is_enabled("beta_features")

    What is said goes through the validation that a server runs: a test cannot hold what a platform never could.
    """

    def __init__(self, tree: str | os.PathLike[str] | None = None) -> None:
        self._memory = Memory(None if tree is None else os.fspath(tree))

    def flag(self, key: str, value: Any) -> InMemory:
        """Gives a flag one value for everybody: before rules, targets and pins."""
        return self._set("flag", key, value)

    def forget_flag(self, key: str) -> InMemory:
        """Takes back what was said of a flag."""
        self._memory.forget_flag(key)
        return self

    def config(self, path: str, value: Any) -> InMemory:
        """Sets the configuration at a path such as ``database.url``: over every layer."""
        return self._set("config", path, value)

    def agent(self, name: str, **metadata: Any) -> InMemory:
        """Publishes an agent for everybody; over a tree's, what is given replaces what its newest version says."""
        return self._set("agent", name, metadata)

    def tool(self, name: str, **metadata: Any) -> InMemory:
        """Publishes a tool; over a tree's, what is given replaces what its newest version says."""
        return self._set("tool", name, metadata)

    def tenant(self, id: str, **attributes: Any) -> InMemory:
        """Adds a tenant: ``plane.tenant("acme", plan="free")``."""
        return self._set("tenant", id, attributes)

    def client(self, environment: str = "test", *, contract: Contract | None = None) -> ControlPlaneClient:
        """A client of it; an environment that is not there is made. A contract shows what a service would reject."""
        relied_on = None if contract is None else contract.to_json()
        return ControlPlaneClient._of(_shared.keep(self._memory.client(environment, relied_on)))

    @contextmanager
    def shared(self, environment: str = "test") -> Iterator[InMemory]:
        """Makes clients and managers without arguments read from it inside of the block."""
        plane = _shared.keep(self._memory.client(environment))
        before = _shared.use(plane)
        try:
            yield self
        finally:
            _shared.use(before)
            plane.close()

    def _set(self, kind: str, name: str, value: Any) -> InMemory:
        self._memory.set(kind, name, as_json(value))
        return self

    def __repr__(self) -> str:
        return "<InMemory control plane>"

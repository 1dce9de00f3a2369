"""The client: everything that a service asks, on one view of this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

from control_plane import _shared
from control_plane._core import Client, Plane
from control_plane.agents import Agent, agent_of
from control_plane.errors import ArgumentError, ConfigNotFoundError, ControlPlaneError

if TYPE_CHECKING:
    from control_plane.contract import Contract

__all__ = ["ControlPlaneClient", "Evaluation"]

_MISSING: Any = object()


@dataclass(frozen=True)
class Evaluation:
    """What a flag is, and why."""

    value: Any
    variant: str | None
    reason: str
    error_code: str | None
    error_message: str | None
    rule: str | None
    revision: int
    #: What the flag's author tells those who evaluate it.
    metadata: Mapping[str, bool | int | float | str] = field(default_factory=dict, hash=False)


class ControlPlaneClient(Client):
    """A client of the control plane.

    Without arguments it is the one that the environment variables describe, and shares its views with all managers
    of the process: ``CONTROL_PLANE_URL`` (a server, or ``file:TREE`` for a tree of files and no server at all),
    ``CONTROL_PLANE_TOKEN``, ``CONTROL_PLANE_ENVIRONMENT``, and ``CONTROL_PLANE_SERVER_KEY`` for the public key that the
    server signs with (without it the first one that is met is trusted), and ``CONTROL_PLANE_CA_FILE`` for the certificate
    authorities that vouch for it by ``https`` (without it those of the web). Arguments make a client of their own.

    Nothing is read or sent before the first question. From then on answers come out of this process: a server that
    goes away is not missed. A forked process answers from what it inherited at once, and catches up in the background:
    for a moment after a fork it may answer as its parent did before.

    ``contract`` says what the service relies on: a change that breaks it is not served to it.

    ``tenants="on_demand"`` (``CONTROL_PLANE_TENANTS``) holds the tenants that are asked for, at most a thousand, in
    place of all: the first question for a tenant waits until its part is fetched, and where that cannot be had the
    answer is the default or an exception, never what all share. ``load_tenant`` fetches one beforehand.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        token_file: str | None = None,
        server_key: str | None = None,
        ca_file: str | None = None,
        environment: str | None = None,
        service: str | None = None,
        service_version: str | None = None,
        instance: str | None = None,
        state_dir: str | None = None,
        bundled_tree: str | None = None,
        tenants: Literal["eager", "on_demand"] | None = None,
        contract: Contract | None = None,
    ) -> None:
        settings = {
            "url": url,
            "token": token,
            "token_file": token_file,
            "server_key": server_key,
            "ca_file": ca_file,
            "environment": environment,
            "service": service,
            "service_version": service_version,
            "instance": instance,
            "state_dir": state_dir,
            "bundled_tree": bundled_tree,
            "tenants": tenants,
            "contract": None if contract is None else contract.to_json(),
        }
        given = {name: value for name, value in settings.items() if value is not None}
        if given:
            self._ask(_shared.make(given))

    @classmethod
    def _of(cls, plane: Plane) -> ControlPlaneClient:
        made = cls.__new__(cls)
        made._ask(plane)
        return made

    def evaluate(
        self,
        flag: str,
        default: Any = None,
        *,
        user_id: str | None = None,
        tenant_id: str | None = None,
        environment: str | None = None,
    ) -> Evaluation:
        """Evaluates a flag of any type and says why it has its value."""
        reply = self._plane.evaluate(flag, as_json(default), tenant_id, user_id, environment)
        return Evaluation(**json.loads(reply))

    async def get_agent(
        self,
        name: str,
        *,
        tenant_id: str | None = None,
        user_id: str | None = None,
        environment: str | None = None,
    ) -> Agent:
        """Says which agent holds for the tenant now, with overrides applied: the caller's own copy."""
        plane = self._plane
        if environment is None and plane.is_ready():
            # Out of memory: quicker than a thread would be.
            return agent_of(plane.resolve(name, tenant_id, user_id))
        # Not at the top: who asks nothing asynchronously need not wait for the import.
        import asyncio

        try:
            return agent_of(await asyncio.to_thread(plane.resolve, name, tenant_id, user_id, environment))
        except ControlPlaneError as error:
            # What the thread went through tells nobody anything.
            raise error.with_traceback(None) from None

    @overload
    def config(self, path: str, *, tenant_id: str | None = ..., environment: str | None = ...) -> Any: ...

    @overload
    def config(
        self, path: str, default: Any, *, tenant_id: str | None = ..., environment: str | None = ...
    ) -> Any: ...

    def config(
        self,
        path: str,
        default: Any = _MISSING,
        *,
        tenant_id: str | None = None,
        environment: str | None = None,
    ) -> Any:
        """Reads configuration at ``document`` or ``document.key.key``, or the default where there is nothing.

        Raises:
            ConfigNotFoundError: there is nothing there, and no default was given.
        """
        try:
            return json.loads(self._plane.config(path, tenant_id, None, environment))
        except ConfigNotFoundError:
            if default is _MISSING:
                raise
            return default

    def wait_ready(self, timeout: float = 5.0, *, environment: str | None = None) -> int:
        """Waits until there is a view to answer from, and gives its revision."""
        return self._plane.wait_ready(timeout, environment)

    def load_tenant(self, tenant_id: str, timeout: float = 5.0, *, environment: str | None = None) -> int:
        """Fetches what a tenant has of its own unless it is held, and gives the revision that is served then.

        Raises:
            NotReadyError: it cannot be had now.
        """
        return self._plane.load_tenant(tenant_id, timeout, environment)

    def status(self) -> list[dict[str, Any]]:
        """Says for each environment that was used where its view comes from, and how old it is."""
        found: list[dict[str, Any]] = json.loads(self._plane.status())
        return found

    def close(self) -> None:
        """Ends threads and connections. A client that is shared with others closes for them, too."""
        self._plane.close()

    def __enter__(self) -> ControlPlaneClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        rows = ", ".join(
            f"{it['environment']}: {it['source']} at revision {it['revision']}"
            for it in self.status()
            if it["revision"] is not None
        )
        return f"<ControlPlaneClient {rows or 'not used yet'}>"


def as_json(value: Any) -> str:
    """What a caller gave, as JSON."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(
            "FIELD_INVALID", f"what was given is not JSON: {error}", "give strings, numbers, booleans, lists and dicts"
        ) from None

"""A service that asks the control plane on every request: which agent holds for this tenant now?

    pip install ../../bindings/python fastapi uvicorn
    CONTROL_PLANE_URL=file:../aiaas CONTROL_PLANE_ENVIRONMENT=production uvicorn app:app
    curl -H 'x-tenant: tenant123' localhost:8000/agents/customer_support_agent
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import control_plane
from control_plane import Agent, ControlPlaneClient
from control_plane.errors import NotFoundError
from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse

# Made once for the process: nothing is read, and no thread is started, before the first request. A server that loads
# the application and forks its workers afterwards is fine, too.
plane = ControlPlaneClient()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Closes the client when the service ends, so that its end is no crash to the next start."""
    yield
    plane.close()


app = FastAPI(title="An agent service", lifespan=lifespan)


async def tenant(x_tenant: Annotated[str | None, Header()] = None) -> AsyncIterator[None]:
    """Makes all that a request evaluates be for the tenant that asks."""
    with control_plane.context(tenant_id=x_tenant):
        yield


async def agent(name: str, _: Annotated[None, Depends(tenant)]) -> Agent:
    """The agent that the tenant gets now: this request's own copy."""
    return await plane.get_agent(name)


@app.get("/agents/{name}")
async def describe(agent: Annotated[Agent, Depends(agent)]) -> dict[str, Any]:
    """Answers as the agent would be run."""
    if plane.is_enabled("new_ai_model"):
        # No other request sees this.
        agent.max_tokens = 8000
    return {
        "agent": f"{agent.name}@{agent.version}",
        "temperature": agent.temperature,
        "max_tokens": agent.max_tokens,
        "why": str(agent.explain("temperature")),
        "tools": [f"{tool}@{tool.version}" for tool in agent.tools],
        "timeouts": {str(tool): agent.tool(tool).policy.timeout_seconds for tool in agent.tools},
        "worker": os.getpid(),
    }


@app.exception_handler(NotFoundError)
async def not_found(_: Request, error: NotFoundError) -> JSONResponse:
    """Tells a caller who asks for what is not there."""
    return JSONResponse({"code": error.code, "detail": error.message}, status_code=404)

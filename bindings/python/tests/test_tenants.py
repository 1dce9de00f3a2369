"""Tenants that are held as they are asked for."""

from __future__ import annotations

import asyncio

import pytest
from control_plane import ControlPlaneClient
from control_plane.errors import NotReadyError, SettingsError
from control_plane.openfeature import ControlPlaneProvider
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from conftest import Log, Server

FLAG, AGENT = "enhanced_reasoning", "customer_support_agent"


def test_a_worker_answers_for_the_tenants_that_it_was_asked_for(server: Server, log: Log) -> None:
    client = ControlPlaneClient(server.url, token=server.token, environment="production", tenants="on_demand")
    assert client.is_enabled(FLAG, tenant_id="tenant123") is True
    agent = asyncio.run(client.get_agent(AGENT, tenant_id="tenant123"))
    assert agent.temperature == 0.3
    client.load_tenant("tenant456")

    server.kill()
    log.wait_for("SERVER_UNREACHABLE")
    assert client.is_enabled(FLAG, tenant_id="tenant123") is True
    assert client.is_enabled(FLAG, tenant_id="tenant456") is False
    assert client.config("database.url", tenant_id="a tenant that has nothing of its own")
    # What all share is no answer for one that has something of its own.
    refused = client.evaluate(FLAG, tenant_id="cedar-health")
    assert (refused.value, refused.error_code) == (None, "GENERAL")
    for ask in (
        lambda: client.load_tenant("cedar-health"),
        lambda: client.config("database.url", tenant_id="cedar-health"),
        lambda: asyncio.run(client.get_agent(AGENT, tenant_id="cedar-health")),
    ):
        with pytest.raises(NotReadyError, match="cedar-health") as raised:
            ask()
        assert (raised.value.code, raised.value.retryable) == ("TENANT_NOT_LOADED", True)
        assert "load_tenant" in raised.value.next
    client.close()


def test_the_provider_fetches_the_tenant_of_the_context(server: Server, log: Log) -> None:
    client = ControlPlaneClient(server.url, token=server.token, environment="production", tenants="on_demand")
    provider = ControlPlaneProvider(client)
    api.set_provider_and_wait(provider)
    try:
        flags = api.get_client()
        known = EvaluationContext(attributes={"tenant": "tenant123"})
        assert flags.get_boolean_value(FLAG, False, known) is True
        server.kill()
        log.wait_for("SERVER_UNREACHABLE")
        refused = flags.get_boolean_details(FLAG, True, EvaluationContext(attributes={"tenant": "cedar-health"}))
        assert (refused.value, refused.error_code) == (True, ErrorCode.GENERAL)
    finally:
        api.shutdown()
        client.close()


def test_tenants_are_held_eagerly_or_on_demand() -> None:
    with pytest.raises(SettingsError, match="CONTROL_PLANE_TENANTS"):
        ControlPlaneClient("http://127.0.0.1:1", tenants="lazily").wait_ready()  # type: ignore[arg-type]

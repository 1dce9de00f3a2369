"""What a service sees of a server that fails it, which is nothing, and what the operator sees of that, which is all."""

from __future__ import annotations

import asyncio
import json
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from control_plane import Contract, ControlPlaneClient
from control_plane.configs.settings import ConfigManager

from between import Between, View, between
from conftest import Log, Server

WHO: dict[str, Any] = {"service": "orders", "service_version": "1.9", "instance": "one"}


@pytest.fixture
def relay(server: Server) -> Iterator[Between]:
    with between(server) as made:
        yield made


@pytest.fixture
def client(relay: Between, log: Log) -> Iterator[ControlPlaneClient]:
    made = ControlPlaneClient(relay.url, token="cp_any", environment="production", **WHO)
    made.wait_ready(60)
    log.wait_for(None)
    yield made
    made.close()


def serves(client: ControlPlaneClient) -> None:
    """Fails unless every question is answered as the example platform says."""
    for _ in range(100):
        assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123") is True
        assert client.is_enabled("enhanced_reasoning", tenant_id="tenant456") is False
    agent = asyncio.run(client.get_agent("customer_support_agent", tenant_id="tenant123"))
    assert agent.temperature == 0.3 and agent.tool("crm_tool").policy.attempts == 4
    assert "://" in client.config("database.url")


def count(state: str) -> Callable[[dict[str, Any]], bool]:
    return lambda status: status["instances"][state] == 1 and status["instances"]["total"] == 1


def arrival(client: ControlPlaneClient, path: str, value: object) -> threading.Event:
    """Is set once a path has a value."""
    arrived = threading.Event()
    ConfigManager(client).watch(path, lambda new: arrived.set() if new == value else None)
    return arrived


def test_a_server_that_is_killed_is_not_missed_and_followed_again_when_it_is_back(
    server: Server, relay: Between, client: ControlPlaneClient, log: Log
) -> None:
    server.kill()
    log.wait_for("SERVER_UNREACHABLE")
    serves(client)
    assert client.status()[0]["source"] == "stale"
    server.start()
    relay.turn(server)
    log.wait_for(None)
    arrived = arrival(client, "database.pool_size_max", 61)
    revision = server.set("database.pool_size_max", 61)
    assert arrived.wait(60)
    serves(client)
    server.told(revision, count("applied"))


def test_a_server_with_another_history_is_an_alarm_and_not_followed(
    server: Server, relay: Between, client: ControlPlaneClient, log: Log, tmp_path: pathlib.Path
) -> None:
    other = Server(tmp_path / "other")
    other.run("flag", "kill", "enhanced_reasoning", "--environment", "production", "--reason", "test")
    revision = other.set("database.pool_size_max", 62)
    relay.turn(other)
    assert log.wait_for("LOG_FORKED").levelname == "ERROR"
    serves(client)
    told = other.told(revision, lambda it: bool(it["behind"]) and it["behind"][0].get("state") == "rejected")
    assert "log" in told["behind"][0]["problems"][0]["detail"]
    other.stop()


@pytest.mark.parametrize("what", ["torn", "older", "of_another_environment", "with_a_wrong_signature"])
def test_a_view_that_is_not_what_it_should_be_is_not_served(
    what: str, server: Server, relay: Between, client: ControlPlaneClient
) -> None:
    first = relay.seen[0]
    arrived = arrival(client, "database.pool_size_max", 64)
    revision = server.set("database.pool_size_max", 64)
    assert arrived.wait(60)

    def plain(environment: str) -> View:
        reply = relay.ask("GET", f"/v1/environments/{environment}/view", {}, None)
        kept = {name: reply.headers[name] for name in ("etag", "control-plane-head")}
        return View({"content-type": "application/json", **kept}, reply.read())

    def torn(_: View) -> View:
        view = plain("production")
        return View(view.headers, view.body[: len(view.body) // 2])

    def with_a_wrong_signature(view: View) -> View:
        head = json.loads(view.headers["control-plane-head"])
        name, key_id, signature = head["signature"].split(":")
        first = "B" if signature[0] == "A" else "A"
        wrong = json.dumps({**head, "signature": f"{name}:{key_id}:{first}{signature[1:]}"})
        return View({**view.headers, "control-plane-head": wrong}, view.body)

    alter = {
        "torn": torn,
        "older": lambda _: first,
        "of_another_environment": lambda _: plain("staging"),
        "with_a_wrong_signature": with_a_wrong_signature,
    }
    relay.altering(alter[what])
    told = server.told(revision, count("rejected"))
    serves(client)
    assert client.config("database.pool_size_max") == 64
    problem = told["behind"][0]["problems"][0]
    assert problem["subject"] == "view"
    assert problem["detail"].startswith(("VIEW_INVALID: ", "VIEW_UNVERIFIED: ", "LOG_FORKED: "))
    text = server.run("rev", str(revision), "status")
    assert "orders/one in production: rejected" in text
    relay.altering(None)
    server.told(revision, count("applied"))
    serves(client)


def test_what_breaks_what_a_service_relies_on_is_not_served_to_it(server: Server, log: Log) -> None:
    size = {"type": "object", "properties": {"pool_size_max": {"type": "integer", "maximum": 50}}}
    contract = Contract(configs={"database": size}, flags={"enhanced_reasoning": bool})
    before = 45
    server.set("database.pool_size_max", before)
    client = ControlPlaneClient(server.url, token=server.token, environment="production", contract=contract, **WHO)
    client.wait_ready(60)
    assert client.config("database.pool_size_max") == before
    broken = server.set("database.pool_size_max", 64)
    record = log.wait_for_text("config:database")
    assert record.levelname == "ERROR"
    assert client.config("database.pool_size_max") == before
    serves(client)
    (rejected,) = client.status()[0]["rejected"]
    assert (rejected["subject"], rejected["pointer"]) == ("config:database", "/pool_size_max")
    told = server.told(broken, count("rejected"))
    assert told["behind"][0]["problems"][0]["pointer"] == "/pool_size_max"
    # Nothing else of later revisions is kept from it.
    arrived = arrival(client, "ai.model_settings.temperature", 0.1)
    server.set("ai.model_settings.temperature", 0.1)
    assert arrived.wait(60)
    assert client.config("database.pool_size_max") == before
    mended = server.set("database.pool_size_max", 40)
    server.told(mended, count("applied"))
    assert client.config("database.pool_size_max") == 40
    assert client.status()[0]["rejected"] == []
    client.close()


SERVICE = """
    import json, os, sys, control_plane
    url, token, state = sys.argv[1:]
    client = control_plane.ControlPlaneClient(
        url, token=token, environment="production", service="orders", instance="one", state_dir=state
    )
    client.wait_ready(60)
    if client.config("database.pool_size_max") == 66:
        os.abort()
    print(json.dumps({
        "size": client.config("database.pool_size_max"),
        "flag": client.is_enabled("enhanced_reasoning", tenant_id="tenant123"),
        "held_back": client.status()[0]["held_back"],
    }))
    client.close()
"""


def test_a_document_that_processes_die_of_is_held_back_at_the_third_start(server: Server, tmp_path: pathlib.Path) -> None:
    state = tmp_path / "state"

    def start() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", textwrap.dedent(SERVICE), server.url, server.token, str(state)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    good = start()
    assert good.returncode == 0, good.stderr
    (view,) = state.rglob("view")
    # As it is after a minute in which all was well.
    view.rename(view.with_name("view.good"))
    server.set("database.pool_size_max", 66)
    for _ in range(2):
        assert start().returncode == -signal.SIGABRT
    killed = server.run(
        "flag", "kill", "enhanced_reasoning", "--environment", "production", "--reason", "test", "--output", "json"
    )
    revision = json.loads(killed)["revision"]
    third = start()
    assert third.returncode == 0, third.stderr
    said = json.loads(third.stdout)
    assert said["size"] == json.loads(good.stdout)["size"]
    assert said["flag"] is False, "a kill always applies"
    (held_back,) = said["held_back"]
    assert held_back["unclean_starts"] == 2 and "database" in held_back["document"]
    told = server.told(revision, lambda it: it["instances"]["held_back"] == 1)
    assert "2 processes died" in told["behind"][0]["problems"][0]["detail"]
    # What is changed is tried again.
    server.set("database.pool_size_max", 67)
    fourth = start()
    assert fourth.returncode == 0 and '"size": 67' in fourth.stdout, fourth.stderr

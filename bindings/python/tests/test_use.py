"""How the package behaves when it is used, and misused."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pathlib
import pickle
import socket
import subprocess
import sys
import threading
from typing import Any

import control_plane
import pytest
import tenacity
from control_plane import ControlPlaneClient, _shared, errors
from control_plane.configs.settings import ConfigChange, ConfigManager
from control_plane.feature_flags.flag_manager import FeatureFlagManager
from control_plane.registries.registry_manager import RegistryManager

from conftest import TREE, Server


def local(tree: pathlib.Path = TREE, **settings: Any) -> ControlPlaneClient:
    return ControlPlaneClient(f"file:{tree}", environment="production", **settings)


def test_importing_does_nothing(tmp_path: pathlib.Path) -> None:
    probe = """
import os, sys, threading
def held(): return [os.listdir(f"/proc/self/{it}") for it in ("fd", "task")] if sys.platform == "linux" else []
before = held()
import control_plane, control_plane.testing
from control_plane.configs.settings import ConfigManager
from control_plane.feature_flags.flag_manager import FeatureFlagManager
from control_plane.registries.registry_manager import RegistryManager
control_plane.ControlPlaneClient(), ConfigManager(), FeatureFlagManager(), RegistryManager()
print(threading.active_count(), held() == before, "opentelemetry" in sys.modules)
"""
    # Nobody listens there, and nobody is asked.
    environment = {**os.environ, "CONTROL_PLANE_URL": "http://127.0.0.1:1", "CONTROL_PLANE_STATE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "True", "False"], done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({}, "SDK_URL_MISSING"),
        ({"url": "ftp://somewhere"}, "SDK_SETTINGS_INVALID"),
        ({"url": "http://127.0.0.1:1", "token": "a b"}, "SDK_SETTINGS_INVALID"),
        ({"url": f"file:{TREE}"}, "SDK_ENVIRONMENT_MISSING"),
        ({"url": f"file:{TREE}", "environment": "moon"}, "ENVIRONMENT_NOT_FOUND"),
        ({"url": "file:/nowhere/at/all", "environment": "production"}, "TREE_INVALID"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_gets_help(
    settings: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith("CONTROL_PLANE_"):
            monkeypatch.delenv(name)
    with pytest.raises(control_plane.ControlPlaneError) as raised:
        ControlPlaneClient(**settings, service="test").config("database.url")
    assert raised.value.code == code
    assert raised.value.next
    assert raised.value.next in str(raised.value)


def test_a_token_that_is_not_known_gets_help(server: Server) -> None:
    client = ControlPlaneClient(server.url, token="cp_wrong", environment="production")
    with pytest.raises(control_plane.ControlPlaneError) as raised:
        client.config("database.url")
    assert raised.value.code == "UNAUTHENTICATED"
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123") is False
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123", default=True) is True


def test_what_does_not_exist_gets_help_or_the_default() -> None:
    client = local()
    with pytest.raises(errors.NotFoundError) as raised:
        asyncio.run(client.get_agent("nobody"))
    assert raised.value.code == "AGENT_NOT_FOUND"
    with pytest.raises(KeyError) as missing:
        client.config("database.nothing")
    assert "database.nothing" in str(missing.value)
    assert client.config("database.nothing", None) is None
    assert client.config("nothing_at_all", 7) == 7
    assert client.is_enabled("no_such_flag") is False
    assert client.evaluate("no_such_flag", "x").error_code == "FLAG_NOT_FOUND"
    with pytest.raises(errors.NotFoundError):
        RegistryManager(client).get_agent("customer_support_agent", version="9.9.9")
    with pytest.raises(control_plane.ControlPlaneError):
        RegistryManager(client).publish({}, kind="tool")


def test_a_tree_with_mistakes_is_told_by_file_and_line(tree: pathlib.Path) -> None:
    (tree / "feature_flags" / "broken.yaml").write_text("key: broken\ntype: colour\n")
    with pytest.raises(errors.TreeError, match=r"feature_flags/broken\.yaml:2"):
        local(tree).config("database.url")


def test_a_closed_client_says_so() -> None:
    client = local()
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    client.close()
    assert not client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    with pytest.raises(errors.ClosedError):
        client.config("database.url")


def test_who_waits_for_a_server_lets_other_threads_run() -> None:
    codes: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = ControlPlaneClient(f"http://127.0.0.1:{silent.getsockname()[1]}", token="cp_any", environment="production")

        def wait() -> None:
            try:
                client.wait_ready(60)
            except errors.ControlPlaneError as error:
                codes.append(error.code)

        thread = threading.Thread(target=wait)
        thread.start()
        connection, _ = silent.accept()
        # Whoever held the interpreter while it waits would wait to the end of its time, and say that nobody answers.
        client.close()
        thread.join(60)
        connection.close()
    assert codes == ["SDK_CLOSED"]


def test_managers_without_arguments_share_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTROL_PLANE_URL", f"file:{TREE}")
    monkeypatch.setenv("CONTROL_PLANE_ENVIRONMENT", "production")
    before = _shared.use(None)
    try:
        config, flags, registry = ConfigManager(), FeatureFlagManager(), RegistryManager()
        assert flags.is_enabled("enhanced_reasoning", tenant_id="tenant123") and config.get("database.url")
        assert registry.get_tool("crm_tool").name == "crm_tool"
        ControlPlaneClient().close()
        assert not flags.is_enabled("enhanced_reasoning", tenant_id="tenant123")
        for ask in (lambda: config.get("database.url"), lambda: registry.get_agent("customer_support_agent")):
            with pytest.raises(errors.ClosedError):
                ask()
    finally:
        used = _shared.use(before)
        if used is not None:
            used.close()


def test_the_context_is_ambient_and_each_tasks_own() -> None:
    client = local()
    flag = "enhanced_reasoning"

    async def ask(tenant: str) -> bool:
        with control_plane.context(tenant_id=tenant):
            await asyncio.sleep(0)
            return client.is_enabled(flag)

    async def both() -> list[bool]:
        return await asyncio.gather(ask("tenant123"), ask("tenant456"))

    assert asyncio.run(both()) == [True, False]
    assert client.is_enabled(flag) is False
    with control_plane.context(tenant_id="tenant123"):
        assert client.is_enabled(flag)
        assert client.is_enabled(flag, tenant_id="tenant456") is False
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(client.is_enabled(flag)))
        thread.start()
        thread.join()
        assert seen == [False], "another thread has another context"


def test_a_change_of_a_value_is_called_back(server: Server) -> None:
    client = ControlPlaneClient(server.url, token=server.token, environment="production")
    config = ConfigManager(client)
    arrived = threading.Event()
    seen: list[tuple[Any, ConfigChange]] = []

    def changed(new: Any, change: ConfigChange) -> None:
        seen.append((new, change))
        arrived.set()

    def failing(_new: Any) -> None:
        raise ValueError("this callback always fails")

    before = config.get("database.pool_size_max", None)
    config.watch("database", callback=failing)
    with config.watch("database", callback=changed):
        server.run("config", "set", "database.pool_size_max", "77", "--layer", "production", "--reason", "test")
        assert arrived.wait(30)
    assert before != 77
    assert seen[-1][0]["pool_size_max"] == 77
    assert seen[-1][1].path == "database" and seen[-1][1].revision > 0
    assert config.get("database.pool_size_max") == 77


def test_a_coroutine_is_called_back_on_its_loop(server: Server) -> None:
    client = ControlPlaneClient(server.url, token=server.token, environment="production")
    config = ConfigManager(client)

    async def main() -> Any:
        arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def changed(new: Any) -> None:
            if not arrived.done():
                arrived.set_result(new)

        config.watch("database.pool_size_max", callback=changed)
        await asyncio.to_thread(
            server.run, "config", "set", "database.pool_size_max", "78", "--layer", "production", "--reason", "test"
        )
        return await asyncio.wait_for(arrived, 30)

    assert asyncio.run(main()) == 78


def test_the_registry_is_listed_searched_and_written(server: Server) -> None:
    client = ControlPlaneClient(server.url, token=server.token, environment="production")
    registry = RegistryManager(client)
    assert [it.name for it in registry.search("customer", kind="tool", category="data")] == ["crm_tool"]
    assert "customer_support_agent" in [it.name for it in registry.list()]
    tool = registry.get_tool("crm_tool")
    assert tool.status == "active"
    registry.set_status("crm_tool", tool.version, "revoked", kind="tool", message="it leaks")
    refused = registry.validate_tool_compatibility("crm_tool", ["crm_tool"])
    assert not refused and refused.reasons


def test_a_tool_that_is_withdrawn_is_no_longer_one_that_an_agent_may_use(server: Server) -> None:
    client = ControlPlaneClient(server.url, token=server.token, environment="production", instance="one")
    registry = RegistryManager(client)
    agent = asyncio.run(client.get_agent("customer_support_agent"))
    for tool in ("crm_tool", "order_tool"):
        assert registry.validate_tool_compatibility(tool, agent.tools)
    crm, order = agent.tool("crm_tool"), agent.tool("order_tool")
    # By this client itself.
    registry.set_status("crm_tool", crm.version, "revoked", kind="tool", message="it leaks")
    refused = registry.validate_tool_compatibility("crm_tool", agent.tools)
    assert not refused and "revoked" in refused.reasons[0]
    # By somebody else.
    said = server.run("tool", "status", f"order_tool@{order.version}", "revoked", "--message", "it lies", "--output", "json")
    server.told(json.loads(said)["revision"], lambda it: it["instances"]["applied"] == 1)
    assert registry.get_tool("order_tool", version=order.version).status == "revoked"
    # What it says stands while nobody answers.
    server.kill()
    assert registry.get_tool("order_tool", version=order.version).status == "revoked"
    assert registry.get_tool("crm_tool", version=crm.version).policy.attempts == 4


def test_the_call_policy_of_a_tool_is_what_tenacity_takes() -> None:
    with ControlPlaneClient(f"file:{TREE}", environment="production") as client:
        policy = asyncio.run(client.get_agent("customer_support_agent")).tool("crm_tool").policy
    assert (policy.timeout_seconds, policy.attempts, policy.circuit_breaker_threshold) == (5.0, 4, 5)
    tries: list[int] = []

    def call() -> None:
        tries.append(len(tries))
        raise ConnectionError("the tool does not answer")

    with pytest.raises(ConnectionError):
        tenacity.Retrying(**policy.tenacity(), sleep=lambda _: None)(call)
    assert tries == [0, 1, 2, 3]


def test_a_server_that_goes_away_is_not_missed(server: Server) -> None:
    client = ControlPlaneClient(server.url, token=server.token, environment="production")
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    server.stop()
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    assert asyncio.run(client.get_agent("customer_support_agent")).temperature == 0.7


def _ask(client: ControlPlaneClient, answers: Any) -> None:
    answers.put(client.is_enabled("enhanced_reasoning", tenant_id="tenant123"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_goes_on(server: Server) -> None:
    client = ControlPlaneClient(server.url, token=server.token, environment="production")
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    children = [fork.Process(target=_ask, args=(client, answers)) for _ in range(4)]
    for child in children:
        child.start()
    assert [answers.get(timeout=30) for _ in children] == [True] * 4
    for child in children:
        child.join(timeout=30)
        assert child.exitcode == 0


def test_what_is_given_out_survives_pickling() -> None:
    agent = asyncio.run(local().get_agent("customer_support_agent"))
    tool = agent.tools[0]
    copied = pickle.loads(pickle.dumps(tool))
    assert (copied, copied.version, copied.digest) == (tool, tool.version, tool.digest)
    error = errors.exception("CONFIG_NOT_FOUND", "m", "n", False)
    assert pickle.loads(pickle.dumps(error)).next == "n"
    assert json.dumps(agent.tools)


def test_a_process_that_ends_well_is_no_crash(server: Server, tmp_path: pathlib.Path) -> None:
    probe = """
import control_plane
client = control_plane.ControlPlaneClient()
print(client.is_enabled("enhanced_reasoning", tenant_id="tenant123"), client.status()[0]["source"])
"""
    state = tmp_path / "state"
    environment = {
        **os.environ,
        "CONTROL_PLANE_URL": server.url,
        "CONTROL_PLANE_TOKEN": server.token,
        "CONTROL_PLANE_ENVIRONMENT": "production",
        "CONTROL_PLANE_STATE_DIR": str(state),
    }

    def run() -> list[str]:
        done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    for _ in range(3):
        assert run() == ["True", "live"]
    server.stop()
    assert run() == ["True", "last-known-good"], "every server is down, and the process starts cold"


def test_reprs_say_what_they_are_of() -> None:
    client = local()
    assert repr(client) == "<ControlPlaneClient not used yet>"
    agent = asyncio.run(client.get_agent("customer_support_agent", tenant_id="tenant123"))
    assert repr(agent).startswith("<Agent customer_support_agent@1.")
    assert "tenant123" in repr(agent)
    assert "production: tree at revision" in repr(client)


def test_a_server_is_told_which_revision_a_worker_serves(server: Server) -> None:
    client = ControlPlaneClient(
        server.url, token=server.token, environment="production", service="orders", service_version="1.9", instance="worker-1"
    )
    revision = client.wait_ready(60)
    # Closing tells the last word.
    client.close()
    status = json.loads(server.run("rev", str(revision), "status", "--output", "json"))
    assert status["instances"]["applied"] == 1
    assert status["services"][0]["service"] == "orders"
    assert status["services"][0]["service_version"] == "1.9"

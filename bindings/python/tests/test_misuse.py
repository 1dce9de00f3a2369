"""What somebody sees who uses the package wrongly: an exception of its own, with a code and what to do next."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable
from typing import Any

import control_plane
import pytest
from control_plane import ControlPlaneClient, errors
from control_plane.configs.settings import ConfigManager
from control_plane.feature_flags.flag_manager import FeatureFlagManager
from control_plane.registries.registry_manager import RegistryManager
from control_plane.testing import InMemory

from conftest import TREE, Log, Server


@pytest.fixture
def client() -> ControlPlaneClient:
    return ControlPlaneClient(f"file:{TREE}", environment="production")


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.is_enabled(7),
        lambda client: client.is_enabled("beta_features", tenant_id=7),
        lambda client: client.is_enabled("beta_features", default="yes"),
        lambda client: client.is_enabled("beta_features", rollout_percentage="25"),
        lambda client: client.evaluate(None),
        lambda client: client.evaluate("beta_features", object()),
        lambda client: client.evaluate("beta_features", float("nan")),
        lambda client: client.config(b"database.url"),
        lambda client: client.config("not a path"),
        lambda client: client.wait_ready("soon"),
        lambda client: client.is_enabled("beta_features", environment="not a name"),
        lambda client: asyncio.run(client.get_agent(7)),
        lambda client: asyncio.run(client.get_agent("not a name")),
        lambda client: ConfigManager(client).watch("database.url", 7),
        lambda client: ConfigManager(client).watch(7, print),
        lambda client: ConfigManager(client).get(("database", "url")),
        lambda client: FeatureFlagManager(client).evaluate(7),
        lambda client: RegistryManager(client).get_agent(7),
        lambda client: RegistryManager(client).get_tool("crm_tool", version="newest"),
        lambda client: RegistryManager(client).search(7),
        lambda client: RegistryManager(client).publish({"name": object()}, kind="tool"),
        lambda client: control_plane.context(tenant_id=7).__enter__(),
        lambda client: control_plane.context(colours={"red"}).__enter__(),
    ],
)
def test_an_argument_of_a_wrong_type_gets_help(ask: Callable[[Any], object], client: ControlPlaneClient) -> None:
    with pytest.raises(control_plane.ControlPlaneError) as raised:
        ask(client)
    assert raised.value.code
    assert raised.value.next in str(raised.value)


def test_an_argument_error_is_also_what_python_calls_it(client: ControlPlaneClient) -> None:
    with pytest.raises(TypeError, match="a string is expected, and `int` was given"):
        client.is_enabled(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "error", "frames_max"),
    [
        ("client.config('database.nothing')", "ConfigNotFoundError: there is no configuration at", 1),
        ("asyncio.run(client.get_agent('nobody'))", "NotFoundError: ", 1),
        ("client.is_enabled(7)", "ArgumentError: ", 0),
        ("control_plane.ControlPlaneClient('ftp://x')", "SettingsError: ", 2),
        ("client.close(); client.config('database.url')", "ClosedError: ", 1),
    ],
)
def test_a_traceback_is_short_and_ends_with_what_to_do(
    line: str, error: str, frames_max: int, client: ControlPlaneClient
) -> None:
    known = {"client": client, "asyncio": asyncio, "control_plane": control_plane}
    client.wait_ready()
    with pytest.raises(control_plane.ControlPlaneError) as raised:
        exec(compile(line, "service.py", "exec"), known)
    said = "".join(traceback.format_exception(raised.value))
    assert "During handling" not in said and "direct cause" not in said
    # A note names the argument.
    lines = [it for it in said.rstrip().splitlines() if not it.startswith("while processing")]
    assert lines[-2].startswith(f"control_plane.errors.{error}") and lines[-1].startswith("  next: ")
    frames = [it for it in traceback.extract_tb(raised.tb) if "control_plane" in it.filename]
    assert len(frames) <= frames_max, said


def test_the_first_asynchronous_question_of_an_environment_that_is_not_there_says_so_shortly() -> None:
    fresh = ControlPlaneClient(f"file:{TREE}", environment="moon")
    with pytest.raises(errors.NotFoundError) as raised:
        asyncio.run(fresh.get_agent("customer_support_agent"))
    assert raised.value.code == "ENVIRONMENT_NOT_FOUND" and "production" in raised.value.next
    files = [pathlib.Path(it.filename).name for it in traceback.extract_tb(raised.value.__traceback__)]
    assert "thread.py" not in files, "what the thread went through tells nobody anything"


def test_an_environment_that_the_server_does_not_know_gets_help(server: Server) -> None:
    client = ControlPlaneClient(server.url, token=server.token, environment="moon")
    with pytest.raises(errors.NotFoundError) as raised:
        client.config("database.url")
    assert raised.value.code == "ENVIRONMENT_NOT_FOUND"
    config = ConfigManager(ControlPlaneClient(server.url, token=server.token, environment="production"))
    with pytest.raises(errors.NotFoundError):
        config.load_environment("moon")
    assert "://" in config.get("database.url"), "it reads on from where it was"


def test_a_token_that_is_not_known_is_an_error_of_access(server: Server) -> None:
    client = ControlPlaneClient(server.url, token="cp_wrong", environment="production")
    with pytest.raises(errors.AccessError):
        client.wait_ready(60)


def test_what_is_closed_says_so_whatever_is_asked(client: ControlPlaneClient) -> None:
    client.close()
    client.close()
    assert client.is_enabled("enhanced_reasoning", default=True) is True
    assert client.evaluate("enhanced_reasoning", "x").error_code == "PROVIDER_NOT_READY"
    for ask in (
        lambda: asyncio.run(client.get_agent("customer_support_agent")),
        lambda: client.wait_ready(),
        lambda: ConfigManager(client).watch("database", print),
    ):
        with pytest.raises(errors.ClosedError):
            ask()


def test_what_is_watched_need_not_be_there_yet() -> None:
    memory = InMemory()
    called: list[tuple[Any, Any]] = []
    arrived = threading.Event()

    def changed(new: Any, change: Any) -> None:
        called.append((change.old, new))
        arrived.set()

    client = memory.client()
    client.wait_ready()
    with ConfigManager(client).watch("search.url", changed):
        memory.config("search.url", "http://search")
        assert arrived.wait(30)
    assert called == [(None, "http://search")]


def test_a_callback_that_raises_is_logged_with_what_it_raised_and_called_again(log: Log) -> None:
    memory = InMemory().config("search.url", "a")
    client = memory.client()
    client.wait_ready()
    again = threading.Event()

    def changed(new: Any) -> None:
        if new == "c":
            again.set()
        raise ValueError("this callback always fails")

    ConfigManager(client).watch("search.url", changed)
    memory.config("search.url", "b")
    record = log.wait_for_text("the callback for search.url")
    assert record.exc_info is not None and isinstance(record.exc_info[1], ValueError)
    memory.config("search.url", "c")
    assert again.wait(30)


def test_a_coroutine_that_raises_is_logged_too_and_one_without_a_loop_is_refused(log: Log) -> None:
    memory = InMemory().config("search.url", "a")
    client = memory.client()

    async def changed(_new: Any) -> None:
        raise ValueError("this coroutine always fails")

    config = ConfigManager(client)
    with pytest.raises(errors.ArgumentError, match="no event loop runs here"):
        config.watch("search.url", changed)

    async def main() -> None:
        config.watch("search.url", changed)
        memory.config("search.url", "b")
        record = await asyncio.to_thread(log.wait_for_text, "the callback for search.url")
        assert record.exc_info is not None and isinstance(record.exc_info[1], ValueError)

    asyncio.run(main())
    memory.config("search.url", "c")
    assert "is closed: it is called back no more" in log.wait_for_text("event loop").getMessage()


def test_a_client_in_memory_tells_the_log_as_others_do(log: Log) -> None:
    memory = InMemory().flag("beta", True)
    memory.client().wait_ready()
    assert log.wait_for(None).getMessage().startswith("test: revision ")


def test_many_event_loops_share_a_client(client: ControlPlaneClient) -> None:
    async def ask() -> list[float]:
        agents = await asyncio.gather(*(client.get_agent("customer_support_agent") for _ in range(20)))
        return [agent.temperature for agent in agents]

    answers: list[list[float]] = []
    threads = [threading.Thread(target=lambda: answers.append(asyncio.run(ask()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[0.7] * 20] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_gets_the_same_help(client: ControlPlaneClient) -> None:
    client.wait_ready()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            client.config("database.nothing")
        except control_plane.ControlPlaneError as error:
            os.write(write, error.code.encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"CONFIG_NOT_FOUND"
    os.close(read)


def test_a_process_that_ends_while_its_client_speaks_ends_well(server: Server) -> None:
    """A thread that tells the log or calls back at the very end is waited for, or it would tear the process down."""
    probe = """
    import logging, sys, control_plane
    class Slow(logging.Handler):
        def emit(self, record):
            sys.setswitchinterval(1e-6)
            for _ in range(10_000):
                record.getMessage()
    logging.getLogger("control_plane").setLevel(logging.INFO)
    logging.getLogger("control_plane").addHandler(Slow())
    url, token = sys.argv[1:]
    control_plane.ControlPlaneClient(url, token=token, environment="production").wait_ready(60)
    """
    for _ in range(5):
        command = [sys.executable, "-c", textwrap.dedent(probe), server.url, server.token]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")

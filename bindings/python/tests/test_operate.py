"""What those who operate a service see of it: spans, logs, and processes that fork."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.handlers
import multiprocessing
import os
import pathlib
import queue
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import control_plane
import pytest
from control_plane import ControlPlaneClient
from control_plane.configs.settings import ConfigManager
from control_plane.errors import SettingsError, UntrustedError
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from conftest import ROOT, TREE, Server

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")


EVENT = "feature_flag.evaluation"


def recorded(tracer: trace.Tracer, ask: Callable[[], Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The attributes of a span in which something is asked, and those of the evaluations in it."""
    with tracer.start_as_current_span("request") as span:
        ask()
    assert isinstance(span, ReadableSpan)
    assert {event.name for event in span.events} <= {EVENT}
    return dict(span.attributes or {}), [dict(event.attributes or {}) for event in span.events]


def told(revision: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What events say of a flag that is on, and of one that is not there."""
    source = {
        "feature_flag.provider.name": "control-plane",
        "feature_flag.set.id": "production",
        "feature_flag.version": str(revision),
    }
    on = {
        **source,
        "feature_flag.key": "enhanced_reasoning",
        "feature_flag.result.variant": "on",
        "feature_flag.result.reason": "targeting_match",
    }
    gone = {
        **source,
        "feature_flag.key": "nothing",
        "feature_flag.result.reason": "error",
        "error.type": "flag_not_found",
        "feature_flag.error.message": "the flag does not exist or is archived",
    }
    return on, gone


def test_the_current_span_says_of_each_flag_what_it_was() -> None:
    client = ControlPlaneClient(f"file:{TREE}", environment="production")
    tracer = TracerProvider().get_tracer("test")
    revision = client.wait_ready()
    for ask in (client.is_enabled, client.evaluate):

        def two(ask: Callable[[str], object] = ask) -> None:
            with control_plane.context(tenant_id="tenant123"):
                ask("enhanced_reasoning")
                ask("nothing")

        attributes, events = recorded(tracer, two)
        assert attributes == {}, "what one flag says is not overwritten by the next"
        assert events == [*told(revision)]
        assert "tenant123" not in str(events)


def test_the_current_span_says_which_agent_it_was_and_by_which_flags() -> None:
    client = ControlPlaneClient(f"file:{TREE}", environment="production")
    revision = client.wait_ready()
    tracer = TracerProvider().get_tracer("test")
    agent = asyncio.run(client.get_agent("customer_support_agent", tenant_id="tenant123"))
    asked = client.get_agent("customer_support_agent", tenant_id="tenant123")
    attributes, events = recorded(tracer, lambda: asyncio.run(asked))
    assert attributes == {
        "control_plane.agent": f"{agent.name}@{agent.version}",
        "control_plane.effective_digest": agent.effective_digest,
        "control_plane.revision": revision,
    }
    assert told(revision)[0] in events


def test_the_log_says_of_each_evaluation_what_it_was() -> None:
    probe = """
    import control_plane, json, sys
    client = control_plane.ControlPlaneClient(sys.argv[1], environment="production")
    client.wait_ready()
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    import opentelemetry._logs
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123"), "without a provider"
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    opentelemetry._logs.set_logger_provider(provider)
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    client.evaluate("nothing")
    records = [it.log_record for it in exporter.get_finished_logs()]
    print(json.dumps([[it.event_name, dict(it.attributes)] for it in records]))
    print(client.status()[0]["revision"])
    """
    command = [sys.executable, "-c", textwrap.dedent(probe), f"file:{TREE}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    events, revision = done.stdout.splitlines()
    assert json.loads(events) == [[EVENT, attributes] for attributes in told(int(revision))]


def test_opentelemetry_that_is_imported_after_evaluations_is_told_of_the_next() -> None:
    code = f"""
        import sys
        from control_plane import ControlPlaneClient
        client = ControlPlaneClient("file:{TREE}", environment="production")
        client.is_enabled("nothing")
        client.is_enabled("nothing")
        assert not any(it.startswith("opentelemetry") for it in sys.modules)
        from opentelemetry.sdk.trace import TracerProvider
        with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
            client.is_enabled("nothing")
        print(*(it.name for it in span.events))
        client.close()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, EVENT), done.stderr


def test_a_tracer_that_fails_fails_no_evaluation() -> None:
    class Failing(trace.NonRecordingSpan):
        def is_recording(self) -> bool:
            raise RuntimeError("this span always fails")

    client = ControlPlaneClient(f"file:{TREE}", environment="production")
    with trace.use_span(Failing(trace.INVALID_SPAN_CONTEXT)):
        assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")


def test_the_metrics_of_the_guide_have_source_age_and_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (ROOT / "docs" / "guide" / "python.md").read_text()
    found = re.search(r"```python\n(from opentelemetry import metrics.*?)```", guide, re.DOTALL)
    assert found
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    client = ControlPlaneClient(f"file:{TREE}", environment="production")
    exec(found[1], {"client": client})
    assert client.is_enabled("nothing") is False
    read = reader.get_metrics_data()
    assert read is not None
    points = {
        (metric.name, *sorted((point.attributes or {}).values())): point.value
        for metric in read.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    assert points["control_plane.view.age", "production", "tree"] >= 0
    assert points["control_plane.client.events", "evaluation_errors", "production"] == 1
    assert points["control_plane.client.events", "production", "updates"] == 1
    client.close()


def test_what_happens_beside_the_calls_is_logged(server: Server) -> None:
    logged: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logger, handler = logging.getLogger("control_plane"), logging.handlers.QueueHandler(logged)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        refused = ControlPlaneClient(server.url, token="cp_wrong", environment="production")
        assert not refused.is_enabled("enhanced_reasoning")
        record = logged.get(timeout=30)
        assert (record.levelno, record.__dict__["code"]) == (logging.ERROR, "UNAUTHENTICATED")
        assert record.getMessage().startswith("production: ")
        refused.close()
        client = ControlPlaneClient(server.url, token=server.token, environment="production")
        revision = client.wait_ready()
        assert "is the server's key from now on" in logged.get(timeout=30).getMessage()
        record = logged.get(timeout=30)
        assert (record.levelno, record.__dict__["revision"]) == (logging.INFO, revision)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@forks
def test_a_forked_child_that_asks_nothing_is_called_back(server: Server) -> None:
    client = ControlPlaneClient(server.url, token=server.token, environment="production")
    fork = multiprocessing.get_context("fork")
    called, done = fork.Queue(), fork.Event()
    ConfigManager(client).watch("database.pool_size_max", callback=lambda new: called.put((os.getpid(), new)))
    client.wait_ready()
    child = fork.Process(target=done.wait, args=(60,))
    child.start()
    server.run("config", "set", "database.pool_size_max", "79", "--layer", "production", "--reason", "test")
    assert sorted(called.get(timeout=30) for _ in range(2)) == sorted([(os.getpid(), 79), (child.pid, 79)])
    done.set()
    child.join(timeout=30)
    assert child.exitcode == 0


@forks
def test_a_forked_child_that_ends_well_is_no_crash(server: Server, tmp_path: pathlib.Path) -> None:
    """Here: a child of `multiprocessing`, which ends without what `atexit` was told."""
    probe = """
    import multiprocessing, pathlib, shutil, sys, control_plane
    url, token, state = sys.argv[1:]
    def markers():
        return [it.name for it in pathlib.Path(state).rglob("*") if it.parent.name == "markers"]
    def start():
        client = control_plane.ControlPlaneClient(url, token=token, environment="production", state_dir=state)
        client.wait_ready()
        return client
    def child(client):
        assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
        its_own = start()
        assert len(markers()) > 1, "its own, beside that of its parent"
    if state.endswith("first"):
        start().close()
    else:
        client, fork = start(), multiprocessing.get_context("fork")
        assert len(markers()) == 1, markers()
        process = fork.Process(target=child, args=(client,))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert len(markers()) == 1, markers()
        client.close()
        assert markers() == []
    """

    def run(state: pathlib.Path) -> None:
        command = [sys.executable, "-c", textwrap.dedent(probe), server.url, server.token, str(state)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    run(tmp_path / "first")
    (view,) = (tmp_path / "first").rglob("view")
    # As it is after a minute in which all was well: from then on content that is new is marked.
    good = tmp_path / "second" / view.parent.name / "view.good"
    good.parent.mkdir(parents=True)
    view.rename(good)
    server.run("config", "set", "database.pool_size_max", "80", "--layer", "production", "--reason", "test")
    run(tmp_path / "second")


def test_a_server_whose_key_is_not_the_one_that_was_told_is_not_believed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = json.loads(server.run("server-key", "show", "--data", str(server.data), "--output", "json"))
    right, other = shown["public_key"], server.run("keygen", "--out", str(server.data.parent / "other.pem"))
    other = next(word for word in other.split() if word.startswith("ed25519:"))
    settings = {"url": server.url, "token": server.token, "environment": "production"}
    with pytest.raises(UntrustedError) as raised:
        ControlPlaneClient(**settings, server_key=other).wait_ready()
    assert raised.value.code == "SERVER_KEY_UNTRUSTED"
    assert "CONTROL_PLANE_SERVER_KEY" in raised.value.next
    refused = ControlPlaneClient(**settings, server_key=other)
    assert not refused.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    status = refused.status()[0]
    assert (status["source"], status["last_error_code"]) == ("none", "SERVER_KEY_UNTRUSTED")
    with pytest.raises(SettingsError) as raised_settings:
        ControlPlaneClient(**settings, server_key="ed25519:none").wait_ready()
    assert "CONTROL_PLANE_SERVER_KEY" in str(raised_settings.value)

    monkeypatch.setenv("CONTROL_PLANE_SERVER_KEY", right)
    client = ControlPlaneClient(**settings)
    client.wait_ready()
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    status = client.status()[0]
    assert (status["server_key"], status["last_error_code"]) == (right, None)
    assert status["vouched_until"] > "2020"

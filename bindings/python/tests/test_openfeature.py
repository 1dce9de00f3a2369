"""The provider for OpenFeature, through OpenFeature's own SDK."""

from __future__ import annotations

import json
import pathlib
import queue
import subprocess
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from control_plane.client import ControlPlaneClient
from control_plane.openfeature import ControlPlaneProvider
from control_plane.testing import InMemory
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderFatalError
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason
from openfeature.provider import ProviderStatus
from openfeature.track import TrackingEventDetails

from conftest import TREE, Server

WAIT = 30.0


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    api.shutdown()
    api.clear_providers()


def asked(plane: InMemory, environment: str = "test", **options: Any) -> OpenFeatureClient:
    api.set_provider_and_wait(ControlPlaneProvider(plane.client(environment), **options))
    return api.get_client()


def started_again(server: Server) -> None:
    """Starts a server that was stopped, with the same data and at the same address."""
    listen = server.url.removeprefix("http://")
    server.process = subprocess.Popen(
        [server.binary, "serve", "--data", str(server.data), "--listen", listen], stdout=subprocess.PIPE, text=True
    )
    assert server.process.stdout is not None
    assert server.process.stdout.readline().startswith("ready ")


def said(details: FlagEvaluationDetails[Any]) -> tuple[Any, str | None, str | None, str | None]:
    return (details.value, details.variant, details.reason, details.error_code)


def test_flags_of_every_type_have_a_value_a_variant_and_a_reason() -> None:
    plane = InMemory()
    for key, value in {"b": True, "s": "hi", "i": 7, "f": 0.5, "o": {"n": [1]}}.items():
        plane.flag(key, value)
    client = asked(plane)
    assert client.get_boolean_details("b", False).value is True
    assert client.get_string_details("s", "").value == "hi"
    assert client.get_integer_details("i", 0).value == 7
    assert client.get_float_details("f", 0.0).value == 0.5
    assert client.get_float_details("i", 0.0).value == 7.0
    assert client.get_object_details("o", {}).value == {"n": [1]}
    details = client.get_boolean_details("b", False)
    assert (details.variant, details.reason) == ("on", Reason.STATIC)
    assert details.flag_metadata["revision"] > 0
    assert details.flag_metadata["bucketing"] == "flagd-v3"


def test_a_flags_own_metadata_are_told_beside_ours_or_alone(tmp_path: pathlib.Path) -> None:
    own = {"team": "ml", "ticket": 17, "weight": 0.5, "beta": True}
    targeting = {"state": "enabled", "default": "on"}
    flag = {"type": "boolean", "metadata": own, "environments": {"test": targeting}}
    for path, body in {"environments/test.yaml": {}, "feature_flags/beta.yaml": flag}.items():
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(json.dumps(body))
    plane = InMemory(tmp_path)
    both = asked(plane).get_boolean_details("beta", False).flag_metadata
    assert both == {**own, "revision": both["revision"], "bucketing": "flagd-v3"}
    assert asked(plane, only_flag_metadata=True).get_boolean_details("beta", False).flag_metadata == own
    assert plane.client().evaluate("beta").metadata == own
    assert plane.client().evaluate("none").metadata == {}


def test_what_cannot_be_evaluated_is_the_callers_default_with_a_code() -> None:
    plane = InMemory().flag("s", "hi").flag("f", 0.5)
    client = asked(plane)
    assert said(client.get_boolean_details("none", True)) == (True, None, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND)
    assert said(client.get_boolean_details("s", True)) == (True, None, Reason.ERROR, ErrorCode.TYPE_MISMATCH)
    assert said(client.get_integer_details("f", 3)) == (3, None, Reason.ERROR, ErrorCode.TYPE_MISMATCH)
    wrong = EvaluationContext("u", {"tenant": {"id": 7}})  # type: ignore[dict-item]
    assert said(client.get_string_details("s", "x", wrong))[3] == ErrorCode.INVALID_CONTEXT
    wrong = EvaluationContext("u", {"n": float("nan")})
    assert said(client.get_string_details("s", "x", wrong))[3] == ErrorCode.INVALID_CONTEXT


def test_the_context_reaches_rules_by_the_names_of_the_control_plane() -> None:
    client = asked(InMemory(TREE), "production")
    for tenant in ("tenant123", {"id": "tenant123"}):
        context = EvaluationContext("u-1", {"tenant": tenant, "since": datetime(2026, 1, 1), "tags": ("a", "b")})
        details = client.get_boolean_details("enhanced_reasoning", False, context)
        assert details.value is True, details
        assert details.error_code is None
    stranger = client.get_boolean_details("enhanced_reasoning", False, EvaluationContext("u-1", {"tenant": "nobody"}))
    assert stranger.flag_metadata["tenant_unknown"] is True


def test_a_change_is_an_event_and_the_next_answer() -> None:
    plane = InMemory().flag("b", False)
    client = asked(plane)
    changes: queue.Queue[EventDetails] = queue.Queue()
    client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, changes.put)
    plane.flag("b", True)
    event = changes.get(timeout=WAIT)
    assert event.provider_name == "control-plane"
    assert client.get_boolean_details("b", False).flag_metadata["revision"] == event.metadata["revision"]
    assert client.get_boolean_value("b", False) is True


def test_settings_that_cannot_work_are_fatal_and_say_what_to_do() -> None:
    provider = ControlPlaneProvider(ControlPlaneClient("file:/no/such/tree", environment="production"))
    with pytest.raises(ProviderFatalError) as raised:
        api.set_provider_and_wait(provider)
    assert "next:" in str(raised.value.error_message)
    assert api.get_client().get_provider_status() == ProviderStatus.FATAL
    assert api.get_client().get_boolean_details("b", True).error_code == ErrorCode.PROVIDER_FATAL


def test_a_client_that_is_given_stays_open_and_answers_after_the_provider() -> None:
    given = InMemory().flag("b", True).client()
    api.set_provider_and_wait(ControlPlaneProvider(given))
    assert api.get_client().get_boolean_value("b", False) is True
    api.shutdown()
    assert given.is_enabled("b") is True


def test_tracking_events_go_to_whom_the_caller_names_and_harm_nobody() -> None:
    heard: list[tuple[str, str | None, float | None]] = []

    def on_track(name: str, context: EvaluationContext, details: TrackingEventDetails | None) -> None:
        heard.append((name, context.targeting_key, details.value if details else None))
        if name == "broken":
            raise ValueError("of the caller's own")

    client = asked(InMemory(), on_track=on_track)
    client.track("checkout", EvaluationContext("u-1"), TrackingEventDetails(99.5))
    client.track("broken")
    assert heard == [("checkout", "u-1", 99.5), ("broken", None, None)]


def test_a_server_that_goes_makes_the_provider_stale_and_one_that_comes_back_ready(server: Server) -> None:
    with ControlPlaneClient(server.url, token=server.token, environment="production") as given:
        api.set_provider_and_wait(ControlPlaneProvider(given, timeout=WAIT))
        client = api.get_client()
        states: queue.Queue[str] = queue.Queue()
        client.add_handler(ProviderEvent.PROVIDER_STALE, lambda _: states.put("stale"))
        before = client.get_boolean_details("enhanced_reasoning", False)
        server.stop()
        assert states.get(timeout=WAIT) == "stale"
        assert client.get_provider_status() == ProviderStatus.STALE
        assert said(client.get_boolean_details("enhanced_reasoning", False)) == said(before)
        client.add_handler(ProviderEvent.PROVIDER_READY, lambda _: states.put("ready"))
        started_again(server)
        assert states.get(timeout=WAIT) == "ready"
        assert client.get_provider_status() == ProviderStatus.READY

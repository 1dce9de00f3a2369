"""The vectors under ``spec/``, which every language evaluates alike, through the package and a real server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import control_plane
from control_plane import _core
from control_plane.client import ControlPlaneClient

from conftest import ROOT, Server

Document = dict[str, Any]


def vectors(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((ROOT / "spec" / f"{name}.json").read_text(encoding="utf-8"))
    return read


def call(server: Server, method: str, path: str, body: object) -> bool:
    """Asks the server to change something; says whether it did."""
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), headers, method=method)
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        with error:
            assert error.code in (404, 409, 412, 422, 428), error.read()
        return False
    return True


def put(server: Server, documents: list[Document]) -> set[str]:
    """Writes documents as users would, and says which flags are not as the vectors have them: what is broken, or about
    what is not there, only a later version could have written, and no server takes it."""
    refused = set()
    for it in documents:
        kind, scope, name, body = it["kind"], it["scope"], it["name"], it["body"]
        if kind == "kill":
            environment, _, tenant = scope.partition("/")
            below = f"/tenants/{tenant}" if tenant else ""
            done = call(server, "PUT", f"/v1/environments/{environment}{below}/kills/{name}", body)
        elif kind == "environment":
            # The example has them all.
            continue
        else:
            op = {"op": "put", "kind": kind, "scope": scope, "name": name, "body": body, "if_absent": True}
            done = not it.get("stored") and call(server, "POST", "/v1/commits", {"reason": "vectors", "ops": [op]})
        if not done:
            refused.add(name.removeprefix("flag:"))
    return refused


def flat(context: dict[str, Any]) -> dict[str, Any]:
    """A context as OpenFeature writes it: attributes beside what has a place of its own."""
    return {**{name: it for name, it in context.items() if name != "attributes"}, **context.get("attributes", {})}


def evaluated(client: ControlPlaneClient, flag: str, context: dict[str, Any], environment: str) -> dict[str, Any]:
    reply = _core.evaluate_flat(client._plane, flag, "null", json.dumps(flat(context)), environment)
    found: dict[str, Any] = json.loads(reply)
    return found


def test_flags_evaluate_as_in_the_vectors(server: Server) -> None:
    spec = vectors("evaluation")
    refused = put(server, spec["documents"])
    run = [it for it in spec["cases"] if it["flag"] not in refused and "now" not in it]
    assert len(run) >= 80, f"only {len(run)} of {len(spec['cases'])}, without {refused}"
    assert {it["expect"]["reason"] for it in run} >= {"STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "DISABLED", "ERROR"}
    with ControlPlaneClient(server.url, token=server.token, environment="production") as client:
        for case in run:
            found, expect = evaluated(client, case["flag"], case["context"], "production"), case["expect"]
            said = {name: found[name] for name in ("variant", "reason", "rule")}
            assert said == {name: expect.get(name) for name in said}, case["name"]
            assert found["error_code"] == expect.get("error"), case["name"]
            assert found["tenant_unknown"] == expect.get("tenant_unknown", False), case["name"]
            assert (found["value"] is None) == (found["variant"] is None), case["name"]


def test_clauses_have_the_verdicts_of_the_vectors(server: Server) -> None:
    spec = vectors("evaluation")
    put(server, [it for it in spec["documents"] if it["kind"] in ("tenant", "segment")])
    documents: list[Document] = []
    for at, case in enumerate(spec["clauses"]):
        rules = [
            {"name": "true", "if": case["clause"], "serve": "on"},
            {"name": "false", "if": {"not": case["clause"]}, "serve": "on"},
        ]
        targeting = {"state": "enabled", "rules": rules}
        documents.append({"kind": "flag", "scope": "", "name": f"clause-{at}", "body": {"type": "boolean"}})
        documents.append({"kind": "targeting", "scope": "production", "name": f"clause-{at}", "body": targeting})
    refused = put(server, documents)
    run = [(at, it) for at, it in enumerate(spec["clauses"]) if f"clause-{at}" not in refused]
    assert len(run) >= 245, [spec["clauses"][int(it.removeprefix("clause-"))]["clause"] for it in refused]
    with ControlPlaneClient(server.url, token=server.token, environment="production") as client:
        for at, case in run:
            found = evaluated(client, f"clause-{at}", case["context"], "production")
            assert (found["rule"] or "unknown") == case["verdict"], case


def test_units_fall_into_the_slots_of_the_vectors(server: Server) -> None:
    # An evaluation takes what is empty for missing; hashes are told of it, too.
    cases = [it for it in vectors("bucketing")["cases"] if it["unit"]]
    assert len(cases) >= 20
    assert {it["bucketing"] for it in cases} == {"flagd-v2", "flagd-v3"}
    environments = {"flagd-v2": "staging", "flagd-v3": "production"}
    server.run("environment", "migrate", "staging", "--bucketing", "flagd-v2", "--reason", "vectors")
    documents: list[Document] = []
    for at, case in enumerate(cases):
        slot = {"variant": "on", "start": case["slot"], "end": case["slot"] + 1}
        targeting = {"state": "enabled", "default": {"ranges": [slot], "salt": case["salt"]}}
        documents.append({"kind": "flag", "scope": "", "name": f"slot-{at}", "body": {"type": "boolean"}})
        scope = environments[case["bucketing"]]
        documents.append({"kind": "targeting", "scope": scope, "name": f"slot-{at}", "body": targeting})
    assert not put(server, documents)
    with ControlPlaneClient(server.url, token=server.token, environment="production") as client:
        for at, case in enumerate(cases):
            found = evaluated(client, f"slot-{at}", {"targetingKey": case["unit"]}, environments[case["bucketing"]])
            assert found["value"] is True, case["name"]


def test_the_callers_cap_holds_as_in_the_vectors(server: Server) -> None:
    spec = vectors("rollout_cap")
    assert not put(server, spec["documents"])
    assert len(spec["cases"]) >= 140
    with ControlPlaneClient(server.url, token=server.token, environment="production") as client:
        for case in spec["cases"]:
            whom = case["context"]
            # Who is the user is also what is divided by, unless a flag says otherwise.
            user = whom.get("user", whom.get("targetingKey"))
            with control_plane.context(tenant_id=whom.get("tenant"), user_id=user, **whom.get("attributes", {})):
                for default in (True, False):
                    on = client.is_enabled(case["flag"], rollout_percentage=case["percent"], default=default)
                    assert on is (default if case["expect"] is None else case["expect"]), case["name"]

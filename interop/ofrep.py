"""OpenFeature's own SDK for Python against the real server."""

import os

import requests
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

SERVER = os.environ["SERVER"]
HEADERS = {"Authorization": f"Bearer {os.environ['CONTROL_PLANE_TOKEN']}"}


def put(kind: str, scope: str, name: str, body: object) -> dict[str, object]:
    return {"op": "put", "kind": kind, "scope": scope, "name": name, "body": body}


def enabled(default: object) -> dict[str, object]:
    return {"state": "enabled", "default": default}


def call(method: str, path: str, body: object) -> None:
    reply = requests.request(method, SERVER + path, json=body, headers=HEADERS, timeout=20)
    assert reply.status_code == 200, reply.text


call("POST", "/v1/commits", {"ops": [
    put("flag", "", "py-on", {"type": "boolean"}),
    put("targeting", "production", "py-on", enabled("on")),
    put("flag", "", "py-ratio", {"type": "float", "variants": {"whole": 1.0}}),
    put("targeting", "production", "py-ratio", enabled("whole")),
    put("flag", "", "py-rows", {"type": "integer", "variants": {"ten": 10}}),
    put("targeting", "production", "py-rows", enabled("ten")),
    put("flag", "", "py-half", {"type": "boolean"}),
    put("targeting", "production", "py-half", enabled({"percent": {"on": 50}})),
]})

# This provider's environment is in its base URL.
base = f"{SERVER}/v1/environments/production"
api.set_provider(OFREPProvider(base, headers_factory=lambda: HEADERS))
client = api.get_client()
on = client.get_boolean_details("py-on", False)
assert (on.value, on.variant, on.reason) == (True, "on", "STATIC"), on
assert on.flag_metadata["bucketing"] == "flagd-v3", on
ratio = client.get_float_details("py-ratio", 0.0)
assert (ratio.value, ratio.error_code) == (1.0, None), ratio
rows = client.get_integer_details("py-rows", 0)
assert (rows.value, rows.error_code) == (10, None), rows
half = client.get_boolean_details("py-half", False, EvaluationContext("u-1"))
assert (half.reason, half.error_code) == ("SPLIT", None), half
keyless = client.get_boolean_details("py-half", True)
assert (keyless.value, keyless.error_code) == (True, ErrorCode.TARGETING_KEY_MISSING), keyless
unknown = client.get_boolean_details("no-such-flag", True)
assert (unknown.value, unknown.error_code) == (True, ErrorCode.FLAG_NOT_FOUND), unknown
mistyped = client.get_string_details("py-on", "mine")
assert (mistyped.value, mistyped.error_code) == ("mine", ErrorCode.TYPE_MISMATCH), mistyped
call("PUT", "/v1/environments/production/kills/flag:py-on", {"reason": "wrong"})
killed = client.get_boolean_details("py-on", True)
assert (killed.value, killed.reason) == (False, "DISABLED"), killed
print("ofrep: the SDK for Python gets what it should")

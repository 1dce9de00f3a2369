"""The flag SDKs that are measured beside ours: each out of memory, with the same flags, as its documentation says.

Every flag `static` is on for everybody; every flag `rule` is on for the tenants of a list, and off for others. A peer
is two calls: one that gets tenant and user as strings, as a request handler has them, and one whose context was made
before, which is the most that a handler could save.
"""

from __future__ import annotations

import json
import logging
import pathlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

TENANT, USER = "tenant123", "user-1"
TENANTS = ["tenant7", "tenant8", TENANT]

Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Peer:
    name: str
    ask: Ask
    ask_made: Ask
    close: Callable[[], object]


def tree(root: pathlib.Path) -> pathlib.Path:
    """The flags of the peers as a tree."""
    for folder in ("environments", "feature_flags", "tenants"):
        (root / folder).mkdir(parents=True)
    (root / "environments" / "production.yaml").write_text("order: 1\n")
    within = {"attribute": "tenant.id", "in": TENANTS}
    served = {"static": {"default": "on"}, "rule": {"rules": [{"name": "list", "if": within, "serve": "on"}], "default": "off"}}
    for name, targeting in served.items():
        flag = {"type": "boolean", "environments": {"production": {"state": "enabled", **targeting}}}
        (root / "feature_flags" / f"{name}.yaml").write_text(json.dumps(flag))
    for tenant in TENANTS:
        (root / "tenants" / f"{tenant}.yaml").write_text("plan: pro\n")
    return root


def ours(root: pathlib.Path) -> Peer:
    import control_plane

    client = control_plane.ControlPlaneClient(f"file:{root}", environment="production")
    return Peer(
        "ours",
        lambda flag: client.is_enabled(flag, tenant_id=TENANT, user_id=USER),
        # In a block that says for whom.
        lambda flag: client.is_enabled(flag),
        client.close,
    )


def ours_started() -> Peer:
    return ours(tree(pathlib.Path(tempfile.mkdtemp())))


def launchdarkly() -> Peer:
    import ldclient
    from ldclient.config import Config
    from ldclient.integrations.test_data import TestData

    data = TestData.data_source()
    data.update(data.flag("static").variation_for_all(True))
    rule = data.flag("rule").if_match_context("tenant", "key", *TENANTS).then_return(True)
    data.update(rule.fallthrough_variation(False))
    client = ldclient.LDClient(Config("offline", update_processor_class=data, send_events=False))

    def context() -> ldclient.Context:
        of_tenant = ldclient.Context.create(TENANT, "tenant")
        return ldclient.Context.create_multi(of_tenant, ldclient.Context.create(USER))

    made = context()
    return Peer(
        "LaunchDarkly",
        lambda flag: client.variation(flag, context(), False),
        lambda flag: client.variation(flag, made, False),
        client.close,
    )


def unleash() -> Peer:
    from UnleashClient import UnleashClient
    from UnleashClient.cache import FileCache

    within = {"contextName": "tenant", "operator": "IN", "values": TENANTS}
    features = [
        {"name": "static", "enabled": True, "strategies": [{"name": "default", "parameters": {}}]},
        {
            "name": "rule",
            "enabled": True,
            "strategies": [{"name": "default", "parameters": {}, "constraints": [within]}],
        },
    ]
    cache = FileCache("bench", directory=tempfile.mkdtemp())
    cache.bootstrap_from_dict({"version": 2, "features": features})
    client = UnleashClient(
        "http://127.0.0.1:1", "bench", cache=cache, disable_metrics=True, disable_registration=True
    )
    client.initialize_client(fetch_toggles=False)
    made = {"userId": USER, "tenant": TENANT}
    return Peer(
        "Unleash",
        lambda flag: client.is_enabled(flag, {"userId": USER, "tenant": TENANT}),
        lambda flag: client.is_enabled(flag, made),
        client.destroy,
    )


def growthbook() -> Peer:
    from growthbook import GrowthBook

    features = {
        "static": {"defaultValue": True},
        "rule": {"defaultValue": False, "rules": [{"condition": {"tenant": {"$in": TENANTS}}, "force": True}]},
    }

    def made() -> GrowthBook:
        return GrowthBook(attributes={"id": USER, "tenant": TENANT}, features=features)

    once = made()
    return Peer("GrowthBook", lambda flag: made().is_on(flag), lambda flag: once.is_on(flag), lambda: None)


def flagd() -> Peer:
    from openfeature import api
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType
    from openfeature.evaluation_context import EvaluationContext

    variants = {"on": True, "off": False}
    flags = {
        "static": {"state": "ENABLED", "variants": variants, "defaultVariant": "on"},
        "rule": {
            "state": "ENABLED",
            "variants": variants,
            "defaultVariant": "off",
            "targeting": {"if": [{"in": [{"var": "tenant"}, TENANTS]}, "on", "off"]},
        },
    }
    source = pathlib.Path(tempfile.mkdtemp()) / "flags.json"
    source.write_text(json.dumps({"flags": flags}))
    api.set_provider_and_wait(
        FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(source))
    )
    client = api.get_client()
    made = EvaluationContext(USER, {"tenant": TENANT})
    return Peer(
        "flagd in process",
        lambda flag: client.get_boolean_value(flag, False, EvaluationContext(USER, {"tenant": TENANT})),
        lambda flag: client.get_boolean_value(flag, False, made),
        api.shutdown,
    )


def all_peers() -> list[Peer]:
    logging.getLogger().setLevel(logging.ERROR)
    return [launchdarkly(), unleash(), growthbook(), flagd()]

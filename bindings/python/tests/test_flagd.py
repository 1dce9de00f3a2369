"""Exported flags against flagd's evaluators of PyPI (bucketing v3) and npm (v2): equal for every context, or refused."""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess
from typing import Any

import pytest
from control_plane import _core
from control_plane.client import ControlPlaneClient
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from conftest import ROOT

PAIRS = 10_000
FLAGS = 200
SEED = 20_261_124
VALUES: dict[str, list[Any]] = {
    "boolean": [True, False],
    "string": ["", "a", "ä"],
    "integer": [0, 7, -3],
    "float": [0.0, 0.5, 3.0],
    "object": [{}, {"a": [1, None]}, {"b": "x"}],
}
TEXTS = ["", "eu", "eu-west", "us", "ä", "7", "true", "True", "null", "0"]
PLACES = ["country", "device.os", "n", "user.country", "user.id", "tenant.id", "targetingKey", "agent"]


class Made:
    """Flags and contexts that a seed makes."""

    def __init__(self, seed: int) -> None:
        self.any = random.Random(seed)

    def flag(self, index: int) -> dict[str, Any]:
        kind = self.any.choice(list(VALUES))
        variants = {f"v{at}": value for at, value in enumerate(VALUES[kind])}
        targeting: dict[str, Any] = {"state": self.any.choices(["enabled", "disabled"], [9, 1])[0]}
        if self.any.random() < 0.7:
            targeting["off"] = self.any.choice(list(variants))
        if self.any.random() < 0.8:
            targeting["default"] = self.serve(variants)
        if self.any.random() < 0.3:
            by = {} if self.any.random() < 0.5 else {"by": self.any.choice(["user.id", "n", "tenant.id"])}
            values = self.any.sample(["u-1", "u-2", "acme", "7"], 2)
            targeting["targets"] = [{**by, "values": values, "serve": self.any.choice(list(variants))}]
        targeting["rules"] = [
            {"name": f"r{at}", "if": self.expression(2), "serve": self.serve(variants), **self.window()}
            for at in range(self.any.randrange(4))
        ]
        if index and self.any.random() < 0.2:
            needed = self.any.sample(["v0", "v1"], self.any.randrange(1, 3))
            targeting["prerequisites"] = [{"flag": f"f{self.any.randrange(index)}", "variants": needed}]
        environments = {"three": targeting, "two": targeting}
        return {"key": f"f{index}", "type": kind, "variants": variants, "environments": environments}

    def window(self) -> dict[str, Any]:
        if self.any.random() < 0.8:
            return {}
        bound = self.any.choice(["2020-01-01T00:00:00Z", "2199-01-01T00:00:00Z"])
        return {"window": {self.any.choice(["from", "until"]): bound}}

    def serve(self, variants: dict[str, Any]) -> Any:
        match self.any.randrange(5):
            case 0:
                return {"caller_default": True}
            case 1 | 2:
                names = self.any.sample(list(variants), 2)
                percent = {name: self.any.choice([0.001, 10, 33.333, 50]) for name in names}
                split: dict[str, Any] = {"percent": percent}
                if self.any.random() < 0.5:
                    split["by"] = self.any.choice(["n", "user.id", "country", "tenant.id"])
                if self.any.random() < 0.3:
                    split["salt"] = "salt"
                return split
            case _:
                return self.any.choice(list(variants))

    def expression(self, depth: int) -> dict[str, Any]:
        match self.any.randrange(6) if depth else 5:
            case 0:
                return {"not": self.expression(depth - 1)}
            case 1 | 2 as which:
                parts = [self.expression(depth - 1) for _ in range(self.any.randrange(1, 4))]
                return {"all" if which == 1 else "any": parts}
            case _:
                return {"attribute": self.any.choice(PLACES), **self.test()}

    def test(self) -> dict[str, Any]:
        match self.any.randrange(9):
            case 0:
                return {"exists": self.any.choice([True, False])}
            case 1:
                return {self.any.choice(["lt", "le", "gt", "ge"]): self.any.choice([0, 1, 6.5])}
            case 2:
                return {self.any.choice(["starts_with", "ends_with"]): self.any.choice(["e", "eu", "st", "ä"])}
            case 3:
                return {"segment": self.any.choice(["pilots", "gathered"])}
            case 4:
                return {"in": self.any.sample([1, 0, 7, 0.5, True, False, "1", "eu", "true"], 3)}
            case 5:
                return {"equals": self.any.choice([True, False, 0, 1, "eu"])}
            case _:
                return {"in": self.any.sample(["eu", "us", "7", "u-1", "acme", "true"], 2)}

    def odd(self) -> Any:
        return self.any.choice([*TEXTS, 0, 1, 7, -7, 0.5, 1.0, True, False, None, [], ["eu"], [7], {"os": "eu"}, {}])

    def context(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name in ("country", "device", "n"):
            if self.any.random() < 0.7:
                made[name] = self.odd()
        for name in ("targetingKey", "agent"):
            if self.any.random() < 0.5:
                made[name] = self.any.choice(["", "u-1", f"u-{self.any.randrange(10**6)}", "eu"])
        if self.any.random() < 0.6:
            made["user"] = {"id": self.any.choice(["", "u-1", f"u-{self.any.randrange(10**6)}"]), "country": self.odd()}
        if self.any.random() < 0.6:
            made["tenant"] = {"id": self.any.choice(["acme", "bare", f"t-{self.any.randrange(1000)}"])}
        return made


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    made = Made(SEED)
    files: dict[str, Any] = {
        "environments/three": {"bucketing": "flagd-v3"},
        "environments/two": {"bucketing": "flagd-v2"},
        "tenants/acme": {"plan": "free", "region": "eu"},
        "segments/pilots": {"include": ["acme", "u-1", "7"]},
        "segments/gathered": {
            "include": ["bare"],
            "exclude": ["acme"],
            "when": {"any": [{"attribute": "country", "equals": "eu"}, {"attribute": "user.id", "segment": "pilots"}]},
        },
        # What cannot be said in flagd with the same meaning.
        **{
            f"feature_flags/x-{name}": {
                "key": f"x-{name}",
                "type": "boolean",
                "environments": {"three": {"state": "enabled", "rules": [{"name": "r", "if": when, "serve": "on"}]}},
            }
            for name, when in {
                "plan": {"attribute": "tenant.plan", "equals": "free"},
                "regex": {"attribute": "country", "matches": "^e"},
                "length": {"attribute": "country.length", "equals": 2},
                "contains": {"attribute": "country", "contains": "e"},
            }.items()
        },
    }
    for index in range(FLAGS):
        flag = made.flag(index)
        files[f"feature_flags/{flag['key']}"] = flag
    tree = tmp_path_factory.mktemp("tree")
    for path, body in files.items():
        # JSON is YAML.
        (tree / f"{path}.yaml").parent.mkdir(exist_ok=True)
        (tree / f"{path}.yaml").write_text(json.dumps(body), encoding="utf-8")
    return tree


def exported(tree: pathlib.Path, environment: str, *more: str) -> dict[str, Any]:
    binary = os.environ["CONTROL_PLANE_BINARY"]
    arguments = ["flag", "export", "--format", "flagd", "-e", environment, "--output", "json", *more]
    done = subprocess.run(
        [binary, *arguments],
        env={**os.environ, "CONTROL_PLANE_URL": f"file:{tree}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


Question = tuple[str, str, dict[str, Any]]


def questions(tree: pathlib.Path, flags: dict[str, Any], seed: int) -> list[Question]:
    """Random pairs of a flag that is exported and a context, each flag about as often as the others."""
    made, keys = Made(seed), [key for key in flags if not key.startswith("x-")]
    assert len(keys) > FLAGS // 2, f"only {len(keys)} of {FLAGS} flags are exported"
    kinds = {key: json.loads((tree / f"feature_flags/{key}.yaml").read_text())["type"] for key in keys}
    contexts = [made.context() for _ in range(PAIRS // 50)]
    return [(kinds[key], key, made.any.choice(contexts)) for key in (keys[at % len(keys)] for at in range(PAIRS))]


def ours(tree: pathlib.Path, environment: str, asked: list[Question]) -> list[Any]:
    answers = []
    with ControlPlaneClient(f"file:{tree}", environment=environment) as client:
        for _, key, context in asked:
            found = json.loads(_core.evaluate_flat(client._plane, key, "null", json.dumps(context)))
            answers.append(None if found["variant"] is None else [found["value"], found["variant"]])
    return answers


def by_python(flags: dict[str, Any], asked: list[Question]) -> list[Any]:
    core = FlagdCore()
    core.set_flags(json.dumps(flags))
    none: Any = object()
    answers = []
    for kind, key, context in asked:
        attributes = {name: value for name, value in context.items() if name != "targetingKey"}
        ask = getattr(core, f"resolve_{kind}_value")
        found = ask(key, none, EvaluationContext(context.get("targetingKey"), attributes))
        answers.append(None if found.value is none else [found.value, found.variant])
    return answers


def by_node(flags: dict[str, Any], asked: list[Question]) -> list[Any]:
    done = subprocess.run(
        [os.environ["NODE"], str(ROOT / "interop/flagd/evaluate.cjs")],
        input=json.dumps({"flags": flags, "questions": asked}),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def check(asked: list[Question], flags: dict[str, Any], expected: list[Any], found: list[Any]) -> None:
    assert len(expected) == len(found) == PAIRS
    differing = [at for at in range(PAIRS) if expected[at] != found[at]]
    if differing:
        at = differing[0]
        pytest.fail(
            f"{len(differing)} of {PAIRS} differ, such as {asked[at]}: ours {expected[at]}, flagd's {found[at]}, "
            f"by {json.dumps(flags['flags'][asked[at][1]])}"
        )
    distinct = {json.dumps(it) for it in expected}
    assert len(distinct) > 8, f"every answer is one of {distinct}"


def test_ten_thousand_pairs_are_as_the_evaluator_of_pypi_has_them(tree: pathlib.Path) -> None:
    file = exported(tree, "three")["file"]
    asked = questions(tree, file["flags"], SEED + 3)
    check(asked, file, ours(tree, "three", asked), by_python(file, asked))


def test_ten_thousand_pairs_are_as_the_evaluator_of_npm_has_them(tree: pathlib.Path) -> None:
    file = exported(tree, "two")["file"]
    asked = questions(tree, file["flags"], SEED + 2)
    # It hashes UTF-16: units that are not ASCII are in other buckets there.
    ascii_only = [(kind, key, {**it, "country": "eu"} if it.get("country") == "ä" else it) for kind, key, it in asked]
    for _, _, context in ascii_only:
        if context.get("n") == "ä":
            context["n"] = "n"
    check(ascii_only, file, ours(tree, "two", ascii_only), by_node(file, ascii_only))


def test_what_cannot_be_said_in_flagd_is_left_out_with_the_reason(tree: pathlib.Path) -> None:
    export = exported(tree, "three")
    assert "tenant.plan" in export["refused"]["x-plan"]
    assert "matches" in export["refused"]["x-regex"]
    assert "country.length" in export["refused"]["x-length"]
    assert "contains" in export["refused"]["x-contains"]
    assert not set(export["refused"]) & set(export["file"]["flags"])
    assert export["file"]["metadata"]["flagSetId"] == "three"


def test_an_export_for_a_tenant_has_what_is_known_of_it_put_in(tree: pathlib.Path) -> None:
    for tenant, expected in {"acme": "on", "bare": "off"}.items():
        file = exported(tree, "three", "--tenant", tenant)["file"]
        flag = file["flags"]["x-plan"]
        assert (flag["defaultVariant"], "targeting" in flag) == (expected, False)
        assert file["metadata"]["flagSetId"] == f"three/{tenant}"

"""The flags of OpenFeature's suite, as a tree of ours."""

from __future__ import annotations

import json
import pathlib
from typing import Any

_BALLMER = {"attribute": "email", "equals": "ballmer@macrosoft.com"}
#: The suite's expressions, in CEL, and what they mean. One that is not here fails the run: there is no guessing.
_EXPRESSIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "email == 'ballmer@macrosoft.com' ? 'zero' : ''": ("zero", _BALLMER),
    "!customer && email == 'ballmer@macrosoft.com' && age > 10 ? 'internal' : ''": (
        "internal",
        {"all": [{"attribute": "customer", "equals": False}, _BALLMER, {"attribute": "age", "gt": 10}]},
    ),
}
#: What the older feature evaluates and the file does not hold.
_CONTEXT_AWARE = {
    "variants": {"internal": "INTERNAL", "external": "EXTERNAL"},
    "default": "external",
    "rules": [
        {
            "name": "internal",
            "serve": "internal",
            "if": {
                "all": [
                    {"attribute": "fn", "equals": "Sulisław"},
                    {"attribute": "ln", "equals": "Świętopełk"},
                    {"attribute": "age", "equals": 29},
                    {"attribute": "customer", "equals": False},
                ]
            },
        }
    ],
}


def write(flags: pathlib.Path, tree: pathlib.Path) -> None:
    """Writes a tree whose environment ``test`` has the flags of the suite."""
    (tree / "environments").mkdir()
    (tree / "environments" / "test.yaml").write_text('{"description": "for the suite"}')
    (tree / "feature_flags").mkdir()
    for key, flag in json.loads(flags.read_text(encoding="utf-8")).items():
        targeting: dict[str, Any] = {"state": "disabled" if flag.get("disabled") else "enabled"}
        default = flag.get("defaultVariant")
        targeting["default"] = {"caller_default": True} if default is None else default
        if (expression := flag.get("contextEvaluator")) is not None:
            serve, when = _EXPRESSIONS[expression]
            targeting["rules"] = [{"name": serve, "if": when, "serve": serve}]
        _put(tree, key, flag["variants"], targeting, flag.get("flagMetadata") or {})
    targeting = {"state": "enabled", "default": _CONTEXT_AWARE["default"], "rules": _CONTEXT_AWARE["rules"]}
    _put(tree, "context-aware", _CONTEXT_AWARE["variants"], targeting, {})


def _put(tree: pathlib.Path, key: str, variants: Any, targeting: dict[str, Any], metadata: dict[str, Any]) -> None:
    values = list(variants.values())
    kinds = {bool: "boolean", str: "string", int: "integer", float: "float", dict: "object"}
    kind = kinds[type(values[0])]
    flag = {"key": key, "type": kind, "metadata": metadata, "variants": variants, "environments": {"test": targeting}}
    # JSON is YAML.
    (tree / "feature_flags" / f"{key}.yaml").write_text(json.dumps(flag), encoding="utf-8")

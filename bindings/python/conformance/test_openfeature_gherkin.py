"""OpenFeature's own scenarios, through its SDK and our provider. Run by `cargo xtask conformance`."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from control_plane.client import ControlPlaneClient
from control_plane.openfeature import ControlPlaneProvider
from control_plane.testing import InMemory
from gherkin.parser import Parser
from gherkin.pickles.compiler import Compiler
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError
from openfeature.flag_evaluation import FlagEvaluationOptions
from openfeature.hook import Hook
from openfeature.transaction_context import ContextVarsTransactionContextPropagator

from suite_tree import write

GHERKIN = "suites/flags/openfeature-spec-gherkin/specification/assets/gherkin"
#: What cannot hold of us, by feature and scenario, and why; one that holds after all fails the run.
EXCUSED = {
    (
        "Flag Evaluations - Complete OpenFeature Specification Coverage",
        "CACHED reason",
    ): "the second of two equal questions is to be answered from a cache; ours is evaluated anew, and to say it was not would be untrue",
    (
        "Flag Evaluations - Complete OpenFeature Specification Coverage",
        "Evaluation context immutability",
    ): "the details are an object of the SDK (0.10), a dataclass that is not frozen, and no provider makes it",
}
#: Asked of a provider that is told to say nothing of its own in a flag's metadata, for by default it says the revision.
ONLY_FLAG_METADATA = {("Metadata", "Returns no metadata")}


def pickles() -> list[Any]:
    suites = os.environ.get("CONTROL_PLANE_SUITES")
    assert suites, "CONTROL_PLANE_SUITES names no directory; `cargo xtask conformance` sets it"
    found = sorted(pathlib.Path(suites, GHERKIN).glob("*.feature"))
    assert len(found) >= 5, f"{GHERKIN} of {suites} has only {[it.name for it in found]}"
    cases = []
    for path in found:
        document: Any = Parser().parse(path.read_text(encoding="utf-8"))
        document["uri"] = path.name
        feature = document["feature"]["name"]
        for pickle in Compiler().compile(document):
            key = (feature, pickle["name"])
            marks = [pytest.mark.xfail(reason=EXCUSED[key], strict=True)] if key in EXCUSED else []
            cases.append(pytest.param(key, pickle["steps"], id=f"{path.stem}: {pickle['name']}", marks=marks))
    return cases


def test_every_excuse_names_a_scenario() -> None:
    known = {case.values[0] for case in pickles()}
    assert set(EXCUSED) | ONLY_FLAG_METADATA <= known


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> InMemory:
    tree = tmp_path_factory.mktemp("tree")
    write(pathlib.Path(os.environ["CONTROL_PLANE_SUITES"], GHERKIN, "test-flags.json"), tree)
    return InMemory(tree)


class Recorder(Hook):
    """A hook that notes which of its stages ran, and with what."""

    def __init__(self, name: str = "", order: list[str] | None = None) -> None:
        self.name, self.order = name, [] if order is None else order
        self.seen: dict[str, Any] = {}

    def before(self, hook_context: Any, hints: Any) -> EvaluationContext | None:
        self.note("before", hook_context)
        return None

    def after(self, hook_context: Any, details: Any, hints: Any) -> None:
        self.note("after", details)

    def error(self, hook_context: Any, exception: Exception, hints: Any) -> None:
        self.note("error", exception)

    def finally_after(self, hook_context: Any, details: Any, hints: Any) -> None:
        self.note("finally", details)

    def note(self, stage: str, what: Any) -> None:
        self.seen[stage] = what
        self.order.append(f"{stage} {self.name}".strip())


class Adding(Hook):
    """A hook that adds to the context."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes

    def before(self, hook_context: Any, hints: Any) -> EvaluationContext | None:
        return EvaluationContext(attributes=self.attributes)


class Retrievable(ControlPlaneProvider):
    """Our provider, which says what context it was given."""

    context: EvaluationContext | None = None

    def resolve_boolean_details(self, flag_key: str, default_value: bool, evaluation_context: Any = None) -> Any:
        self.context = evaluation_context
        return super().resolve_boolean_details(flag_key, default_value, evaluation_context)


class World:
    """What the steps of a scenario share."""

    def __init__(self, plane: InMemory) -> None:
        self.plane = plane
        self.provider: ControlPlaneProvider
        self.only_flag_metadata = False
        self.type, self.key, self.default = "Boolean", "", None
        self.context: dict[str, Any] = {}
        self.levels: dict[str, dict[str, Any]] = {}
        self.hooks: list[Recorder] = []
        self.order: list[str] = []
        self.details: Any = None

    def ask(self, options: FlagEvaluationOptions | None = None, *, later: bool = False) -> None:
        client = api.get_client()
        client.add_hooks(list(self.hooks))
        name = f"get_{self.type.lower()}_details" + ("_async" if later else "")
        context = EvaluationContext(attributes=self.context)
        asked = getattr(client, name)(self.key, self.default, context, options)
        self.details = asyncio.run(asked) if later else asked


STEPS: list[tuple[re.Pattern[str], Callable[..., None]]] = []


def step(pattern: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def keep(run: Callable[..., None]) -> Callable[..., None]:
        # The suite writes both "a Boolean-flag" and "a boolean-flag", and leaves strings out of quotes where they are numbers.
        STEPS.append((re.compile(pattern.replace("{}", '"((?:\\\\.|[^"])*)"'), re.IGNORECASE), run))
        return run

    return keep


def typed(kind: str, text: str) -> Any:
    text = text.replace('\\"', '"')
    match kind.lower():
        case "boolean":
            return {"true": True, "false": False}[text]
        case "integer":
            return int(text)
        case "float":
            return float(text)
        case "object":
            return json.loads(text)
        case _:
            return None if text == "null" else text


@step("a stable provider(?: with retrievable context is registered)?")
def stable(world: World) -> None:
    world.provider = Retrievable(world.plane.client(), only_flag_metadata=world.only_flag_metadata)
    api.set_provider_and_wait(world.provider)


@step("a (not ready|error|fatal|stale) provider")
def troubled(world: World, how: str) -> None:
    if how == "stale":
        stable(world)
        # As the client tells it when it has lost its servers.
        world.provider._told("source", "stale")
        return
    # Nobody listens on port 1; a tree that is not there will never be.
    url = "file:/no/such/tree" if how == "fatal" else "http://127.0.0.1:1"
    client = ControlPlaneClient(url, token="cp_none", environment="test")
    if how == "not ready":
        # It is registered, and still waits for its first view.
        api.set_provider(ControlPlaneProvider(client, timeout=3600))
        return
    with pytest.raises(OpenFeatureError):
        api.set_provider_and_wait(ControlPlaneProvider(client, timeout=0.01))


@step("an? (boolean|string|integer|float|object)-flag with key {} and a fallback value {}")
def flag(world: World, kind: str, key: str, default: str) -> None:
    world.type, world.key, world.default = kind, key, typed(kind, default)


@step("a context containing a key {}, with type {} and with value {}")
def attribute(world: World, key: str, kind: str, value: str) -> None:
    world.context[key] = typed(kind, value)


@step("a context containing a key {} with null value")
def no_attribute(world: World, key: str) -> None:
    world.context[key] = None


@step("the flag was evaluated with details( asynchronously)?")
def evaluated(world: World, later: str | None) -> None:
    world.ask(later=later is not None)


@step("the evaluation should complete without blocking")
def completed(world: World) -> None:
    assert world.details is not None


@step("the resolved details value should be {}")
def value(world: World, expected: str) -> None:
    assert world.details.value == typed(world.type, expected)
    assert type(world.details.value) is type(typed(world.type, expected))


@step("the (reason|variant|flag key|error-code) should be {}")
def field(world: World, name: str, expected: str) -> None:
    attribute = {"flag key": "flag_key", "error-code": "error_code"}.get(name, name)
    assert getattr(world.details, attribute) == expected


@step("the provider status should be {}")
def status(world: World, expected: str) -> None:
    assert api.get_client().get_provider_status().value == expected


@step("the resolved metadata should contain")
def metadata(world: World, table: list[list[str]]) -> None:
    for key, kind, expected in table[1:]:
        assert world.details.flag_metadata[key] == typed(kind, expected)


@step("the resolved metadata is empty")
def no_metadata(world: World) -> None:
    assert not world.details.flag_metadata


@step("a client with added hook")
def hooked(world: World) -> None:
    world.hooks.append(Recorder())


@step("the {} hook should have been executed")
def executed(world: World, stage: str) -> None:
    assert stage in world.hooks[0].seen


@step("the {} hooks should be called with evaluation details")
def called(world: World, stages: str, table: list[list[str]]) -> None:
    for stage in stages.split(", "):
        details = world.hooks[0].seen[stage]
        for kind, key, expected in table[1:]:
            assert getattr(details, key) == typed(kind, expected), (stage, key)


@step("evaluation options containing specific hooks")
def options(world: World) -> None:
    world.hooks = []


@step("the flag was evaluated with details using the evaluation options")
def evaluated_with(world: World) -> None:
    world.ask(FlagEvaluationOptions([Recorder("first", world.order), Recorder("second", world.order)]))


@step("the specified hooks should execute during evaluation")
def all_executed(world: World) -> None:
    assert {"before first", "after first", "finally first", "before second"} <= set(world.order)


@step("the hook order should be maintained")
def in_order(world: World) -> None:
    assert world.order == [
        *("before first", "before second"),
        *("after second", "after first"),
        *("finally second", "finally first"),
    ]


@step("an evaluation context with modifiable data")
def modifiable(world: World) -> None:
    world.context = {"list": [1], "mapping": {"a": 1}}


@step("the original evaluation context should remain unmodified")
def unmodified(world: World) -> None:
    assert world.context == {"list": [1], "mapping": {"a": 1}}


@step("the evaluation details should be immutable")
def immutable(world: World) -> None:
    with pytest.raises(AttributeError):
        world.details.value = None


@step("a context entry with key {} and value {} is added to the {} level")
def entry(world: World, key: str, text: str, level: str) -> None:
    world.levels.setdefault(level, {})[key] = text


@step("a table with levels of increasing precedence")
def levels(world: World, table: list[list[str]]) -> None:
    world.order = [row[0] for row in table]


@step("context entries for each level from API level down to the {} level, with key {} and value {}")
def entries(world: World, last: str, key: str, _: str) -> None:
    for level in world.order[: world.order.index(last) + 1]:
        entry(world, key, level, level)


@step("some flag was evaluated")
def some_evaluated(world: World) -> None:
    at = {name: EvaluationContext(attributes=it) for name, it in world.levels.items()}
    api.set_evaluation_context(at.get("API", EvaluationContext()))
    api.set_transaction_context_propagator(ContextVarsTransactionContextPropagator())
    api.set_transaction_context(at.get("Transaction", EvaluationContext()))
    client = api.get_client()
    client.context = at.get("Client", EvaluationContext())
    client.add_hooks([Adding(world.levels.get("Before Hooks", {}))])
    client.get_boolean_details("boolean-flag", False, at.get("Invocation"))


@step("the merged context contains an entry with key {} and value {}")
def merged(world: World, key: str, expected: str) -> None:
    assert isinstance(world.provider, Retrievable)
    assert world.provider.context is not None
    assert world.provider.context.attributes[key] == expected


# The older feature, which says the same in other words.

SAYS = r"an? (?:non-existent )?(boolean|string|integer|float|object) flag with key {} is evaluated"


@step(SAYS + r"(?: with details and)?(?: with)?(?: a)? (?:default|fallback) value {}")
def older_text(world: World, kind: str, key: str, default: str) -> None:
    flag(world, kind, key, default)
    world.ask()


@step(SAYS + r"(?: with details and)?(?: with)? default value ([\d.]+)")
def older_number(world: World, kind: str, key: str, default: str) -> None:
    flag(world, kind, key, default)
    world.ask()


@step(SAYS + r" with (?:details and )?a null default value")
def older_object(world: World, kind: str, key: str) -> None:
    flag(world, kind, key, "{}")
    world.ask()


@step("a string flag with key {} is evaluated as an integer, with details and a fallback value (\\d+)")
def older_mismatch(world: World, key: str, default: str) -> None:
    flag(world, "integer", key, default)
    world.ask()


@step("context contains keys {}, {}, {}, {} with values {}, {}, (\\d+), {}")
def older_context(world: World, *given: str) -> None:
    first, last, age, customer = given[4:]
    world.context = dict(zip(given[:4], (first, last, int(age), typed("boolean", customer)), strict=True))


@step("a flag with key {} is evaluated with default value {}")
def older_flag(world: World, key: str, default: str) -> None:
    flag(world, "string", key, default)
    world.ask()


@step("the resolved (?:boolean|string) (?:value|response) should be {}")
def older_value(world: World, expected: str) -> None:
    value(world, expected)


@step("the resolved (?:integer|float) value should be ([\\d.]+)")
def older_numeric_value(world: World, expected: str) -> None:
    value(world, expected)


@step('the resolved \\w+ details value should be "?([^",]+)"?, the variant should be {}, and the reason should be {}')
def older_details(world: World, expected: str, variant: str, reason: str) -> None:
    value(world, expected)
    older_variant(world, variant, reason)


@step("the variant should be {}, and the reason should be {}")
def older_variant(world: World, variant: str, reason: str) -> None:
    assert (world.details.variant, world.details.reason) == (variant, reason)


@step(
    "the resolved object (?:details )?value should be contain fields {}, {}, and {}, with values {}, {} and (\\d+), respectively"
)
def older_fields(world: World, *given: str) -> None:
    shown, title, count = given[3:]
    expected = dict(zip(given[:3], (typed("boolean", shown), title, int(count)), strict=True))
    assert world.details.value == expected


@step("the resolved flag value is {} when the context is empty")
def older_empty(world: World, expected: str) -> None:
    world.context = {}
    world.ask()
    value(world, expected)


@step("the default (?:string|integer) value should be returned")
def older_default(world: World) -> None:
    assert world.details.value == world.default


@step("the reason should indicate an error and the error code should indicate a (?:missing flag|type mismatch) with {}")
def older_error(world: World, code: str) -> None:
    assert (world.details.reason, world.details.error_code) == ("ERROR", code)


@pytest.fixture
def world(plane: InMemory) -> Iterator[World]:
    yield World(plane)
    api.set_evaluation_context(EvaluationContext())
    api.shutdown()
    api.clear_providers()


@pytest.mark.parametrize(("key", "steps"), pickles())
def test_scenario(world: World, key: tuple[str, str], steps: list[Any]) -> None:
    world.only_flag_metadata = key in ONLY_FLAG_METADATA
    for it in steps:
        matching = [(found, run) for pattern, run in STEPS if (found := pattern.fullmatch(it["text"]))]
        assert len(matching) == 1, f"{len(matching)} steps match: {it['text']}"
        found, run = matching[0]
        arguments = list(found.groups())
        table = it.get("argument", {}).get("dataTable")
        if table is not None:
            arguments.append([[cell["value"] for cell in row["cells"]] for row in table["rows"]])
        run(world, *arguments)

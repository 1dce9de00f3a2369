"""Measures the Python package beside the SDKs of others, in turns within one run, and prints tables.

`cargo xtask bench python` installs what is measured and runs it from the root of the repository; with `--write PAGE` the
tables are the section "Python" of that page.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import peers
import server

import control_plane

ROUNDS = 15
BUDGET_NS = 500
AHEAD_MIN = 15

IMPORTS = {
    "control_plane": "import control_plane; control_plane.ControlPlaneClient",
    "LaunchDarkly": "import ldclient; ldclient.LDClient",
    "Unleash": "import UnleashClient; UnleashClient.UnleashClient",
    "GrowthBook": "import growthbook; growthbook.GrowthBook",
    "flagd in process": "from openfeature.contrib.provider.flagd import FlagdProvider",
}


def loop_ns(ask: Callable[[str], bool], flag: str, calls: int) -> float:
    """How long a call takes, without the loop that makes it."""
    rounds = range(calls)
    begin = time.perf_counter_ns()
    for _ in rounds:
        ask(flag)
    return (time.perf_counter_ns() - begin) / calls


def in_turns(rows: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median of each, measured in turns, so that what else the machine does hits all."""
    seen: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, measure in rows.items():
            gc.collect()
            seen[name].append(measure())
    return {name: statistics.median(figures) for name, figures in seen.items()}


def human(ns: float) -> str:
    for unit, size in (("ns", 1), ("µs", 1e3), ("ms", 1e6)):
        if ns < size * 1000:
            return f"{ns / size:.{0 if unit == 'ns' else 1}f} {unit}"
    return f"{ns / 1e9:.2f} s"


def evaluations(root: pathlib.Path) -> list[str]:
    mine, others = peers.ours(root), peers.all_peers()
    lines = ["| `is_enabled` with tenant and user | " + " | ".join(
        ["ours", *(f"{it.name} (ours ahead)" for it in others), "budget", "met"]) + " |"]
    lines.append("|" + "---|" * (len(others) + 4))
    for flag, what in (("static", "a flag that is on"), ("rule", "one rule over a list of tenants")):
        for is_made in (False, True):
            everyone = [mine, *others]
            asks = {it.name: it.ask_made if is_made else it.ask for it in everyone}

            def measured(name: str, ask: peers.Ask) -> Callable[[], float]:
                calls = 100_000 if name == "ours" else 1_000

                def measure() -> float:
                    with control_plane.context(tenant_id=peers.TENANT, user_id=peers.USER):
                        assert ask(flag) is True, f"{name} does not answer {flag}"
                        return loop_ns(ask, flag, calls)

                return measure

            figures = in_turns({name: measured(name, ask) for name, ask in asks.items()})
            least = min(figures[it.name] for it in others) / figures["ours"]
            is_met = figures["ours"] <= BUDGET_NS and least >= AHEAD_MIN
            cells = [f"{human(figures[it.name])} ({figures[it.name] / figures['ours']:.0f} ×)" for it in others]
            given = "context made before" if is_made else "context made by the call"
            lines.append(
                f"| {what}, {given} | {human(figures['ours'])} | " + " | ".join(cells)
                + f" | ≤ {BUDGET_NS} ns and ≥ {AHEAD_MIN} × | {'yes' if is_met else '**no**'} |"
            )
    for it in (mine, *others):
        it.close()
    return lines


def agents() -> list[str]:
    client = control_plane.ControlPlaneClient("file:examples/aiaas", environment="production")
    client.wait_ready()

    def asked(tenant: str | None) -> Callable[[], float]:
        async def ask(calls: int) -> float:
            begin = time.perf_counter_ns()
            for _ in range(calls):
                await client.get_agent("customer_support_agent", tenant_id=tenant)
            return (time.perf_counter_ns() - begin) / calls

        return lambda: asyncio.run(ask(2_000))

    figures = in_turns({"published": asked(None), "overridden": asked("tenant123")})
    client.close()
    return [
        "| `await get_agent` | per call |",
        "|---|---|",
        f"| the example's agent with its tools, as published | {human(figures['published'])} |",
        f"| the same with an override that applies | {human(figures['overridden'])} |",
    ]


STARTS = {
    "control_plane": "client = peers.ours_started()",
    "LaunchDarkly": "client = peers.launchdarkly()",
    "Unleash": "client = peers.unleash()",
    "GrowthBook": "client = peers.growthbook()",
    "flagd in process": "client = peers.flagd()",
}


def imports() -> list[str]:
    def child(code: str, start: str) -> tuple[float, ...]:
        probe = f"""
{server.RESIDENT}
import time
bare, begin = resident_kib(), time.perf_counter_ns()
{code}
elapsed, imported = time.perf_counter_ns() - begin, resident_kib()
import sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import peers
{start}
client.ask("static")
print(elapsed, imported - bare, resident_kib() - bare)
"""
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return tuple(float(it) for it in done.stdout.split())

    seen: dict[str, list[tuple[float, ...]]] = {name: [] for name in IMPORTS}
    for _ in range(9):
        for name, code in IMPORTS.items():
            seen[name].append(child(code, STARTS[name]))
    lines = ["| import | time | memory on top of the interpreter's | and with a client that has answered |", "|---|---|---|---|"]
    for name, rows in seen.items():
        elapsed, imported, started = (statistics.median(figures) for figures in zip(*rows))
        lines.append(f"| {name} | {human(elapsed)} | {imported / 1024:.1f} MiB | {started / 1024:.1f} MiB |")
    return lines


def section(tables: list[list[str]]) -> str:
    """The tables with what a reader has to know."""
    said = (
        "By `cargo xtask bench python`: the wheel that `pip install` builds, beside the SDKs that "
        "`bench/python/requirements.txt` pins,\neach out of memory with the same flags, medians of calls measured in "
        "turns; the time of a loop and a lambda is in every figure."
    )
    return "\n\n".join(["## Python", said, *("\n".join(lines) for lines in tables)]) + "\n"


def write(page: pathlib.Path, text: str) -> None:
    """Puts the section in the place of the one that is there, or before what is written about misses."""
    before = page.read_text()
    begin = before.find("\n## Python\n")
    if begin < 0:
        begin = end = before.find("\n## What is missed")
    else:
        end = before.find("\n## ", begin + 1)
    if begin < 0 or end < 0:
        sys.exit(f"{page} has no section `What is missed` to stand before")
    page.write_text(before[: begin + 1] + text + before[end:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts: dict[str, Callable[[pathlib.Path], list[str]]] = {
        "evaluations": lambda place: evaluations(peers.tree(place / "few")),
        "agents": lambda _: agents(),
        "imports": lambda _: imports(),
        "delivery": lambda place: server.delivery(place, human),
        "workers": server.workers,
    }
    parser.add_argument("part", nargs="*", choices=[*parts, []], help="measure only these")
    parser.add_argument("--write", type=pathlib.Path, metavar="PAGE", help="write them all into a page")
    given = parser.parse_args()
    if given.write and given.part:
        parser.error("a page has all parts: leave out their names")
    for name in [it for it in os.environ if it.startswith("CONTROL_PLANE_")]:
        del os.environ[name]
    tables = []
    with tempfile.TemporaryDirectory() as place:
        for part in given.part or parts:
            tables.append(parts[part](pathlib.Path(place)))
            print("\n".join(tables[-1]), end="\n\n", flush=True)
    if given.write:
        write(given.write, section(tables))


if __name__ == "__main__":
    main()

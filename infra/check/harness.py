"""Runs checks, and each of them once more on every fault that is planted for it.

A check is a function from a copy of the project's files to a list of findings, in sentences; none is good. A plant is one edit of one file that the
check has to find. Must never: pass a check whose faults it did not find, or edit the project itself.
"""

import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

PROJECT = Path(__file__).resolve().parents[2]
# What checks read. Only these are copied for a planted fault.
READ = [
    "Cargo.toml",
    "README.md",
    "adapters/aws",
    "adapters/azure",
    "adapters/http/src/route.rs",
    "infra/aws",
    "infra/azure",
    "orchestrators/Cargo.toml",
    "orchestrators/src/azure.rs",
    "orchestrators/src/lambda.rs",
    "orchestrators/src/logs.rs",
]


@dataclass
class Plant:
    """A fault: this text in place of that one, in this file, and a part of what the check has to say."""

    file: str
    old: str
    new: str
    says: str


@dataclass
class Check:
    name: str
    run: Callable[[Path], list[str]]
    plants: list[Plant]


CHECKS: list[Check] = []


def check(name: str, *plants: Plant):
    """Registers a check under a sentence that is true when it passes."""
    assert plants, f"{name}: a check without a planted fault may be one that cannot fail"

    def register(run):
        CHECKS.append(Check(name, run, list(plants)))
        return run

    return register


def copy_with(plant: Plant, folder: Path) -> None:
    for path in READ:
        source, target = PROJECT / path, folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.exists():
            shutil.copy(source, target)
    file = folder / plant.file
    text = file.read_text() if file.exists() else ""
    if plant.old and text.count(plant.old) < 1:
        raise ValueError(f"the fault cannot be planted: {plant.file} has no {plant.old!r}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace(plant.old, plant.new, 1) if plant.old else text + plant.new)


def findings(one: Check, folder: Path) -> list[str]:
    try:
        return one.run(folder)
    except Exception:
        return [f"the check itself failed: {traceback.format_exc(limit=3)}"]


def missed(one: Check, plant: Plant) -> list[str]:
    """What is wrong with how a check met a planted fault."""
    with tempfile.TemporaryDirectory(prefix="planted-") as name:
        try:
            copy_with(plant, Path(name))
        except ValueError as error:
            return [str(error)]
        found = findings(one, Path(name))
    if any(plant.says in finding for finding in found):
        return []
    return [f"planted in {plant.file}: {plant.old!r} -> {plant.new!r}; expected a finding with {plant.says!r}, got {found}"]


def main(names: list[str]) -> int:
    """Runs all checks, or those whose names hold one of the words; the exit code."""
    passed = failed = 0
    chosen = [one for one in CHECKS if not names or any(name in one.name for name in names)]
    for one in chosen:
        begun = time.monotonic()
        results = [(one.name, findings(one, PROJECT))]
        # Linters and timers are processes of their own, and some of them sleep.
        with ThreadPoolExecutor(4) as threads:
            outcomes = list(threads.map(lambda plant: missed(one, plant), one.plants))
        results += [(f"{one.name} (planted: {plant.says})", outcome) for plant, outcome in zip(one.plants, outcomes)]
        wrong = [(name, found) for name, found in results if found]
        passed, failed = passed + len(results) - len(wrong), failed + len(wrong)
        print(f"{'FAIL' if wrong else 'ok  '} {one.name} ({len(one.plants)} planted, {time.monotonic() - begun:.1f} s)", flush=True)
        for name, found in wrong:
            print(f"     {name}")
            for finding in found:
                print(f"       - {finding}")
    if not chosen:
        print(f"no check has {' or '.join(names)} in its name")
        failed += 1
    print(f"\ninfra: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit("run infra/check/run")

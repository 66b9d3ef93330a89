"""Runs all test programs of the workspace, two at a time: most of them wait for an emulator or a timer, and one core is enough for those.

What a program prints is shown when it has ended, with how long it took; at the end, once more what failed. Must never: run a program in another
place or with other variables than `cargo test` would.
"""

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import threading
import time

AT_ONCE = 2
# The longest begin first, so that none is left over at the end; those that need what is deployed come last, for that is being built meanwhile.
FIRST = ["dynamodb_store", "compile", "table_store", "misbehaving"]
LAST = ["infra", "azure_release", "aws_release", "aws_laptop"]


def build():
    """All test programs: name, file and the manifest of its package."""
    command = ["cargo", "test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if built.returncode != 0:
        sys.exit(built.returncode)
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith(b"{")]
    programs = [
        (message["target"]["name"], message["executable"], message["manifest_path"])
        for message in messages
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]
    ]
    place = {**{name: n - len(FIRST) for n, name in enumerate(FIRST)}, **{name: n + 1 for n, name in enumerate(LAST)}}
    return sorted(programs, key=lambda program: (place.get(program[0], 0), program[2], program[0]))


def variables():
    """What `cargo test` sets beside the package's own."""
    printed = subprocess.run(["rustc", "--print", "target-libdir"], stdout=subprocess.PIPE, text=True, check=True)
    libraries = printed.stdout.strip()
    return {**os.environ, "CARGO": "cargo", "LD_LIBRARY_PATH": ":".join(filter(None, [libraries, os.environ.get("LD_LIBRARY_PATH")]))}


def run(program, environment, said):
    """Runs a program; what it printed, if it failed."""
    name, executable, manifest = program
    package = os.path.dirname(manifest)
    begun = time.monotonic()
    ended = subprocess.run(
        [executable],
        cwd=package,
        env={**environment, "CARGO_MANIFEST_DIR": package},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    verdict = "ok" if ended.returncode == 0 else f"FAILED (exit {ended.returncode})"
    with said:
        print(f"\n== {name} of {os.path.basename(package)}: {verdict}, {time.monotonic() - begun:.0f} s\n{ended.stdout}", flush=True)
    return None if ended.returncode == 0 else (name, ended.stdout)


def why(printed):
    """From the first failure on: what each failed test said."""
    found = re.search(r"^failures:$", printed, re.MULTILINE)
    return printed[found.start() :] if found else printed[-4000:]


def main():
    environment, said = variables(), threading.Lock()
    programs = build()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        failed = [failure for failure in pool.map(lambda program: run(program, environment, said), programs) if failure]
    documented = subprocess.run(["cargo", "test", "--workspace", "--doc"], check=False).returncode
    for name, printed in failed:
        print(f"\n== what failed in {name}\n{why(printed)}")
    print(f"\n{len(programs)} programs, failed: {', '.join(name for name, _ in failed) or 'none'}; examples in the documentation: {'FAILED' if documented else 'ok'}")
    sys.exit(101 if failed or documented else 0)


main()

#!/usr/bin/env python3
"""Plants one bug after another into a copy of the sources, and sees whether the simulation finds each.

    python3 tests/simulation/planted.py [--seconds 120] [--only WORD]

For whoever wonders what the simulation would notice. A plant is a small change of what the hosts run; it counts as found when a seed fails. Prints a
table; ends with 1 if a plant was not found, with 2 if it does not apply any more. Needs what a build needs, and about a minute for each plant.
Must never: touch the sources that it was begun in.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST, QUEUED, INVOKED = "adapters/host/src", "adapters/host/src/queued", "adapters/host/src/invoked"

# What it is, the file, what stands there, what is planted.
PLANTS = [
    ("an event is taken again by whoever has taken it", "core/src/header.rs", "self.ring.iter().any(|(taken, _)| taken == id)", "self.ring.is_empty() && id.0 == [0; 16]"),
    ("what an activity of a former execution came to counts", "core/src/machine/turn.rs", "outcome } if *execution == self.header.execution => {\n                self.activity_ended", "outcome } if *execution <= self.header.execution => {\n                self.activity_ended"),
    ("a child's end is taken as often as it comes", "core/src/machine/turn.rs", "_ if !wanted => Ok(()),", "_ if !wanted && self.machine.suspended && self.machine.ending.is_some() => Ok(()),"),
    ("what found no room counts as sent", "core/src/engine/effects.rs", "Ok((delivered == Delivered::Full).then_some(to))", "Ok((delivered == Delivered::NotFound && to != to).then_some(to))"),
    ("an outbox that is held back is due to nobody", "core/src/header.rs", "own.into_iter().chain(self.held.map(|held| held.until)).min()", "own"),
    ("claims that have ended are left to somebody else", "core/src/engine/drive.rs", " || self.claims_have_ended(resident.live.header()) {", " || (false && self.claims_have_ended(resident.live.header())) {"),
    ("a delivery has no wake-up before it (Functions)", f"{QUEUED}/covered.rs", "self.queue.put(work.clone().into(), DELAY).await?;", ""),
    ("the safety net ends while somebody is at it (Functions)", f"{QUEUED}/handler/mod.rs", "return self.put(next, again, self.now().until(until) + self.pauses.after_claim).await;", "drop(next); let _ = until; return Ok(());"),
    ("a far alarm's row goes before its message stands (Functions)", f"{QUEUED}/alarms/hourly.rs", "self.queues.alarms.put(Work::Timer(row.timer).into(), self.clock.now().until(due)).await?;\n        self.far.remove(due, digest).await", "self.far.remove(due, digest).await?;\n        self.queues.alarms.put(Work::Timer(row.timer).into(), self.clock.now().until(due)).await.map(drop)"),
    ("what is in the poison queue is dropped (Functions)", f"{QUEUED}/handler/poison.rs", "self.put_back(work).await?;", "let _ = self.put_back(work);"),
    ("no write says that it makes busy for longer (Lambda)", f"{HOST}/wakeups.rs", "    now > before\n", "    now > before && now.is_none()\n"),
    ("a check ends while its instance is busy (Lambda)", f"{HOST}/wakeups.rs", "Verdict::Busy(until) => Step::Again(until),", "Verdict::Busy(_) => Step::End,"),
    ("a cheap read is believed (Lambda)", f"{INVOKED}/call/stream.rs", "if !wakeups::shows(peek.as_ref(), seen.life, seen.revision, seen.messages) {", "if peek.is_none() && !wakeups::shows(peek.as_ref(), seen.life, seen.revision, seen.messages) {"),
    ("what is waited for in place bears no mark (Lambda)", f"{INVOKED}/in_place.rs", "(waits_in_place && (!header.status.is_terminal() || header.held.is_some()))", "(waits_in_place && header.status.is_terminal() && header.held.is_some())"),
    ("an alarm that was tried in vain is given up (Lambda)", f"{INVOKED}/call/mod.rs", "Work::Timer(timer) => Some(Work::Drive(timer.look())),", "Work::Timer(_) => None,"),
    ("unfinished instances are handed on to nobody (Lambda)", f"{INVOKED}/call/mod.rs", "self.send(Work::Drive(Look { instance: instance.to_string(), life, revision, hop: 0, due })).await", "drop((life, revision, due)); Ok(())"),
    ("a page of instances with a fault is not followed by the next one (Lambda)", f"{INVOKED}/call/mod.rs", "        self.send(next).await?;\n        Ok(stuck)", "        drop(next);\n        Ok(stuck)"),
]


def copy(to):
    """The sources as they stand here, without what git ignores."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        there, here = to / name, ROOT / name
        if here.is_file():
            there.parent.mkdir(parents=True, exist_ok=True)
            if not there.exists() or there.read_bytes() != here.read_bytes():
                shutil.copy(here, there)


def find(sources, target, seconds):
    """The first seed that fails, and why; None if all hold."""
    build = ["cargo", "build", "--release", "-q", "-p", "durable-simulation", "--target-dir", str(target)]
    subprocess.run(build, cwd=sources, check=True, stderr=subprocess.DEVNULL)
    running = subprocess.Popen([target / "release/durable-simulation", "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True)
    try:
        for line in running.stdout:
            failed = re.match(r"seed (\d+) \((\w+)\): (.{1,50})", line)
            if failed:
                return failed.groups()
        return None
    finally:
        running.kill()
        running.wait()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=int, default=120, help="for each plant at most")
    arguments.add_argument("--only", default="", help="plants whose description contains this")
    arguments.add_argument("--check", action="store_true", help="see whether all plants still apply, and build nothing")
    said = arguments.parse_args()
    plants = [plant for plant in PLANTS if said.only in plant[0]]
    stale = [what for what, file, old, _ in plants if (ROOT / file).read_text().count(old) != 1]
    if stale or said.check:
        print("\n".join(f"{what}: its file does not hold what is to be replaced, once" for what in stale), file=sys.stderr)
        return 2 if stale else 0
    folder = ROOT / "target/planted"
    sources, target = folder / "sources", folder / "target"
    missed = 0
    print("| planted | found by | as | after |\n| --- | --- | --- | --- |", flush=True)
    for what, file, old, new in plants:
        copy(sources)
        text = (ROOT / file).read_text()
        (sources / file).write_text(text.replace(old, new))
        begun = time.monotonic()
        found = find(sources, target, said.seconds)
        (sources / file).write_text(text)
        missed += found is None
        seed, flavour, kind = found or ("nobody", "", "")
        print(f"| {what} | {'seed ' if found else ''}{seed} {flavour} | {kind} | {time.monotonic() - begun:.0f} s with its build |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

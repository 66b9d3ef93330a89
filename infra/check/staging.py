"""What `infra/azure/stage` makes."""

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from glibc import too_new
from harness import Plant, check
from packaging import PROBE, stacks

STAGE = "infra/azure/stage"
HOST = "infra/azure/host.json"


def run(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", STAGE, *arguments], cwd=folder, env=env, capture_output=True, text=True)


@check(
    "a staged folder is complete, and can be published as it is",
    Plant(STAGE, "install -m 755", "install -m 644", "executable"),
    Plant(STAGE, '"$out/durable-orchestrator.new" "$out/durable-orchestrator"', '"$out/durable-orchestrator.new" "$out/handler"', "defaultExecutablePath"),
    Plant(STAGE, "infra/azure/*/function.json; do\n  cp", "infra/azure/*y/function.json; do\n  cp", "functions"),
    Plant(STAGE, "cp infra/azure/host.json infra/azure/.funcignore", "cp infra/azure/host.json", ".funcignore"),
    Plant(STAGE, '[ -e "$out/local.settings.json" ] || cp', "cp", "settings"),
    Plant(STAGE, 'then rm -r "$(dirname "$description")"', "then true", "gone"),
    Plant(STAGE, '&& [ -n "$(ls -A "$out")" ]', '&& false', "foreign"),
)
def staged(folder: Path) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="staged-") as name:
        out, program = Path(name) / "app", Path(name) / "program"
        program.write_bytes(Path("/bin/true").read_bytes())
        first = run(folder, str(out), "--binary", str(program))
        if first.returncode != 0:
            return [f"staging failed: {first.stderr.strip()}"]
        # Again, over what is there.
        (out / "gone").mkdir()
        (out / "gone/function.json").write_text("{}")
        (out / "local.settings.json").write_text('{"mine": true}')
        again = run(folder, str(out), "--binary", str(program))
        foreign = run(folder, str(Path(name)), "--binary", str(program))
        found = [] if again.returncode == 0 else [f"staging again failed: {again.stderr.strip()}"]
        if foreign.returncode == 0 or (Path(name) / "host.json").exists():
            found.append("a foreign folder with files in it was staged into")
        executable = out / json.loads((out / "host.json").read_text())["customHandler"]["description"]["defaultExecutablePath"]
        if not executable.is_file():
            found.append(f"{executable.name}, the defaultExecutablePath, is not there")
        elif not executable.stat().st_mode & stat.S_IXOTH:
            found.append(f"{executable.name} is not executable")
        wanted = {file.parent.name for file in (folder / "infra/azure").glob("*/function.json")}
        if (there := {file.parent.name for file in out.glob("*/function.json")}) - {"gone"} != wanted:
            found.append(f"the functions are {sorted(there)}, not {sorted(wanted)}")
        if (out / "gone").exists():
            found.append("a function that is gone is still there")
        if not (out / ".funcignore").exists():
            found.append(".funcignore is missing")
        if json.loads((out / "local.settings.json").read_text()) != {"mine": True}:
            found.append("settings that were there are lost")
        allowed = wanted | {"host.json", ".funcignore", "local.settings.json", "gone", executable.name}
        if extra := {file.name for file in out.iterdir()} - allowed:
            found.append(f"beside what belongs there: {sorted(extra)}")
    return found


@check(
    "what infra/azure/stage builds catches panics, and starts on every image of the functions' system",
    Plant(STAGE, "bash infra/aws/build", "bash infra/aws/build --target x86_64-unknown-linux-gnu.2.36", "GLIBC"),
    Plant(STAGE, "--features azure", "--features local", "feature"),
)
def builds(folder: Path) -> list[str]:
    manifest = (folder / "Cargo.toml").read_text()
    with tempfile.TemporaryDirectory(prefix="probe-") as name:
        probe = Path(name)
        shutil.copytree(folder / "infra/azure", probe / "infra/azure")
        (probe / "infra/aws").mkdir(parents=True)
        shutil.copy(folder / "infra/aws/build", probe / "infra/aws/build")
        (probe / "src").mkdir()
        (probe / "src/main.rs").write_text(PROBE)
        profiles = re.findall(r"^\[profile\.(?:release|lambda)\]\n(?:[^\[\n].*\n?)*", manifest, flags=re.M)
        package = '[package]\nname = "durable-orchestrator"\nedition = "2021"\n[features]\nazure = []\n[workspace]\n'
        (probe / "Cargo.toml").write_text(package + "\n".join(profiles))
        tools = Path(os.environ["CHECK_PACKAGES"]).parent / "cargo-lambda/bin"
        environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "CARGO_TARGET_DIR": f"{probe}/target"}
        environment.pop("RUSTFLAGS", None)
        built = run(probe, str(probe / "out"), env=environment)
        program = probe / "out/durable-orchestrator"
        if built.returncode != 0 or not program.exists():
            return [f"the build failed: {built.stderr.strip()[-800:]}"]
        ran = subprocess.run([program], capture_output=True, text=True)
        found = too_new(program, "azure")
    return found if "caught: true" in ran.stdout else [*found, f"a panic ends the program (exit {ran.returncode}), instead of being caught"]


@check(
    "the host on Azure links one HTTP and one TLS stack",
    Plant("adapters/azure/tree.txt", "", "hyper v0.14.32\n", "hyper v0.14.32"),
    Plant("adapters/azure/tree.txt", "", "aws-lc-sys v0.47.0\n", "aws-lc-sys"),
    Plant("adapters/azure/tree.txt", "", "openssl v0.10.70\n", "openssl"),
)
def one_stack(folder: Path) -> list[str]:
    return stacks(folder, "azure", "durable-azure")

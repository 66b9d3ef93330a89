"""What is built, and where the template looks for it."""

import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

from glibc import too_new
from harness import PROJECT, Plant, check
from template import Template

TEMPLATE = "infra/aws/template.yaml"
BUILD = "infra/aws/build"
# A second HTTP or TLS stack, HTTP/2, the SDK's own client: more to load at each cold start, and (aws-lc) 20 ms of processor time at the first connection.
UNWANTED = re.compile(r"^(h2 v|aws-smithy-http-client v|hyper v0\.|rustls v0\.21\.|aws-lc-sys v|aws-lc-rs v|native-tls v|openssl v|openssl-sys v)", re.M)


@check(
    "the template packs what the build makes",
    Plant(TEMPLATE, "Code: ../../target/lambda/durable-orchestrator", "Code: ../../target/lambda/durable", "target/lambda/durable-orchestrator"),
    Plant("orchestrators/Cargo.toml", 'name = "durable-orchestrator"\npath = "src/main.rs"', 'name = "orchestrator"\npath = "src/main.rs"', "no program"),
    Plant(BUILD, "--package durable-orchestrator", "--package durable", "build"),
    Plant(BUILD, "--profile lambda", "--release", "profile"),
)
def packed(folder: Path) -> list[str]:
    found, build = [], (folder / BUILD).read_text()
    programs = [one["name"] for one in tomllib.loads((folder / "orchestrators/Cargo.toml").read_text()).get("bin", [])]
    code = Template(folder).only("AWS::Lambda::Function")["Code"]
    if code != "../../target/lambda/durable-orchestrator":
        found.append(f"the template packs {code}; the build makes target/lambda/durable-orchestrator")
    if "durable-orchestrator" not in programs:
        found.append(f"orchestrators/ has no program durable-orchestrator, only {programs}")
    if "--package durable-orchestrator " not in build:
        found.append("infra/aws/build does not build durable-orchestrator")
    if "cargo lambda build --profile lambda " not in build:
        found.append("infra/aws/build has to use the profile lambda: cargo-lambda changes --release")
    return found


@check(
    "nothing here tells anybody to open a URL that nothing guards",
    Plant("README.md", "", "\ncargo lambda deploy --enable-function-url\n", "--enable-function-url"),
)
def no_public_url(folder: Path) -> list[str]:
    files = [folder / "README.md", *(folder / "infra/aws").iterdir()]
    flag = "--enable-function-url"
    return [f"{file.name} names {flag}, which makes a URL that anybody may call" for file in files if flag in file.read_text()]


PROBE = """
fn main() {
    let caught = std::panic::catch_unwind(|| panic!("on purpose")).is_err();
    println!("caught: {caught}");
}
"""


@check(
    "what infra/aws/build makes catches panics, and starts on the function's system",
    Plant("Cargo.toml", 'panic = "unwind" # said again', 'panic = "abort" # said again', "instead of being caught"),
    Plant(BUILD, "--profile lambda", "--release --config profile.release.panic=\\\"abort\\\"", "instead of being caught"),
)
def unwinds(folder: Path) -> list[str]:
    manifest = (folder / "Cargo.toml").read_text()
    with tempfile.TemporaryDirectory(prefix="probe-") as name:
        probe = Path(name)
        (probe / "infra/aws").mkdir(parents=True)
        (probe / "src").mkdir()
        shutil.copy(folder / BUILD, probe / BUILD)
        (probe / "src/main.rs").write_text(PROBE)
        profiles = re.findall(r"^\[profile\.(?:release|lambda)\]\n(?:[^\[\n].*\n?)*", manifest, flags=re.M)
        (probe / "Cargo.toml").write_text('[package]\nname = "probe"\nedition = "2024"\n[workspace]\n' + "\n".join(profiles))
        tools = Path(os.environ["CHECK_PACKAGES"]).parent / "cargo-lambda/bin"
        environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "CARGO_TARGET_DIR": f"{probe}/target"}
        environment.pop("RUSTFLAGS", None)
        built = subprocess.run(["bash", BUILD, "--package", "probe"], cwd=probe, env=environment, capture_output=True, text=True)
        program = probe / "target/lambda/probe/bootstrap"
        if built.returncode != 0 or not program.exists():
            return [f"the build failed: {built.stderr.strip()[-800:]}"]
        ran = subprocess.run([program], capture_output=True, text=True)
        found = too_new(program, "lambda")
    if "caught: true" not in ran.stdout:
        found.append(f"a panic ends the program (exit {ran.returncode}), instead of being caught: an orchestrator's panic would kill its neighbours")
    return found


def stacks(folder: Path, host: str, shows: str) -> list[str]:
    """Second HTTP or TLS stacks among what the program for a host is made of. `shows` is a package that must be there."""
    if folder != PROJECT:  # planted: a tree that was written by hand
        tree = (folder / f"adapters/{host}/tree.txt").read_text()
    else:
        command = ["cargo", "tree", "--locked", "-p", "durable-orchestrator", "--no-default-features", "--features", host, "-e", "normal", "--prefix", "none"]
        ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        if ran.returncode != 0 or f"{shows} v" not in ran.stdout:
            return [f"`{' '.join(command)}` does not show the tree: {ran.stderr.strip()}"]
        tree = ran.stdout
    return sorted({f"a second HTTP or TLS stack is linked: {line.strip()}" for line in tree.splitlines() if UNWANTED.match(line)})


@check(
    "the host on AWS links one HTTP and one TLS stack",
    Plant("adapters/aws/tree.txt", "", "hyper v0.14.32\n", "hyper v0.14.32"),
    Plant("adapters/aws/tree.txt", "", "aws-lc-sys v0.47.0\n", "aws-lc-sys"),
    Plant("adapters/aws/tree.txt", "", "rustls v0.21.12 (*)\n", "rustls v0.21"),
    Plant("adapters/aws/tree.txt", "", "openssl v0.10.70\n", "openssl"),
    Plant("adapters/aws/tree.txt", "", "h2 v0.4.20\n", "h2"),
)
def one_stack(folder: Path) -> list[str]:
    return stacks(folder, "aws", "aws-sdk-dynamodb")

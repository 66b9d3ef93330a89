"""The settings of each cloud: those that the program reads, those that the template sets, and those that README.md tells of, are the same."""

import json
import re
from pathlib import Path

import arm
from harness import Plant, check
from policy import sources
from template import Template

TEMPLATE = "infra/aws/template.yaml"
SETTINGS = "adapters/aws/src/settings.rs"
PROGRAM = "orchestrators/src/lambda.rs"
AZURE, AZURE_PROGRAM = arm.TEMPLATE, "orchestrators/src/azure.rs"
LOGS = "orchestrators/src/logs.rs"
LAPTOP = "infra/azure/local.settings.example.json"




def read_by_the_program(folder: Path, adapter: str, program: str) -> set[str]:
    """The variables that are named alone in a string; sentences about them are not meant."""
    texts = [*sources(folder, adapter).values(), *(re.sub(r"^\s*//.*$", "", (folder / file).read_text(), flags=re.M) for file in (program, LOGS))]
    return set(re.findall(r'"(DURABLE_[A-Z_]+)"', "\n".join(texts)))


def told(folder: Path, heading: str) -> tuple[set[str], set[str]]:
    """A table of README.md: variables that the template sets, and variables that people set themselves."""
    [part] = re.findall(rf"^### {heading}\n(.*?)^##", (folder / "README.md").read_text(), flags=re.M | re.S)
    [last] = re.findall(r"The template's parameters set those down to `(DURABLE_[A-Z_]+)`", part)
    cells = re.findall(r"^\| (`DURABLE_[^|]*) \|", part, flags=re.M)
    names = [name for cell in cells for name in re.findall(r"`(DURABLE_[A-Z_]+)`", cell)]
    end = names.index(last) + 1
    return set(names[:end]), set(names[end:])


def differences(read: set[str], template: set[str], by_template: set[str], by_people: set[str]) -> list[str]:
    found = [f"the template sets {name}, and nothing reads {name}" for name in sorted(template - read)]
    found += [f"README.md tells of {name}, and nothing reads {name}" for name in sorted((by_template | by_people) - read)]
    found += [f"the program reads {name}, and README.md does not tell of {name}" for name in sorted(read - by_template - by_people)]
    found += [f"README.md says that the template sets {name}, and it does not set {name}" for name in sorted(by_template - template)]
    found += [f"the template sets {name}, and README.md does not say so" for name in sorted(template - by_template)]
    return found


def ours(names) -> set[str]:
    return {name for name in names if name.startswith("DURABLE_")}


@check(
    "the template for AWS sets what the program reads, and README.md tells of all of it",
    Plant(TEMPLATE, "DURABLE_URL_SECRET: !If", "DURABLE_URL_SECRETS: !If", "nothing reads DURABLE_URL_SECRETS"),
    Plant(TEMPLATE, "          DURABLE_TASK_HUB: !Ref TaskHub\n", "", "does not set DURABLE_TASK_HUB"),
    Plant(TEMPLATE, "          DURABLE_LOG: !Ref LogFilter\n", "          DURABLE_LOG: !Ref LogFilter\n          DURABLE_METRICS: OFF\n", "sets DURABLE_METRICS"),
    Plant(SETTINGS, '"DURABLE_GRACE_SECONDS"', '"DURABLE_GRACE"', "nothing reads DURABLE_GRACE_SECONDS"),
    Plant("adapters/aws/src/planted.rs", "", 'fn f() { std::env::var("DURABLE_SECRET_DOOR") }', "does not tell of DURABLE_SECRET_DOOR"),
    Plant(LOGS, '"DURABLE_LOG"', '"RUST_LOG"', "nothing reads DURABLE_LOG"),
    Plant("README.md", "| `DURABLE_QUEUED_SECONDS` | 60", "| `DURABLE_QUEUED` | 60", "does not tell of DURABLE_QUEUED_SECONDS"),
)
def known_alike_on_aws(folder: Path) -> list[str]:
    template = ours(Template(folder).only("AWS::Lambda::Function")["Environment"]["Variables"])
    return differences(read_by_the_program(folder, "adapters/aws/src", PROGRAM), template, *told(folder, "Settings"))


@check(
    "the template for Azure sets what the program reads, and README.md tells of all of it",
    Plant(AZURE, '"DURABLE_LOG"', '"RUST_LOG"', "does not set DURABLE_LOG"),
    Plant(AZURE, '"name": "DURABLE_URL_SECRET"', '"name": "DURABLE_URL_SECRETS"', "nothing reads DURABLE_URL_SECRETS"),
    Plant(LAPTOP, '"DURABLE_LOG"', '"RUST_LOG"', "local.settings.example.json does not set DURABLE_LOG"),
    Plant("adapters/azure/src/planted.rs", "", 'fn f() { std::env::var("DURABLE_SECRET_DOOR") }', "does not tell of DURABLE_SECRET_DOOR"),
    Plant("README.md", "| `DURABLE_SAFETY_SECONDS` |", "| `DURABLE_SAFETY` |", "does not tell of DURABLE_SAFETY_SECONDS"),
)
def known_alike_on_azure(folder: Path) -> list[str]:
    read, laptop = read_by_the_program(folder, "adapters/azure/src", AZURE_PROGRAM), json.loads((folder / LAPTOP).read_text())["Values"]
    found = differences(read, ours(arm.Template(folder).settings()), *told(folder, "Settings there"))
    found += [f"local.settings.example.json sets {name}, and nothing reads {name}" for name in sorted(ours(laptop) - read)]
    return found + [f"local.settings.example.json does not set {name}" for name in ("DURABLE_LOG", "DURABLE_TASK_HUB") if name not in laptop]

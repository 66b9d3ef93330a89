"""The settings: those that the program reads, those that the template sets, and those that README.md tells of, are the same."""

import re
from pathlib import Path

from harness import Plant, check
from policy import sources
from template import Template

TEMPLATE = "infra/aws/template.yaml"
SETTINGS = "adapters/aws/src/settings.rs"
PROGRAM = "orchestrators/src/lambda.rs"


def read_by_the_program(folder: Path) -> set[str]:
    """The variables that are named alone in a string; sentences about them are not meant."""
    texts = [*sources(folder).values(), re.sub(r"^\s*//.*$", "", (folder / PROGRAM).read_text(), flags=re.M)]
    return set(re.findall(r'"(DURABLE_[A-Z_]+)"', "\n".join(texts)))


def told(folder: Path) -> tuple[set[str], set[str]]:
    """The table of README.md: variables that the template sets, and variables that people set themselves."""
    [part] = re.findall(r"^### Settings\n(.*?)^##", (folder / "README.md").read_text(), flags=re.M | re.S)
    [last] = re.findall(r"The template's parameters set those down to `(DURABLE_[A-Z_]+)`", part)
    cells = re.findall(r"^\| (`DURABLE_[^|]*) \|", part, flags=re.M)
    names = [name for cell in cells for name in re.findall(r"`(DURABLE_[A-Z_]+)`", cell)]
    end = names.index(last) + 1
    return set(names[:end]), set(names[end:])


@check(
    "the template sets what the program reads, and README.md tells of all of it",
    Plant(TEMPLATE, "DURABLE_URL_SECRET: !If", "DURABLE_URL_SECRETS: !If", "nothing reads DURABLE_URL_SECRETS"),
    Plant(TEMPLATE, "          DURABLE_TASK_HUB: !Ref TaskHub\n", "", "does not set DURABLE_TASK_HUB"),
    Plant(TEMPLATE, "          DURABLE_LOG: !Ref LogFilter\n", "          DURABLE_LOG: !Ref LogFilter\n          DURABLE_METRICS: OFF\n", "sets DURABLE_METRICS"),
    Plant(SETTINGS, '"DURABLE_GRACE_SECONDS"', '"DURABLE_GRACE"', "nothing reads DURABLE_GRACE_SECONDS"),
    Plant("adapters/aws/src/planted.rs", "", 'fn f() { std::env::var("DURABLE_SECRET_DOOR") }', "does not tell of DURABLE_SECRET_DOOR"),
    Plant(PROGRAM, '"DURABLE_LOG"', '"RUST_LOG"', "nothing reads DURABLE_LOG"),
    Plant("README.md", "| `DURABLE_IN_PLACE` |", "| `DURABLE_INPLACE` |", "does not tell of DURABLE_IN_PLACE"),
)
def known_alike(folder: Path) -> list[str]:
    read, (by_template, by_people) = read_by_the_program(folder), told(folder)
    variables = Template(folder).only("AWS::Lambda::Function")["Environment"]["Variables"]
    template = {name for name in variables if name.startswith("DURABLE_")}
    found = [f"the template sets {name}, and nothing reads {name}" for name in sorted(template - read)]
    found += [f"README.md tells of {name}, and nothing reads {name}" for name in sorted((by_template | by_people) - read)]
    found += [f"the program reads {name}, and README.md does not tell of {name}" for name in sorted(read - by_template - by_people)]
    found += [f"README.md says that the template sets {name}, and it does not set {name}" for name in sorted(by_template - template)]
    found += [f"the template sets {name}, and README.md does not say so" for name in sorted(template - by_template)]
    return found

"""The definition of timers: read, and carried out."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from harness import Plant, check
from template import Template, definition, rendered

TIMER = "infra/aws/timer.asl.json"
TEMPLATE = "infra/aws/template.yaml"
# The longest that a driver may be between arming a timer and its commit: the longest invocation there is. After that its commit cannot land.
LONGEST_INVOCATION = 900


@check(
    "a timer fires at its time and is tried again as it should be",
    Plant(TIMER, '"Next": "Fire"', '"Next": "Fyre"', "asl-validator"),
    Plant(TIMER, '"TimestampPath": "$.fireAt"', '"Seconds": 0', "early"),
    Plant(TIMER, '"Payload.$": "$.event"', '"Payload.$": "$"', "not the event"),
    Plant(TIMER, '["Durable.NotYet"]', '["Durable.NotNow"]', "a commit that never lands"),
    Plant(TIMER, '"MaxAttempts": 24', '"MaxAttempts": 1', "a commit that has not landed yet"),
    Plant(TIMER, '"MaxAttempts": 100', '"MaxAttempts": 8', "throttled for long"),
    Plant(TIMER, '["States.ALL"]', '["States.Timeout"]', "trouble of the store"),
    Plant(TIMER, '"MaxAttempts": 30', '"MaxAttempts": 3', "trouble without end"),
    Plant(TIMER, '"IntervalSeconds": 2,', '"IntervalSeconds": 20,', "a commit that has not landed yet: took"),
)
def carried_out(folder: Path) -> list[str]:
    packages = os.environ["CHECK_PACKAGES"]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(rendered(folder), file)
        file.flush()
        try:
            command = ["node", Path(__file__).parent / "timer.mjs", packages, file.name]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            return ["the definition could not be carried out in five minutes"]
    if ran.returncode != 0:
        return [f"the definition could not be carried out: {ran.stderr.strip()}"]
    return json.loads(ran.stdout)


def waits(rule: dict, after: int) -> int:
    """How many seconds a rule of `Retry` waits in all, over so many attempts."""
    step, total = rule.get("IntervalSeconds", 1), 0
    for _ in range(after):
        total += min(step, rule.get("MaxDelaySeconds", step))
        step *= rule.get("BackoffRate", 2)
    return total


@check(
    "the rules of a timer's retries are in order and long enough",
    Plant(TIMER, '"IntervalSeconds": 2,\n          "BackoffRate": 2,\n          "MaxDelaySeconds": 60', '"IntervalSeconds": 30,\n          "MaxDelaySeconds": 60', "seconds"),
    Plant(TIMER, '"MaxAttempts": 24', '"MaxAttempts": 10', "longest invocation"),
    Plant(TIMER, '"BackoffRate": 3', '"BackoffRate": 0.5', "BackoffRate"),
    Plant(TIMER, '["Durable.NotYet"]', '["States.ALL", "Durable.NotYet"]', "last"),
    Plant(TIMER, '"TimeoutSeconds": 960', '"TimeoutSeconds": 300', "TimeoutSeconds"),
    Plant(TIMER, '"MaxAttempts": 30', '"MaxAttempts": 5', "hours"),
)
def retries(folder: Path) -> list[str]:
    fire = rendered(folder)["States"]["Fire"]
    rules, found = fire["Retry"], []
    if [rule["ErrorEquals"] == ["States.ALL"] for rule in rules] != [False] * (len(rules) - 1) + [True] or any("States.ALL" in rule["ErrorEquals"] for rule in rules[:-1]):
        found.append("States.ALL has to stand alone, in the last rule: it takes all that comes before it is asked")
    if any(rule.get("BackoffRate", 2) < 1 for rule in rules):
        found.append("a BackoffRate below 1 tries faster and faster")
    not_yet = next((rule for rule in rules if "Durable.NotYet" in rule["ErrorEquals"]), None)
    if not not_yet:
        return found + ["nothing waits for a commit that has not landed yet (Durable.NotYet)"]
    if waits(not_yet, 2) > 10:
        found.append("a commit that has not landed yet is looked for too late: two tries within 10 seconds are wanted")
    if waits(not_yet, not_yet["MaxAttempts"]) < LONGEST_INVOCATION + 60:
        found.append("a commit may take as long as the longest invocation, and is given up before that")
    for rule in rules:
        if "Durable.NotYet" not in rule["ErrorEquals"] and waits(rule, rule["MaxAttempts"]) < 6 * 3600:
            found.append(f"{rule['ErrorEquals'][0]}: an outage may take hours, and the timer gives up before 6")
    if fire.get("TimeoutSeconds", 0) <= LONGEST_INVOCATION:
        found.append("TimeoutSeconds has to be longer than the function may run, or an answer comes to nobody")
    return found


@check(
    "what the timers' definition leaves open is what the stack fills in",
    Plant(TIMER, "${FunctionArn}", "${WorkerArn}", "WorkerArn"),
    Plant(TEMPLATE, "        Partition: !Ref AWS::Partition\n", "", "Partition"),
    Plant(TEMPLATE, "DefinitionS3Location: timer.asl.json", "DefinitionS3Location: timers.asl.json", "timers.asl.json"),
    Plant(TEMPLATE, "StateMachineType: STANDARD", "StateMachineType: EXPRESS", "STANDARD"),
)
def filled_in(folder: Path) -> list[str]:
    machine, found = Template(folder).only("AWS::StepFunctions::StateMachine"), []
    named = folder / "infra/aws" / machine["DefinitionS3Location"]
    if not named.exists():
        return [f"the template names a file that does not exist: {machine['DefinitionS3Location']}"]
    open_, given = set(re.findall(r"\$\{(\w+)}", definition(folder))), set(machine["DefinitionSubstitutions"])
    found += [f"${{{name}}} stands in the definition, and the template does not fill it in" for name in sorted(open_ - given)]
    found += [f"the template fills in {name}, and the definition does not have it" for name in sorted(given - open_)]
    if machine.get("StateMachineType") != "STANDARD":
        found.append("only a STANDARD state machine sleeps longer than five minutes")
    return found

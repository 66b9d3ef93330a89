"""Checks that others have written."""

import subprocess
import sys
from pathlib import Path

from harness import Plant, check

TEMPLATE = "infra/aws/template.yaml"


@check(
    "cfn-lint finds nothing in the template",
    Plant(TEMPLATE, "!GetAtt FunctionRole.Arn", "!GetAtt FunctionRoll.Arn", "E1010"),
    Plant(TEMPLATE, "TableName:\n    Description: Holds", "TableName:\n    Descripton: Holds", "E6001"),
    Plant(TEMPLATE, "Runtime: provided.al2023", "Runtime: provided.al2032", "E3030"),
    Plant(TEMPLATE, "RecursiveLoop: Allow", "RecursiveLop: Allow", "E3002"),
    Plant(TEMPLATE, "- dynamodb:UpdateItem", "- dynamodb:TransactWriteItems", "W3037"),
    Plant(TEMPLATE, "Condition: Traced", "Condition: Trased", "E3015"),
    Plant(TEMPLATE, "DURABLE_TIMER_STATE_MACHINE_ARN: !Ref TimerMachine", "DURABLE_TIMER_STATE_MACHINE_ARN: !GetAtt Url.FunctionUrl", "E3004"),
    Plant(TEMPLATE, "{ AttributeName: l, AttributeType: S }", "{ AttributeName: k, AttributeType: S }", "E3039"),
)
def lint(folder: Path) -> list[str]:
    linter = Path(sys.executable).parent / "cfn-lint"
    ran = subprocess.run([linter, "--format", "parseable", folder / TEMPLATE], capture_output=True, text=True)
    lines = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()]
    return lines or ([f"cfn-lint ended with {ran.returncode}"] if ran.returncode else [])

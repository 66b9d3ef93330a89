"""The template against the adapter's sources: its policy against the calls that are made, its table against the one that the store expects."""

import json
import re
import tomllib
from pathlib import Path

from harness import Plant, check
from template import Template, as_list

TEMPLATE = "infra/aws/template.yaml"
SOURCE = "adapters/aws/src/planted.rs"

# Method of an SDK client -> what IAM calls it. Where a word is used by others too, a call counts only with the argument that follows it.
CALLS = {
    "batch_get_item": ["dynamodb:BatchGetItem"],
    "batch_write_item": ["dynamodb:BatchWriteItem"],
    "delete_item": ["dynamodb:DeleteItem"],
    "get_item": ["dynamodb:GetItem"],
    "put_item": ["dynamodb:PutItem"],
    "query": ["dynamodb:Query"],
    "scan": ["dynamodb:Scan"],
    "transact_get_items": ["dynamodb:GetItem"],
    "update_item": ["dynamodb:UpdateItem"],
    "execute_statement": ["dynamodb:PartiQLSelect", "dynamodb:PartiQLUpdate"],
    "get_function_url_config": ["lambda:GetFunctionUrlConfig"],
    "invoke": ["lambda:InvokeFunction"],
    "start_execution": ["states:StartExecution"],
    "stop_execution": ["states:StopExecution"],
    "describe_execution": ["states:DescribeExecution"],
    "list_executions": ["states:ListExecutions"],
    "create_schedule": ["scheduler:CreateSchedule", "iam:PassRole"],
    "delete_schedule": ["scheduler:DeleteSchedule"],
    "get_schedule": ["scheduler:GetSchedule"],
    "update_schedule": ["scheduler:UpdateSchedule", "iam:PassRole"],
    "list_schedules": ["scheduler:ListSchedules"],
    "send_message": ["sqs:SendMessage"],
}
FOLLOWED_BY = {"query": r"\s*\.(set_)?(table_name|index_name)\(", "scan": r"\s*\.(set_)?(table_name|index_name)\(", "invoke": r"\s*\.(set_)?function_name\("}
# A transaction is allowed by the actions of the items in it.
IN_TRANSACTIONS = {"Put": "dynamodb:PutItem", "Update": "dynamodb:UpdateItem", "Delete": "dynamodb:DeleteItem", "ConditionCheck": "dynamodb:ConditionCheckItem"}
# The crate whose use makes the service's actions due.
CRATES = {"dynamodb": "aws-sdk-dynamodb", "states": "aws-sdk-sfn", "lambda": "aws-sdk-lambda", "scheduler": "aws-sdk-scheduler", "iam": "aws-sdk-scheduler"}


def sources(folder: Path, adapter: str = "adapters/aws/src") -> dict[str, str]:
    """An adapter's sources without comments and tests."""
    found = {}
    for file in sorted((folder / adapter).rglob("*.rs")):
        if "tests" in file.relative_to(folder / adapter).parts or file.stem in ("tests", "testing"):
            continue
        text = re.sub(r"^\s*//.*$", "", file.read_text(), flags=re.M)
        found[str(file.relative_to(folder))] = re.split(r"^#\[cfg\(test\)\]\s*\nmod \w+ \{", text, flags=re.M)[0]
    return found


def called(text: str) -> set[str]:
    actions = set()
    for method, names in CALLS.items():
        if re.search(rf"\.{method}\(\){FOLLOWED_BY.get(method, '')}", text):
            actions.update(names)
    if ".transact_write_items()" in text:
        actions.add("transaction")
    actions.update(name for kind, name in IN_TRANSACTIONS.items() if re.search(rf"\b{kind}::builder\(\)", text))
    return actions


@check(
    "the policy allows every call of the adapter, and no other",
    Plant(SOURCE, "", "fn f() { self.client.scan().table_name(t).send() }", "dynamodb:Scan"),
    Plant(SOURCE, "", "fn f() { self.client\n    .get_schedule()\n    .name(n).send() }", "scheduler:GetSchedule"),
    Plant(SOURCE, "", "fn f() { self.client.transact_write_items().transact_items(ConditionCheck::builder()) }", "dynamodb:ConditionCheckItem"),
    Plant(SOURCE, "", "use aws_sdk_sfn::Client;\nfn f() { client.describe_execution().send() }", "states:DescribeExecution"),
    Plant(TEMPLATE, "Action: lambda:GetFunctionUrlConfig", "Action: lambda:InvokeFunction", "calls lambda:GetFunctionUrlConfig"),
    Plant(TEMPLATE, "- dynamodb:UpdateItem", "- dynamodb:UpdateItem\n                  - dynamodb:DescribeTable", "dynamodb:DescribeTable"),
    Plant(TEMPLATE, "Action: lambda:InvokeFunction\n", "Action: [lambda:InvokeFunction, sqs:ReceiveMessage]\n", "sqs:ReceiveMessage"),
)
def granted_is_called(folder: Path) -> list[str]:
    texts = sources(folder)
    calls: dict[str, str] = {}
    for file, text in texts.items():
        calls |= {action: file for action in called(text)}
    calls.pop("transaction", None)
    granted = {
        action
        for name, policy, statement in Template(folder).statements()
        if (name == "FunctionRole" and policy == "work") or name == "FunctionSchedules"
        for action in as_list(statement["Action"])
    }
    dependencies = tomllib.loads((folder / "adapters/aws/Cargo.toml").read_text())["dependencies"]
    found = [f"{calls[action]} calls {action}, and the template does not allow it" for action in sorted(set(calls) - granted)]
    for action in sorted(granted - set(calls)):
        crate = CRATES.get(action.split(":")[0])
        # A service that the adapter depends on and does not call at all yet is still to come.
        to_come = action in {name for names in CALLS.values() for name in names} and crate in dependencies
        if not (to_come and not any(crate.replace("-", "_") in text for text in texts.values())):
            found.append(f"the template allows {action}, and nothing in adapters/aws/src calls it")
    return found


TABLE = "adapters/aws/src/store/table.rs"


@check(
    "the table is the one that the store expects",
    Plant(TABLE, "", 'fn planted() { key("z", KeyType::Hash) }', "keys"),
    Plant(TABLE, "", 'pub const EXPIRES: &str = "y";', "y expire"),
    Plant("adapters/aws/src/store/planted.rs", "", 'pub const WORK: &str = "v";', "mark"),
)
def expected_table(folder: Path) -> list[str]:
    texts, template = sources(folder), Template(folder)
    if not any(word in text for text in texts.values() for word in ("aws_sdk_dynamodb", "KeyType", "const ")):
        return []  # there is no store yet
    properties, found = template.only("AWS::DynamoDB::Table"), []
    [index] = properties["GlobalSecondaryIndexes"]
    described = sorted((key["AttributeName"], key["KeyType"]) for schema in (properties, index) for key in schema["KeySchema"])
    expected = sorted((name, kind.upper()) for name, kind in re.findall(r'key\("(\w+)", KeyType::(\w+)\)', texts.get(TABLE, "")))
    if described != expected:
        found.append(f"the template's keys are {described}, the store's {expected}")
    [wanted] = template.only("AWS::Lambda::EventSourceMapping")["FilterCriteria"]["Filters"]
    [mark] = json.loads(wanted["Pattern"])["dynamodb"]["NewImage"]
    for constant, what, described in [
        ("LIST_INDEX", "the index is called {}", index["IndexName"]),
        ("EXPIRES", "rows with {} expire", properties["TimeToLiveSpecification"]["AttributeName"]),
        ("WORK", "the mark of work is {}", mark),
    ]:
        expected = re.findall(rf'const {constant}: &str = "(\w+)";', "\n".join(texts.values()))
        if expected != [described]:
            found.append(f"in the template {what.format(described)}; in the store {what.format(' and '.join(expected) or 'unknown')}")
    return found

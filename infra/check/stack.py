"""Rules of our own for the template: what must not get lost in an edit."""

import json
from pathlib import Path

from harness import Plant, check
from patterns import matches
from template import Template, as_list

TEMPLATE = "infra/aws/template.yaml"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:durable-orchestrator"
# Statements that may say `*`, because AWS knows no smaller resource there.
EVERYTHING = {"SendTraces"}


@check(
    "the table outlives mistakes",
    Plant(TEMPLATE, "DeletionPolicy: Retain", "DeletionPolicy: Delete", "DeletionPolicy"),
    Plant(TEMPLATE, "UpdateReplacePolicy: Retain", "UpdateReplacePolicy: Delete", "UpdateReplacePolicy"),
    Plant(TEMPLATE, "DeletionProtectionEnabled: true", "DeletionProtectionEnabled: false", "DeletionProtectionEnabled"),
    Plant(TEMPLATE, "PointInTimeRecoveryEnabled: true", "PointInTimeRecoveryEnabled: false", "PointInTimeRecovery"),
    Plant(TEMPLATE, "SSEEnabled: true", "SSEEnabled: false", "SSE"),
    Plant(TEMPLATE, "BillingMode: PAY_PER_REQUEST", "BillingMode: PROVISIONED", "BillingMode"),
)
def kept(folder: Path) -> list[str]:
    template = Template(folder)
    [(_, table)] = template.of_type("AWS::DynamoDB::Table").items()
    properties = table["Properties"]
    wanted = {
        "DeletionPolicy": (table.get("DeletionPolicy"), "Retain"),
        "UpdateReplacePolicy": (table.get("UpdateReplacePolicy"), "Retain"),
        "BillingMode": (properties.get("BillingMode"), "PAY_PER_REQUEST"),
        "DeletionProtectionEnabled": (properties.get("DeletionProtectionEnabled"), True),
        "PointInTimeRecovery": (properties.get("PointInTimeRecoverySpecification"), {"PointInTimeRecoveryEnabled": True}),
        "SSE": (properties.get("SSESpecification"), {"SSEEnabled": True}),
    }
    return [f"the table's {name} is {got}, not {want}" for name, (got, want) in wanted.items() if got != want]


@check(
    "the URL is open to the internet only where the program asks for a key",
    Plant(TEMPLATE, "AuthType: !If [KeyGuards, NONE, AWS_IAM]", "AuthType: NONE", "AuthType"),
    Plant(TEMPLATE, "AuthType: !If [KeyGuards, NONE, AWS_IAM]", "AuthType: !If [Scheduled, NONE, AWS_IAM]", "AuthType"),
    Plant(TEMPLATE, "KeyGuards: !Equals [!Ref UrlAuth, KEY]", "KeyGuards: !Equals [!Ref UrlAuth, AWS_IAM]", "KeyGuards"),
    Plant(TEMPLATE, "    Default: AWS_IAM\n", "    Default: KEY\n", "default"),
    Plant(TEMPLATE, "    Condition: KeyGuards\n", "", "anybody"),
    Plant(TEMPLATE, "Action: lambda:InvokeFunctionUrl", "Action: lambda:GetFunction", "both permissions"),
    Plant(TEMPLATE, "DURABLE_KEY: !If [KeyGuards, !Ref Key, !Ref AWS::NoValue]", "DURABLE_KEYS: !Ref Key", "DURABLE_KEY"),
    Plant(TEMPLATE, "      InvokedViaFunctionUrl: true\n", "", "without the URL"),
    Plant(TEMPLATE, '!Not [!Equals [!Ref Key, ""]]', '!Not [!Equals [!Ref TaskHub, ""]]', "without a key"),
    Plant(TEMPLATE, 'AllowedPattern: "^(|.{32,256})$"', 'AllowedPattern: "^.*$"', "short"),
)
def guarded(folder: Path) -> list[str]:
    template, found = Template(folder), []
    parameters, opens = template.all["Parameters"], []
    if template.only("AWS::Lambda::Url")["AuthType"] != {"Fn::If": ["KeyGuards", "NONE", "AWS_IAM"]}:
        found.append("AuthType has to be NONE if KeyGuards, and AWS_IAM otherwise")
    if template.all["Conditions"]["KeyGuards"] != {"Fn::Equals": [{"Ref": "UrlAuth"}, "KEY"]}:
        found.append("KeyGuards has to mean that UrlAuth is KEY")
    if parameters["UrlAuth"]["Default"] != "AWS_IAM":
        found.append("the default of UrlAuth has to be AWS_IAM")
    rule = template.all["Rules"]["AnOpenUrlNeedsAKey"]
    if rule["RuleCondition"] != {"Fn::Equals": [{"Ref": "UrlAuth"}, "KEY"]} or rule["Assertions"][0]["Assert"] != {"Fn::Not": [{"Fn::Equals": [{"Ref": "Key"}, ""]}]}:
        found.append("the stack can be deployed with an open URL and without a key")
    for name in ("Key", "UrlSecret"):
        if parameters[name]["AllowedPattern"] != "^(|.{32,256})$" or parameters[name].get("NoEcho") is not True:
            found.append(f"{name} may be too short, or can be read in the console")
    for name, permission in template.of_type("AWS::Lambda::Permission").items():
        properties = permission["Properties"]
        if properties["Principal"] != "*":
            continue
        opens.append(properties["Action"])
        if permission.get("Condition") != "KeyGuards":
            found.append(f"{name} lets anybody in whatever UrlAuth says")
        if properties["Action"] == "lambda:InvokeFunction" and properties.get("InvokedViaFunctionUrl") is not True:
            found.append(f"{name} lets anybody invoke the function without the URL")
    if sorted(opens) != ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"]:
        found.append(f"an open URL needs both permissions, and has {opens}")
    variables = template.only("AWS::Lambda::Function")["Environment"]["Variables"]
    if variables.get("DURABLE_KEY") != {"Fn::If": ["KeyGuards", {"Ref": "Key"}, {"Ref": "AWS::NoValue"}]} or variables.get("DURABLE_URL_AUTH") != {"Ref": "UrlAuth"}:
        found.append("the program has to be told DURABLE_KEY and DURABLE_URL_AUTH")
    return found


@check(
    "no statement allows more than it names",
    Plant(TEMPLATE, "Resource: !GetAtt Table.Arn\n", 'Resource: "*"\n', "Items"),
    Plant(TEMPLATE, "- dynamodb:UpdateItem", "- dynamodb:*", "dynamodb:*"),
    Plant(TEMPLATE, "Resource: !GetAtt Table.Arn\n", "Resource: !Sub arn:${AWS::Partition}:dynamodb:*:*:table/*\n", "Items"),
    Plant(TEMPLATE, "                iam:PassedToService: scheduler.amazonaws.com", "                aws:SourceAccount: !Ref AWS::AccountId", "PassRole"),
)
def least(folder: Path) -> list[str]:
    found = []
    for name, _, statement in Template(folder).statements():
        sid = statement.get("Sid", name)
        for action in as_list(statement["Action"]):
            if "*" in action:
                found.append(f"{name}, {sid}: {action} is more than one action")
            if action == "iam:PassRole" and "iam:PassedToService" not in statement.get("Condition", {}).get("StringEquals", {}):
                found.append(f"{name}, {sid}: PassRole has to say to which service")
        for resource in as_list(statement["Resource"]):
            text = resource["Fn::Sub"] if isinstance(resource, dict) and "Fn::Sub" in resource else resource
            wide = isinstance(text, str) and (text == "*" or any(part == "*" for part in text.split(":")[:5]) or text.endswith("table/*"))
            if wide and sid not in EVERYTHING:
                found.append(f"{name}, {sid}: {text} is every resource")
    return found


@check(
    "the stream hands on all that bears the mark, and nothing else, and blocks for a bounded time",
    Plant(TEMPLATE, '"NewImage":{"w"', '"NewImage":{"v"', "mark"),
    Plant(TEMPLATE, "[{\"exists\":true}]}}}}'", "[{\"exists\":false}]}}}}'", "mark"),
    Plant(TEMPLATE, "TRIM_HORIZON", "LATEST", "StartingPosition"),
    Plant(TEMPLATE, "StreamViewType: NEW_IMAGE", "StreamViewType: KEYS_ONLY", "NEW_IMAGE"),
    Plant(TEMPLATE, "MaximumBatchingWindowInSeconds: 0", "MaximumBatchingWindowInSeconds: 5", "MaximumBatchingWindowInSeconds"),
    Plant(TEMPLATE, "MaximumRetryAttempts: 100", "MaximumRetryAttempts: -1", "bounded"),
    Plant(TEMPLATE, "MaximumRecordAgeInSeconds: 21600", "MaximumRecordAgeInSeconds: 604800", "bounded"),
    Plant(TEMPLATE, "FunctionResponseTypes: [ReportBatchItemFailures]", "FunctionResponseTypes: []", "FunctionResponseTypes"),
    Plant(TEMPLATE, "BisectBatchOnFunctionError: true", "BisectBatchOnFunctionError: false", "BisectBatchOnFunctionError"),
)
def safety_net(folder: Path) -> list[str]:
    template = Template(folder)
    mapping, found = template.only("AWS::Lambda::EventSourceMapping"), []
    wanted = {
        "StartingPosition": "TRIM_HORIZON",
        "MaximumBatchingWindowInSeconds": 0,
        "BisectBatchOnFunctionError": True,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "DestinationConfig": {"OnFailure": {"Destination": {"Fn::GetAtt": ["DeadLetters", "Arn"]}}},
    }
    found += [f"the mapping's {name} is {mapping.get(name)}, not {want}" for name, want in wanted.items() if mapping.get(name) != want]
    if not 0 <= mapping["MaximumRetryAttempts"] <= 10_000 or not 60 <= mapping["MaximumRecordAgeInSeconds"] < 86_400:
        found.append("a record that cannot be handled has to be given up in a bounded time, before the stream forgets it")
    if template.only("AWS::DynamoDB::Table")["StreamSpecification"] != {"StreamViewType": "NEW_IMAGE"}:
        found.append("the filter needs NEW_IMAGE")
    patterns = [json.loads(one["Pattern"]) for one in mapping["FilterCriteria"]["Filters"]]
    marked = {"eventName": "MODIFY", "dynamodb": {"NewImage": {"pk": {"S": "a"}, "w": {"N": "1"}}}}
    plain = {"eventName": "MODIFY", "dynamodb": {"NewImage": {"pk": {"S": "a"}}}}
    removed = {"eventName": "REMOVE", "dynamodb": {"Keys": {"pk": {"S": "a"}}}}
    if [any(matches(pattern, event) for pattern in patterns) for event in (marked, plain, removed)] != [True, False, False]:
        found.append("the filter has to let items with the mark w through, and no others")
    return found


def record(payload, function: str = ARN) -> dict:
    """What Lambda puts on the event bus for an asynchronous event that failed."""
    context = {"requestId": "r", "functionArn": f"{function}:$LATEST", "condition": "RetriesExhausted", "approximateInvokeCount": 3}
    return {"source": "lambda", "detail": {"version": "1.0", "requestContext": context, "requestPayload": payload}}


@check(
    "an asynchronous event that failed comes back once, and then goes to the queue",
    Plant(TEMPLATE, "              - exists: true", "              - exists: false", "comes back"),
    Plant(TEMPLATE, "              - exists: false", "              - exists: true", "queue"),
    Plant(TEMPLATE, "          Destination: !Sub arn:${AWS::Partition}:events", "          Destination: !GetAtt Function.Arn # !Sub arn:${AWS::Partition}:events", "event bus"),
    Plant(TEMPLATE, "MaximumRetryAttempts: 2", "MaximumRetryAttempts: 0", "MaximumRetryAttempts"),
    Plant(TEMPLATE, "          InputPath: $.detail", "          InputPath: $", "record"),
    Plant(TEMPLATE, "RecursiveLoop: Allow", "RecursiveLoop: Terminate", "RecursiveLoop"),
    Plant(TEMPLATE, "function:${AWS::StackName}:$LATEST", "function:${AWS::StackName}:live", "comes back"),
)
def lost_events(folder: Path) -> list[str]:
    template, found = Template(folder), []
    asynchronous = template.only("AWS::Lambda::EventInvokeConfig")
    destination = asynchronous["DestinationConfig"]["OnFailure"]["Destination"]
    if ":event-bus/default" not in destination.get("Fn::Sub", ""):
        found.append("failed events have to go to the event bus: Lambda refuses a function as its own destination")
    if asynchronous["MaximumRetryAttempts"] != 2:
        found.append("MaximumRetryAttempts has to be 2: the function waits with them")
    if template.only("AWS::Lambda::Function").get("RecursiveLoop") != "Allow":
        found.append("RecursiveLoop has to be Allow, or Lambda stops chains of hand-overs")
    takes = {}
    for name, rule in template.of_type("AWS::Events::Rule").items():
        pattern = json.loads(json.dumps(rule["Properties"]["EventPattern"]))
        context = pattern["detail"]["requestContext"]
        names = {"Partition": "aws", "Region": "us-east-1", "AccountId": "123456789012", "StackName": "durable-orchestrator"}
        context["functionArn"] = [_filled(one["Fn::Sub"], names) for one in context["functionArn"]]
        [target] = rule["Properties"]["Targets"]
        if target.get("InputPath") != "$.detail":
            found.append(f"{name} has to hand on the record alone")
        takes[name] = (pattern, target["Arn"])
    own, again, other = {"durable": "activity", "instance": "a"}, record({"durable": "activity"})["detail"], {"hello": 1}
    expected = [("comes back", own, ["Function"]), ("goes to the queue", again, ["DeadLetters"]), ("goes to the queue", other, ["DeadLetters"])]
    for what, payload, want in expected:
        got = [target["Fn::GetAtt"][0] for pattern, target in takes.values() if matches(pattern, record(payload))]
        if got != want:
            found.append(f"a record of {json.dumps(payload)[:60]} should be one that {what}; it reaches {got or 'nobody'}")
    if any(matches(pattern, record(own, ARN + "-2")) for pattern, _ in takes.values()):
        found.append("a rule takes the records of another function")
    return found


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"${{AWS::{name}}}", value)
    return text


@check(
    "somebody hears of trouble, and logs end",
    Plant(TEMPLATE, "MetricName: ExecutionsFailed", "MetricName: ExecutionsStarted", "ExecutionsFailed"),
    Plant(TEMPLATE, "TreatMissingData: notBreaching", "TreatMissingData: breaching", "asleep"),
    Plant(TEMPLATE, "      RetentionInDays: !Ref LogRetentionDays\n", "", "for ever"),
    Plant(TEMPLATE, "        LogGroup: !Ref Logs\n", "", "LogGroup"),
)
def heard(folder: Path) -> list[str]:
    template, found = Template(folder), []
    alarms = {name: one["Properties"] for name, one in template.of_type("AWS::CloudWatch::Alarm").items()}
    wanted = {"ExecutionsFailed", "ApproximateNumberOfMessagesVisible", "DestinationDeliveryFailures", "Errors", "Throttles", "IteratorAge"}
    found += [f"no alarm on {metric}" for metric in sorted(wanted - {one["MetricName"] for one in alarms.values()})]
    found += [f"{name} rings while all is asleep" for name, one in alarms.items() if one.get("TreatMissingData") != "notBreaching"]
    found += [f"{name} is kept for ever" for name, one in template.of_type("AWS::Logs::LogGroup").items() if "RetentionInDays" not in one["Properties"]]
    if template.only("AWS::Lambda::Function")["LoggingConfig"].get("LogGroup") != {"Ref": "Logs"}:
        found.append("the function has to write to its own LogGroup")
    return found

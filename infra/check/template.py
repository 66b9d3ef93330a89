"""Reads the template: YAML with CloudFormation's short forms, as plain dictionaries with the long ones (`!Ref x` is `{"Ref": "x"}`)."""

import json
import re
from functools import lru_cache
from pathlib import Path

import yaml


class Loader(yaml.SafeLoader):
    """SafeLoader that knows `!Ref` and its like."""


def _function(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _function)


@lru_cache(maxsize=None)
def _parsed(text: str) -> dict:
    return yaml.load(text, Loader)


class Template:
    """The template of one copy of the project."""

    def __init__(self, folder: Path):
        self.path = folder / "infra/aws/template.yaml"
        self.all = _parsed(self.path.read_text())
        self.resources: dict[str, dict] = self.all["Resources"]

    def of_type(self, kind: str) -> dict[str, dict]:
        return {name: resource for name, resource in self.resources.items() if resource["Type"] == kind}

    def only(self, kind: str) -> dict:
        """The properties of the one resource of this type."""
        found = self.of_type(kind)
        if len(found) != 1:
            raise ValueError(f"{len(found)} resources of type {kind}, expected one")
        return next(iter(found.values()))["Properties"]

    def statements(self):
        """Every statement of every policy of a role or resource: (resource's name, policy's name, statement)."""
        for name, resource in self.resources.items():
            properties = resource.get("Properties", {})
            policies = [(policy["PolicyName"], policy["PolicyDocument"]) for policy in properties.get("Policies", [])]
            if "PolicyDocument" in properties:
                policies.append((properties.get("PolicyName", name), properties["PolicyDocument"]))
            for policy, document in policies:
                for statement in document["Statement"]:
                    yield name, policy, statement


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def definition(folder: Path) -> str:
    return (folder / "infra/aws/timer.asl.json").read_text()


def rendered(folder: Path) -> dict:
    """The timers' definition as the stack makes it, for an account that does not exist."""
    values = {"Partition": "aws", "FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:durable-orchestrator"}
    return json.loads(re.sub(r"\$\{(\w+)}", lambda found: values.get(found[1], found[0]), definition(folder)))

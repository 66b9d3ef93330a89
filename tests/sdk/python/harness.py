"""What the suite stands on: the binding that a Functions host would hand over, plain requests beside the client, and assertions.

Must never wait for a time where it can wait for a condition.
"""

import asyncio
import json
import os
import time

import aiohttp
import azure.durable_functions as df
from azure.durable_functions.models.utils import http_utils

HUB = os.environ.get("TASK_HUB", "TestHubName")
# The key that the server asks for, if it does: it then stands in the links too.
KEY = os.environ.get("SDK_KEY")
QUERY = f"taskHub={HUB}&connection=AzureWebJobsStorage" + (f"&code={KEY}" if KEY else "")
CODE = f"code={KEY or 'none'}"
HEADERS = {"x-functions-key": KEY} if KEY else {}
BASE = "base_orchestrator"
INTENT = "standing_intent_orchestrator"
PATIENCE = 30.0
Status = df.OrchestrationRuntimeStatus


class Wrong(Exception):
    """Something is not as it should be."""


def same(what, got, expected):
    """Equal, or the suite ends here."""
    if got != expected:
        raise Wrong(f"{what}: expected {expected!r}, got {got!r}")


def holds(what, condition, shown=None):
    """True, or the suite ends here."""
    if not condition:
        raise Wrong(f"{what}: {shown!r}")


async def refuses(what, call, *parts):
    """The call has to raise an error whose text has all these parts."""
    try:
        result = await call
    except Wrong:
        raise
    except Exception as error:  # the client raises plain exceptions
        missing = [part for part in parts if part not in str(error)]
        if missing:
            raise Wrong(f"{what}: the error {error!r} lacks {missing}") from error
        return error
    raise Wrong(f"{what}: expected an error with {parts}, got {result!r}")


class Server:
    """The server under test: bindings for clients, and requests that no client makes."""

    def __init__(self, address):
        # The management API may be below a path of its own.
        place, slash, below = address.partition("/")
        self.origin = f"http://{place}"
        self.below = self.origin + slash + below
        self.base = f"{self.below}/runtime/webhooks/durabletask"
        self.urls = {}

    async def request(self, method, path, body=None, headers=None):
        """Code, headers and JSON (or None) of a plain request below the management path."""
        async with aiohttp.ClientSession() as session:
            async with session.request(method, f"{self.base}/{path}", json=body, headers={**HEADERS, **(headers or {})}) as answer:
                text = await answer.text()
                return answer.status, answer.headers, json.loads(text) if text else None

    async def learn_urls(self):
        """The management URLs of a binding: the server's own links for an instance that is called INSTANCEID."""
        code, headers, payload = await self.request("POST", f"orchestrators/{BASE}/INSTANCEID")
        same("the code of a start", code, 202)
        same("Location of a start", headers["Location"], payload["statusQueryGetUri"])
        same("Retry-After of a start", headers["Retry-After"], "10")
        one = f"{self.base}/instances/INSTANCEID"
        expected = {
            "id": "INSTANCEID",
            "statusQueryGetUri": f"{one}?{QUERY}",
            "sendEventPostUri": f"{one}/raiseEvent/{{eventName}}?{QUERY}",
            "terminatePostUri": f"{one}/terminate?reason={{text}}&{QUERY}",
            "purgeHistoryDeleteUri": f"{one}?{QUERY}",
            "rewindPostUri": f"{one}/rewind?reason={{text}}&{QUERY}",
            "suspendPostUri": f"{one}/suspend?reason={{text}}&{QUERY}",
            "resumePostUri": f"{one}/resume?reason={{text}}&{QUERY}",
        }
        # A field of the server's own: where a signed URL for one event is made.
        expected["signedEventUrlPostUri"] = f"{self.origin}/api/orchestrators/INSTANCEID/event-url/{{eventName}}?validFor={{seconds}}&{QUERY}"
        # This one stands in the payload if the server restarts instances.
        if "restartPostUri" in payload:
            expected["restartPostUri"] = f"{one}/restart?{QUERY}"
        same("the links of a start", payload, expected)
        self.urls = payload

    async def take_key(self):
        """To its RPC endpoint the client sends no key, since a host takes none there: its session has to."""
        if KEY:
            (await http_utils._get_session()).headers.update(HEADERS)

    def client(self, rpc):
        """A client with the binding that a host hands to a worker; `rpc` is the path of the RPC endpoint, or None."""
        binding = {
            "taskHubName": HUB,
            "connectionName": "AzureWebJobsStorage",
            "creationUrls": {
                "createNewInstancePostUri": f"{self.base}/orchestrators/{{functionName}}[/{{instanceId}}]?{CODE}",
                "createAndWaitOnNewInstancePostUri": f"{self.base}/orchestrators/{{functionName}}[/{{instanceId}}]"
                f"?timeout={{timeoutInSeconds}}&pollingInterval={{intervalInSeconds}}&{CODE}",
            },
            "managementUrls": self.urls,
            "baseUrl": self.base,
            "requiredQueryStringParameters": CODE,
        }
        if rpc is not None:
            binding["rpcBaseUrl"] = self.below + rpc
        return df.DurableOrchestrationClient(json.dumps(binding), function_invocation_id="0f8fad5b-d9cb-469f-a165-70867728950e")

    async def answers(self, method, path):
        """True if there is something at this path: anything but 404."""
        code, _, _ = await self.request(method, path)
        return code != 404


async def until(client, instance, wanted, **show):
    """The status of an instance, once it is this one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        status = await client.get_status(instance, **show)
        if status and status.runtime_status == wanted:
            return status
        if time.monotonic() > deadline:
            raise Wrong(f"waited {PATIENCE} s for {instance} to be {wanted}; it is {status.to_json()!r}")
        await asyncio.sleep(0.01)


async def until_asleep(client, instance):
    """Waits until an instance has done what it can: its history ends with a finished activity, and it runs."""
    deadline = time.monotonic() + PATIENCE
    while True:
        status = await client.get_status(instance, show_history=True)
        events = getattr(status, "historyEvents", [])
        if status.runtime_status == Status.Running and events and events[-1]["EventType"] in ("TaskCompleted", "TimerCreated"):
            return status
        if time.monotonic() > deadline:
            raise Wrong(f"waited {PATIENCE} s for {instance} to fall asleep; it is {status.to_json()!r} with {events!r}")
        await asyncio.sleep(0.01)

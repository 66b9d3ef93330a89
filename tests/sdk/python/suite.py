"""The Python client of Durable Functions against a server: every call that concerns orchestrations.

Usage: suite.py ADDRESS:PORT[/PATH]. TASK_HUB names the hub, if it is not the usual one; SDK_KEY is the key, where a server asks for one.
Ends with code 1 at the first thing that is wrong, and says what it is.
"""

import asyncio
import json
import re
import sys
import traceback
import uuid
from datetime import datetime, timedelta, timezone

import azure.functions as func
from azure.durable_functions.models.utils import http_utils
from opentelemetry import context as otel
from opentelemetry import trace

from harness import BASE, HUB, INTENT, QUERY, Server, Status, Wrong, holds, refuses, same, until, until_asleep

FAILING = {"message": "never", "approval_timeout_hours": -1}


def fresh(what):
    """An id that nobody else has."""
    return f"{what}-{uuid.uuid4().hex[:12]}"


async def failed(client):
    """An instance that has failed."""
    instance = await client.start_new(INTENT, fresh("failed"), FAILING)
    await until(client, instance, Status.Failed)
    return instance


async def completed(client):
    """An instance that has completed."""
    instance = await client.start_new(BASE, fresh("completed"))
    await client.raise_event(instance, "WakeUp", 1)
    await until(client, instance, Status.Completed)
    return instance


async def starts(client, server):
    """start_new, with and without an id, with and without an input."""
    instance = await client.start_new(BASE)
    holds("a generated id has 32 lower-case hex digits", re.fullmatch("[0-9a-f]{32}", instance), instance)
    status = await until_asleep(client, instance)
    same("the input of a start without one", status.input_, None)
    same("the orchestrator's name", status.name, BASE)
    same("the id of a status", status.instance_id, instance)
    same("the custom status where there is none", status.custom_status, None)
    same("the output before the end", status.output, None)
    age = datetime.now(timezone.utc) - status.created_time
    holds("createdTime is now, in UTC", timedelta(seconds=-1) < age < timedelta(minutes=5), age)
    holds("lastUpdatedTime is not before createdTime", status.last_updated_time >= status.created_time)
    holds("an instance that waits is shown without a fault", not hasattr(status, "fault"), status.__dict__)

    for name in (fresh("own"), fresh("tenant:7"), fresh("two words é~")):
        same("the id that was asked for", await client.start_new(BASE, name), name)
        same("an id is used as given", (await until_asleep(client, name)).instance_id, name)

    # The client encodes inputs twice. The orchestrator gets the value inside; the status shows what was sent.
    given = {"message": "Grüße \"quoted\" \u2028 \U0001f600", "wait_event_name": "Other"}
    named = await client.start_new(BASE, client_input=given)
    status = await until_asleep(client, named)
    holds("the input is shown as the text that was sent", isinstance(status.input_, str), status.input_)
    same("the input inside", json.loads(status.input_), given)
    await client.raise_event(named, "Other")
    await until(client, named, Status.Completed)
    history = (await client.get_status(named, show_history=True, show_history_output=True)).historyEvents
    results = [event["Result"] for event in history if event["EventType"] == "TaskCompleted"]
    same("what the orchestrator made of its input", results[0], f"Processed: {given['message']}")

    # A trace that is under way comes as headers.
    span = trace.SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, is_remote=False, trace_flags=trace.TraceFlags(1))
    token = otel.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))
    try:
        traced = await client.start_new(BASE)
    finally:
        otel.detach(token)
    await until_asleep(client, traced)

    await refuses("an unknown orchestrator", client.start_new("nobody_knows_me"), "nobody_knows_me", BASE)
    await refuses("an unknown version", client.start_new(BASE, version="99"), BASE)
    await refuses("an id that names an entity", client.start_new(BASE, "@counter@a"), "@")
    await refuses("an id that is too long", client.start_new(BASE, "x" * 257), "256")
    await refuses("an id that is in use", client.start_new(BASE, instance), "already exists")
    same("an id of the greatest length", len(await client.start_new(BASE, fresh("long").ljust(256, "x"))), 256)

    ended = await completed(client)
    same("the id of one that has ended", await client.start_new(BASE, ended), ended)
    status = await until_asleep(client, ended)
    same("the output begins afresh", status.output, None)


async def events(client, server):
    """raise_event: in time, early, with any data, to nobody, to one that has ended."""
    instance = await client.start_new(INTENT, client_input={"message": "May I?"})
    await until_asleep(client, instance)
    await client.raise_event(instance, "UserApproval", {"approved": True})
    status = await until(client, instance, Status.Completed)
    same("data encoded twice reach the orchestrator as the value inside", status.output, {"status": "approved", "approved": True})

    instance = await client.start_new(INTENT, client_input={"message": "May I?", "approval_timeout_hours": 0.5})
    await client.raise_event(instance, "UserApproval", False, task_hub_name=HUB, connection_name="AzureWebJobsStorage")
    status = await until(client, instance, Status.Completed)
    same("an event raised early is kept", status.output, {"status": "rejected", "approved": False})

    # This orchestrator takes any JSON, so it gets the string that the client made of the value.
    for sent, got in ((None, '"null"'), ("text", '"\\"text\\""'), ([1, {"a": None}], '"[1, {\\"a\\": null}]"')):
        instance = await client.start_new(BASE)
        await client.raise_event(instance, "WakeUp", sent)
        status = await until(client, instance, Status.Completed)
        same(f"the event data {sent!r}", status.output, {"status": "completed", "final_result": f"Processed: Resumed! Received: {got}"})

    # Another name is kept and does not wake it; another letter case of its own name does.
    instance = await client.start_new(BASE)
    await client.raise_event(instance, "WakeUp2", 1)
    await client.raise_event(instance, "Other", 2)
    same("one that waits for another event", (await until_raised(client, instance, 2)).output, None)
    await client.raise_event(instance, "wakeUP", 3)
    status = await until(client, instance, Status.Completed)
    same("the event that woke it", status.output["final_result"], 'Processed: Resumed! Received: "3"')

    await refuses("an event for one that has ended", client.raise_event(instance, "WakeUp", 1), "is gone")
    await refuses("an event for nobody", client.raise_event("nobody", "WakeUp", 1), "No instance with ID nobody found.")
    await refuses("an event for another task hub", client.raise_event(instance, "WakeUp", 1, task_hub_name="Elsewhere"), "No instance")
    await refuses("an event without a name", client.raise_event(instance, "", 1), "non-empty")


async def until_raised(client, instance, raised):
    """Waits until so many events stand in the history of an instance that goes on running."""
    while True:
        status = await client.get_status(instance, show_history=True)
        same("one that waits", status.runtime_status in (Status.Running, Status.Pending), True)
        if sum(event["EventType"] == "EventRaised" for event in getattr(status, "historyEvents", [])) >= raised:
            return status


async def statuses(client, server):
    """get_status with its flags."""
    instance = await client.start_new(BASE, client_input={"message": "shown"})
    # An event that comes before the first activity has ended stands before it in the history.
    await until_asleep(client, instance)
    await client.raise_event(instance, "WakeUp", {"n": 1})
    await until(client, instance, Status.Completed)
    plain = await client.get_status(instance)
    same("no history unless it is asked for", hasattr(plain, "historyEvents"), False)
    same("the output of base_orchestrator", plain.output["status"], "completed")

    shown = await client.get_status(instance, show_history=True)
    kinds = [event["EventType"] for event in shown.historyEvents]
    same("the history", kinds, ["ExecutionStarted", "TaskCompleted", "EventRaised", "TaskCompleted", "ExecutionCompleted"])
    holds("no results unless they are asked for", all("Result" not in event for event in shown.historyEvents), shown.historyEvents)
    first = shown.historyEvents[0]
    same("the function of a history", first["FunctionName"], BASE)
    same("the input in a history is JSON text", json.loads(json.loads(first["Input"])), {"message": "shown"})
    same("the event in a history", shown.historyEvents[2]["Name"], "WakeUp")
    same("the end of a history", shown.historyEvents[-1]["OrchestrationStatus"], "Completed")
    for event in shown.historyEvents:
        holds("times are ISO 8601 in UTC", re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", event["Timestamp"]), event)

    full = await client.get_status(instance, show_history=True, show_history_output=True, show_input=True)
    same("the results", [event.get("Result") for event in full.historyEvents][1], "Processed: shown")
    same("the output in a history", full.historyEvents[-1]["Result"], full.output)
    same("the input when it is asked for", json.loads(full.input_), {"message": "shown"})

    nobody = await client.get_status("nobody")
    same("the status of nobody is falsy", bool(nobody), False)
    status = await client.get_status(await failed(client))
    same("a failed one", status.runtime_status, Status.Failed)
    holds("the output of a failed one says why", isinstance(status.output, str) and "approval_timeout_hours" in status.output, status.output)


async def control(client, server):
    """suspend, resume, terminate, rewind."""
    instance = await client.start_new(BASE)
    await until_asleep(client, instance)
    await client.suspend(instance, "a rest & more, 100% é")
    await until(client, instance, Status.Suspended)
    await refuses("suspending twice", client.suspend(instance, "again"), "500")
    await client.raise_event(instance, "WakeUp", "kept")
    same("an event does not wake one that is suspended", (await client.get_status(instance)).runtime_status, Status.Suspended)
    await client.resume(instance, "rested")
    await until(client, instance, Status.Completed)
    history = (await client.get_status(instance, show_history=True)).historyEvents
    reasons = [event["Reason"] for event in history if event["EventType"] in ("ExecutionSuspended", "ExecutionResumed")]
    same("the reasons in the history", reasons, ["a rest & more, 100% é", "rested"])
    same("suspending one that has ended", await client.suspend(instance, "late"), None)
    same("resuming one that has ended", await client.resume(instance, "late"), None)
    same("terminating one that has ended", await client.terminate(instance, "late"), None)
    await refuses("suspending nobody", client.suspend("nobody", "x"), "No instance with ID 'nobody' found.")
    await refuses("resuming nobody", client.resume("nobody", "x"), "No instance with ID 'nobody' found.")
    await refuses("terminating nobody", client.terminate("nobody", "x"), "No instance with ID 'nobody' found.")

    running = await client.start_new(BASE)
    await until_asleep(client, running)
    await refuses("resuming one that runs", client.resume(running, "x"), "500")
    await refuses("rewinding one that runs", client.rewind(running, "x"), "only a failed instance")
    await client.terminate(running, "no more & never again: 100% é")
    status = await until(client, running, Status.Terminated)
    same("the output of a terminated one is the reason", status.output, "no more & never again: 100% é")

    suspended = await client.start_new(BASE)
    await client.suspend(suspended, "x")
    await client.terminate(suspended, "")
    await until(client, suspended, Status.Terminated)

    instance = await failed(client)
    await client.rewind(instance, "try again", task_hub_name=HUB, connection_name="AzureWebJobsStorage")
    status = await until(client, instance, Status.Failed, show_history=True)
    rewound = [event["Reason"] for event in status.historyEvents if event["EventType"] == "ExecutionRewound"]
    same("the rewind in the history", rewound, ["try again"])
    await refuses("rewinding one that was terminated", client.rewind(suspended, "x"), "only a failed instance")
    await refuses("rewinding nobody", client.rewind("nobody", "x"), "No instance with ID nobody found.")


async def purges(client, server):
    """purge_instance_history, and purge_instance_history_by if the server has it."""
    instance = await completed(client)
    same("one is purged", (await client.purge_instance_history(instance)).instances_deleted, 1)
    same("nobody is left", (await client.purge_instance_history(instance)).instances_deleted, 0)
    same("a purged one is not there", bool(await client.get_status(instance)), False)
    running = await client.start_new(BASE)
    await refuses("purging one that runs", client.purge_instance_history(running), "412")
    await refuses("purging without a time", client.purge_instance_history_by(), "created_time_from")

    if not await server.answers("DELETE", "instances"):
        return "this server has no purge by filters (DELETE instances answers 404)"
    code, _, _ = await server.request("DELETE", "instances")
    same("a purge by filters without createdTimeFrom", code, 400)
    before = datetime.now(timezone.utc) - timedelta(hours=1)
    after = datetime.now(timezone.utc) + timedelta(hours=1)
    ended = [await failed(client) for _ in range(3)]
    kept = await completed(client)
    none = await client.purge_instance_history_by(after, after + timedelta(hours=1))
    same("a time in which nothing began", none.instances_deleted, 0)
    gone = await client.purge_instance_history_by(before, after, [Status.Failed])
    holds("all that failed are purged", gone.instances_deleted >= 3, gone.instances_deleted)
    same("a failed one is gone", [bool(await client.get_status(one)) for one in ended], [False] * 3)
    same("one in another state is kept", bool(await client.get_status(kept)), True)
    holds("all others that ended", (await client.purge_instance_history_by(before)).instances_deleted >= 1)
    same("a completed one is gone", bool(await client.get_status(kept)), False)
    same("one that runs is kept", (await client.get_status(running)).runtime_status in (Status.Running, Status.Pending), True)
    return None


async def restarts(client, server):
    """restart, if the server has it."""
    instance = await completed(client)
    if not await server.answers("POST", f"instances/{instance}/restart"):
        return "this server has no restart (POST instances/{id}/restart answers 404)"
    original = await client.start_new(BASE, client_input={"message": "once more"})
    await client.raise_event(original, "WakeUp", 1)
    await until(client, original, Status.Completed)
    payload = await client.restart(original)
    holds("a restart under a new id", payload["id"] != original, payload)
    status = await until_asleep(client, payload["id"])
    same("a restart has the same orchestrator and input", (status.name, json.loads(status.input_)), (BASE, {"message": "once more"}))
    payload = await client.restart(original, restart_with_new_instance_id=False)
    same("a restart under the same id", payload["id"], original)
    same("it begins afresh", (await until_asleep(client, original)).output, None)
    await refuses("restarting one that runs under its own id", client.restart(original, restart_with_new_instance_id=False), "409")
    await refuses("restarting nobody", client.restart("nobody"), "400")
    return None


async def lists(client, server):
    """get_status_all and get_status_by, over 250 instances."""
    begun = datetime.now(timezone.utc)
    prefix = fresh("page")
    names = sorted(await asyncio.gather(*(client.start_new(BASE, f"{prefix}-{n:03}") for n in range(250))))
    everything = await client.get_status_all()
    same("a page has 100 rows", len(everything), 100)
    page = await client.get_status_by(instance_id_prefix=prefix)
    same("a page of a prefix has 100 rows", len(page), 100)
    holds("all have the prefix", all(one.instance_id.startswith(prefix) for one in page), [one.instance_id for one in page])

    # The client reads the first page only; the token leads to the others.
    found, token, pages = [], None, 0
    while token is None or token:
        headers = {"x-ms-continuation-token": token} if token else {}
        code, answered, rows = await server.request("GET", f"instances/?instanceIdPrefix={prefix}", headers=headers)
        same("the code of a list", code, 200)
        found, token, pages = found + [row["instanceId"] for row in rows], answered.get("x-ms-continuation-token", ""), pages + 1
        holds("pages come to an end", pages < 10)
    same("every instance stands in the list once", sorted(found), names)

    for name in names[:3]:
        await client.terminate(name, "one of three")
        await until(client, name, Status.Terminated)
    ended = await client.get_status_by(runtime_status=[Status.Terminated, Status.Completed], instance_id_prefix=prefix)
    same("those in a state", sorted(one.instance_id for one in ended), names[:3])
    same("their outputs", {one.output for one in ended}, {"one of three"})
    same("their history is not shown", [one for one in ended if hasattr(one, "historyEvents")], [])
    within = await client.get_status_by(begun - timedelta(minutes=1), datetime.now(timezone.utc) + timedelta(minutes=1), [Status.Terminated], prefix)
    same("those begun in a time", len(within), 3)
    same("none began before", await client.get_status_by(created_time_to=begun - timedelta(minutes=5), instance_id_prefix=prefix), [])
    same("none began after", await client.get_status_by(datetime.now(timezone.utc) + timedelta(minutes=5), instance_id_prefix=prefix), [])
    same("no such prefix", await client.get_status_by(instance_id_prefix=fresh("none")), [])


async def responses(client, server):
    """The responses that an HTTP function gives: check status, wait for completion, the payload of links."""
    instance = fresh("linked")
    request = func.HttpRequest("POST", "https://public.example:8443/api/start", body=b"")
    links = {key: url.replace("INSTANCEID", instance) for key, url in server.urls.items()}
    public = {key: url.replace(server.origin + "/", "https://public.example:8443/") for key, url in links.items()}
    same("the links", client.create_http_management_payload(instance), links)
    same("the links as the caller sees them", client.get_client_response_links(request, instance), public)
    response = client.create_check_status_response(request, instance)
    same("the code of a check-status response", response.status_code, 202)
    same("its body", json.loads(response.get_body()), public)
    same("its Location", response.headers["Location"], public["statusQueryGetUri"])
    same("its Retry-After", response.headers["Retry-After"], "10")
    if client._orchestration_bindings.rpc_base_url is None:
        return

    wait = {"timeout_in_milliseconds": 60, "retry_interval_in_milliseconds": 20}
    await client.start_new(BASE, instance)
    answer = await client.wait_for_completion_or_create_check_status_response(request, instance, **wait)
    same("waiting in vain gives links", (answer.status_code, json.loads(answer.get_body())), (202, public))
    await client.raise_event(instance, "WakeUp", 1)
    answer = await client.wait_for_completion_or_create_check_status_response(request, instance)
    same("the code of one that completes", answer.status_code, 200)
    same("its output", json.loads(answer.get_body())["final_result"], 'Processed: Resumed! Received: "1"')
    answer = await client.wait_for_completion_or_create_check_status_response(request, await failed(client), **wait)
    same("one that fails", (answer.status_code, json.loads(answer.get_body())["runtimeStatus"]), (500, "Failed"))
    stopped = await client.start_new(BASE)
    await client.terminate(stopped, "enough")
    answer = await client.wait_for_completion_or_create_check_status_response(request, stopped)
    body = json.loads(answer.get_body())
    same("one that is terminated", (answer.status_code, body["runtimeStatus"], body["output"]), (200, "Terminated", "enough"))
    await refuses("an interval beyond the timeout", client.wait_for_completion_or_create_check_status_response(request, stopped, 1, 2), "timeout")


async def without_rpc(client, server):
    """Without rpcBaseUrl this client only makes links; everything else says so before it sends anything."""
    await responses(client, server)
    await refuses("a status without rpcBaseUrl", client.get_status("x"), "RPC base url")
    await refuses("a list without rpcBaseUrl", client.get_status_all(), "RPC base url")
    await refuses("a rewind without rpcBaseUrl", client.rewind("x", "y"), "RPC endpoints")


async def main(address):
    server = Server(address)
    try:
        await server.learn_urls()
        await server.take_key()
        same("the query of the links", server.urls["statusQueryGetUri"].split("?")[1], QUERY)
        for rpc in ("/durabletask/", "/runtime/webhooks/durabletask/"):
            client = server.client(rpc)
            for part in (starts, events, statuses, control, restarts, lists, responses, purges):
                await named(f"{part.__name__} by way of {rpc}", part(client, server))
        await named("calls without rpcBaseUrl", without_rpc(server.client(None), server))
    finally:
        await http_utils._close_session()


async def named(what, part):
    """Runs a part of the suite, and says how it went. A part gives back what it could not test."""
    try:
        missing = await asyncio.wait_for(part, 120)
    except Exception as error:
        raise Wrong(f"{what}: {error or type(error).__name__}") from error
    print(f"python: {what}: holds" + (f", but for this: {missing}" if missing else ""))


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1]))
    except Exception as error:
        traceback.print_exc()
        print(f"WRONG: {error}", file=sys.stderr)
        sys.exit(1)

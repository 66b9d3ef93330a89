// The JavaScript client of Durable Functions against a server: every call that concerns orchestrations, with and without an RPC endpoint.
//
// Usage: node suite.mjs ADDRESS:PORT[/PATH]. TASK_HUB names the hub, if it is not the usual one; SDK_KEY is the key, where a server asks for one.
// Ends with code 1 at the first thing that is wrong, and says what it is.

import { randomUUID } from "node:crypto";

import { BASE, HUB, HttpRequest, INTENT, Server, Wrong, df, history, holds, rejects, same, until, untilAsleep, untilIs } from "./harness.mjs";

const fresh = (what) => `${what}-${randomUUID().slice(0, 13)}`;
const hours = (n) => new Date(Date.now() + n * 3_600_000);
const Status = df.OrchestrationRuntimeStatus;

/** An instance that has failed. */
async function failed(client) {
    const instance = await client.startNew(INTENT, { instanceId: fresh("failed"), input: { message: "never", approval_timeout_hours: -1 } });
    await untilIs(client, instance, Status.Failed);
    return instance;
}

/** An instance that has completed. */
async function completed(client, server, input) {
    const instance = await client.startNew(BASE, { input });
    // An event that comes before the first activity has ended stands before it in the history.
    await untilAsleep(client, server, instance);
    await client.raiseEvent(instance, "WakeUp", 1);
    await untilIs(client, instance, Status.Completed);
    return instance;
}

async function starts(client, server) {
    const instance = await client.startNew(BASE);
    holds("a generated id has 32 lower-case hex digits", /^[0-9a-f]{32}$/.test(instance), instance);
    const status = await untilAsleep(client, server, instance);
    same("the orchestrator's name", status.name, BASE);
    same("the id of a status", status.instanceId, instance);
    same("the custom status where there is none", status.customStatus, null);
    same("the output before the end", status.output, null);
    // Without an input this client sends an empty JSON string, which counts as none for the orchestrator.
    holds("the input of a start without one", status.input === "" || status.input === null, status.input);
    holds("createdTime is now", Math.abs(Date.now() - status.createdTime.getTime()) < 300_000, status.createdTime);
    holds("lastUpdatedTime is not before createdTime", status.lastUpdatedTime >= status.createdTime, status);
    same("it runs with its defaults", (await history(server, instance, "&showHistoryOutput=true"))[1].Result, "Processed: Hello from orchestrator");

    for (const name of [fresh("own"), fresh("tenant:7"), fresh("two words é~")]) {
        same("the id that was asked for", await client.startNew(BASE, { instanceId: name }), name);
        same("an id is used as given", (await untilAsleep(client, server, name)).instanceId, name);
    }

    const input = { message: 'Grüße "quoted" \u2028 \u{1f600}', wait_event_name: "Other" };
    const named = await client.startNew(BASE, { input });
    same("the input comes back as it was sent", (await untilAsleep(client, server, named)).input, input);
    await client.raiseEvent(named, "Other", null);
    await untilIs(client, named, Status.Completed);
    const results = (await history(server, named, "&showHistoryOutput=true")).filter((event) => event.EventType === "TaskCompleted");
    same("what the orchestrator made of its input", results[0].Result, `Processed: ${input.message}`);

    await rejects("an unknown orchestrator", client.startNew("nobody_knows_me"), "400", "nobody_knows_me");
    await rejects("an unknown version", client.startNew(BASE, { version: "99" }), "400");
    await rejects("an id that names an entity", client.startNew(BASE, { instanceId: "@counter@a" }), "400");
    await rejects("an id that is too long", client.startNew(BASE, { instanceId: "x".repeat(257) }), "400", "256");
    await rejects("an id that is in use", client.startNew(BASE, { instanceId: instance }), "409", "already exists");
    const long = fresh("long").padEnd(256, "x");
    same("an id of the greatest length", await client.startNew(BASE, { instanceId: long }), long);

    const ended = await completed(client, server);
    same("the id of one that has ended", await client.startNew(BASE, { instanceId: ended }), ended);
    same("the output begins afresh", (await untilAsleep(client, server, ended)).output, null);
}

async function events(client, server) {
    const asked = await client.startNew(INTENT, { input: { message: "May I?" } });
    await untilAsleep(client, server, asked);
    await client.raiseEvent(asked, "UserApproval", { approved: true });
    same("an event that is waited for", (await untilIs(client, asked, Status.Completed)).output, { status: "approved", approved: true });

    const early = await client.startNew(INTENT, { input: { message: "May I?", approval_timeout_hours: 0.5 } });
    await client.raiseEvent(early, "UserApproval", false, { taskHubName: HUB, connectionName: "AzureWebJobsStorage" });
    same("an event raised early is kept", (await untilIs(client, early, Status.Completed)).output, { status: "rejected", approved: false });

    for (const [sent, got] of [[null, "null"], ["text", '"text"'], [[1, { a: null }], '[1,{"a":null}]'], [1.5, "1.5"]]) {
        const instance = await client.startNew(BASE);
        await client.raiseEvent(instance, "WakeUp", sent);
        const { output } = await untilIs(client, instance, Status.Completed);
        same(`the event data ${got}`, output, { status: "completed", final_result: `Processed: Resumed! Received: ${got}` });
    }

    const instance = await client.startNew(BASE);
    await rejects("an event without data has an empty body, which is no JSON", client.raiseEvent(instance, "WakeUp"), "400");
    await client.raiseEvent(instance, "WakeUp2", 1);
    await client.raiseEvent(instance, "Other", 2);
    await until(client, instance, "still waiting", (status) => status.runtimeStatus === Status.Running);
    await client.raiseEvent(instance, "wakeUP", 3);
    const { output } = await untilIs(client, instance, Status.Completed);
    same("the event that woke it", output.final_result, "Processed: Resumed! Received: 3");

    same("an event for one that has ended is let go", await client.raiseEvent(instance, "WakeUp", 1), undefined);
    await rejects("an event for nobody", client.raiseEvent("nobody", "WakeUp", 1), "No instance with ID 'nobody' found.");
    await rejects("an event for another task hub", client.raiseEvent(instance, "WakeUp", 1, { taskHubName: "Elsewhere" }), "No instance");
    await rejects("an event without a name", client.raiseEvent(instance, "", 1), "eventName");
}

async function statuses(client, server) {
    const input = { message: "shown" };
    const instance = await completed(client, server, input);
    const all = { showHistory: true, showHistoryOutput: true, showInput: true };
    for (const options of [undefined, { showHistory: true }, { showInput: true }, all, { taskHubName: HUB, connectionName: "AzureWebJobsStorage" }]) {
        const status = await client.getStatus(instance, options);
        same("the status", [status.name, status.runtimeStatus, status.input, status.output.status], [BASE, Status.Completed, input, "completed"]);
    }
    // With an RPC endpoint the client leaves a false flag out, and inputs are shown unless they are unwanted.
    const hidden = await client.getStatus(instance, { showInput: false });
    same("the input when it is unwanted", hidden.input, client.clientData.rpcBaseUrl ? input : null);
    const kinds = (await history(server, instance)).map((event) => event.EventType);
    same("the history", kinds, ["ExecutionStarted", "TaskCompleted", "EventRaised", "TaskCompleted", "ExecutionCompleted"]);
    await rejects("the status of nobody", client.getStatus("nobody"), "404", "nobody");
    await rejects("the status in another task hub", client.getStatus(instance, { taskHubName: "Elsewhere" }), "404");
    const { output } = await client.getStatus(await failed(client));
    holds("the output of a failed one says why", typeof output === "string" && output.includes("approval_timeout_hours"), output);
}

async function control(client, server) {
    const instance = await client.startNew(BASE);
    await untilAsleep(client, server, instance);
    await client.suspend(instance, "a rest, 10% é");
    await untilIs(client, instance, Status.Suspended);
    await rejects("suspending twice", client.suspend(instance, "again"), "500");
    await client.raiseEvent(instance, "WakeUp", "kept");
    same("an event does not wake one that is suspended", (await client.getStatus(instance)).runtimeStatus, Status.Suspended);
    await client.resume(instance, "rested");
    await untilIs(client, instance, Status.Completed);
    const reasons = (await history(server, instance)).filter((event) => /Suspended|Resumed/.test(event.EventType)).map((event) => event.Reason);
    same("the reasons in the history", reasons, ["a rest, 10% é", "rested"]);
    for (const call of ["suspend", "resume", "terminate"]) {
        same(`${call}, of one that has ended`, await client[call](instance, "late"), undefined);
        await rejects(`${call}, of nobody`, client[call]("nobody", "x"), "No instance with ID 'nobody' found.");
    }

    const running = await client.startNew(BASE);
    await untilAsleep(client, server, running);
    await rejects("resuming one that runs", client.resume(running, "x"), "500");
    await rejects("rewinding one that runs", client.rewind(running, "x"), "only a failed instance");
    await client.terminate(running, "no more: 100% é");
    same("the output of a terminated one is the reason", (await untilIs(client, running, Status.Terminated)).output, "no more: 100% é");

    const suspended = await client.startNew(BASE);
    await client.suspend(suspended, "x");
    // The client does not encode a reason, so an ampersand cuts it short.
    await client.terminate(suspended, "cut&short");
    same("a reason with an ampersand", (await untilIs(client, suspended, Status.Terminated)).output, "cut");

    const broken = await failed(client);
    await client.rewind(broken, "try again", { taskHubName: HUB, connectionName: "AzureWebJobsStorage" });
    await untilIs(client, broken, Status.Failed);
    const rewound = (await history(server, broken)).filter((event) => event.EventType === "ExecutionRewound").map((event) => event.Reason);
    same("the rewind in the history", rewound, ["try again"]);
    await rejects("rewinding one that was terminated", client.rewind(suspended, "x"), "only a failed instance");
    await rejects("rewinding nobody", client.rewind("nobody", "x"), "nobody");
}

async function purges(client, server) {
    const instance = await completed(client, server);
    same("one is purged", (await client.purgeInstanceHistory(instance)).instancesDeleted, 1);
    same("nobody is left", (await client.purgeInstanceHistory(instance)).instancesDeleted, 0);
    await rejects("a purged one is not there", client.getStatus(instance), "404");
    const running = await client.startNew(BASE);
    await rejects("purging one that runs", client.purgeInstanceHistory(running), "412");

    const { code } = await server.request("DELETE", "instances");
    if (code === 404) {
        return "this server has no purge by filters (DELETE instances answers 404)";
    }
    same("a purge by filters without createdTimeFrom", code, 400);
    const ended = [await failed(client), await failed(client), await failed(client)];
    const kept = await completed(client, server);
    same("a time in which nothing began", (await client.purgeInstanceHistoryBy({ createdTimeFrom: hours(1), createdTimeTo: hours(2) })).instancesDeleted, 0);
    const gone = await client.purgeInstanceHistoryBy({ createdTimeFrom: hours(-1), createdTimeTo: hours(1), runtimeStatus: [Status.Failed] });
    holds("all that failed are purged", gone.instancesDeleted >= 3, gone);
    for (const one of ended) {
        await rejects("a failed one is gone", client.getStatus(one), "404");
    }
    same("one in another state is kept", (await client.getStatus(kept)).runtimeStatus, Status.Completed);
    holds("all others that ended", (await client.purgeInstanceHistoryBy({ createdTimeFrom: hours(-1) })).instancesDeleted >= 1);
    await rejects("a completed one is gone", client.getStatus(kept), "404");
    holds("one that runs is kept", ["Pending", "Running"].includes((await client.getStatus(running)).runtimeStatus));
    return undefined;
}

async function lists(client, server) {
    const prefix = fresh("page");
    const names = Array.from({ length: 250 }, (_, n) => `${prefix}-${String(n).padStart(3, "0")}`);
    for (let n = 0; n < names.length; n += 25) {
        await Promise.all(names.slice(n, n + 25).map((instanceId) => client.startNew(BASE, { instanceId, input: { message: instanceId } })));
    }
    const mine = (rows) => rows.map((row) => row.instanceId).filter((id) => id.startsWith(prefix)).sort();
    const everything = await client.getStatusAll();
    same("every instance stands in the list once", mine(everything), names);
    same("no instance stands in the list twice", new Set(everything.map((row) => row.instanceId)).size, everything.length);
    const first = everything.find((row) => row.instanceId === names[0]);
    same("a row has the input", first.input, { message: names[0] });
    const { json, headers } = await server.request("GET", "instances");
    same("a page has 100 rows and a token", [json.length, (headers.get("x-ms-continuation-token") ?? "") !== ""], [100, true]);

    for (const name of names.slice(0, 3)) {
        await client.terminate(name, "one of three");
        await untilIs(client, name, Status.Terminated);
    }
    const ended = await client.getStatusBy({ runtimeStatus: [Status.Terminated, Status.Completed] });
    same("those in a state", mine(ended), names.slice(0, 3));
    const within = await client.getStatusBy({ createdTimeFrom: hours(-1), createdTimeTo: hours(1), runtimeStatus: [Status.Running, Status.Pending] });
    same("those begun in a time, over all pages", mine(within), names.slice(3));
    same("none began before", await client.getStatusBy({ createdTimeTo: hours(-1) }), []);
    same("none began after", await client.getStatusBy({ createdTimeFrom: hours(1) }), []);
}

async function responses(client, server) {
    const instance = fresh("linked");
    const request = new HttpRequest({ method: "POST", url: "https://public.example:8443/api/start", body: { string: "{}" } });
    const moved = (from, to) => (urls) => Object.fromEntries(Object.entries(urls).map(([key, url]) => [key, url.replace(from, to)]));
    const links = moved("INSTANCEID", instance)(server.urls);
    const published = moved(server.origin, "https://public.example:8443")(links);
    same("the links", client.createHttpManagementPayload(instance), links);
    const response = client.createCheckStatusResponse(request, instance);
    same("the code of a check-status response", response.status, 202);
    same("its body", await response.json(), published);
    same("its Location", response.headers.get("location"), published.statusQueryGetUri);
    same("its Retry-After", response.headers.get("retry-after"), "10");

    const brief = { timeoutInMilliseconds: 60, retryIntervalInMilliseconds: 20 };
    const waits = (id, options) => client.waitForCompletionOrCreateCheckStatusResponse(request, id, options);
    await client.startNew(BASE, { instanceId: instance });
    const inVain = await waits(instance, brief);
    same("waiting in vain gives links", [inVain.status, await inVain.json()], [202, published]);
    await client.raiseEvent(instance, "WakeUp", 1);
    const answer = await waits(instance);
    const output = { status: "completed", final_result: "Processed: Resumed! Received: 1" };
    same("one that completes gives its output", [answer.status, await answer.json()], [200, output]);
    const broken = await waits(await failed(client), brief);
    same("one that fails", [broken.status, (await broken.json()).runtimeStatus], [500, "Failed"]);
    const stopped = await client.startNew(BASE);
    await client.terminate(stopped, "enough");
    const ended = await waits(stopped);
    const body = await ended.json();
    same("one that is terminated", [ended.status, body.runtimeStatus, body.output], [200, "Terminated", "enough"]);
    await rejects("an interval beyond the timeout", waits(stopped, { timeoutInMilliseconds: 1, retryIntervalInMilliseconds: 2 }), "timeout");
}

const server = new Server(process.argv[2]);
try {
    await server.learnUrls();
    for (const rpc of ["/durabletask/", undefined]) {
        const client = server.client(rpc);
        for (const part of [starts, events, statuses, control, lists, responses, purges]) {
            const what = `${part.name} ${rpc === undefined ? "without rpcBaseUrl" : `by way of ${rpc}`}`;
            const missing = await part(client, server).catch((error) => {
                throw new Wrong(`${what}: ${error.message}`, { cause: error });
            });
            console.log(`javascript: ${what}: holds${missing ? `, but for this: ${missing}` : ""}`);
        }
    }
} catch (error) {
    console.error(error);
    console.error(`WRONG: ${error.message}`);
    process.exit(1);
}

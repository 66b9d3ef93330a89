// What the suite stands on: the client as a Functions host would set it up, plain requests beside it, and assertions.
//
// Must never wait for a time where it can wait for a condition.

import { createRequire } from "node:module";
import { isDeepStrictEqual, inspect } from "node:util";
import { pathToFileURL } from "node:url";

export const HUB = process.env.TASK_HUB ?? "TestHubName";
export const BASE = "base_orchestrator";
export const INTENT = "standing_intent_orchestrator";
// The key that the server asks for, if it does: it then stands in the links too.
const KEY = process.env.SDK_KEY;
const QUERY = `taskHub=${HUB}&connection=AzureWebJobsStorage${KEY ? `&code=${KEY}` : ""}`;
const CODE = `code=${KEY ?? "none"}`;
const HEADERS = KEY ? { "x-functions-key": KEY } : {};
const PATIENCE = 30_000;

// The packages stand where the runner has put them.
const require = createRequire(process.env.SDK_PACKAGES ? pathToFileURL(`${process.env.SDK_PACKAGES}/package.json`) : import.meta.url);
export const df = require("durable-functions");
export const { HttpRequest } = require("@azure/functions");

export class Wrong extends Error {}

export function same(what, got, expected) {
    if (!isDeepStrictEqual(got, expected)) {
        throw new Wrong(`${what}: expected ${inspect(expected, { depth: 6 })}, got ${inspect(got, { depth: 6 })}`);
    }
}

export function holds(what, condition, shown) {
    if (!condition) {
        throw new Wrong(`${what}: ${inspect(shown)}`);
    }
}

/** The call has to be rejected with an error whose text has all these parts. */
export async function rejects(what, call, ...parts) {
    let result;
    try {
        result = await call;
    } catch (error) {
        const missing = parts.filter((part) => !String(error.message).includes(part));
        same(`${what}: parts that the error "${error.message}" lacks`, missing, []);
        return error;
    }
    throw new Wrong(`${what}: expected an error with ${inspect(parts)}, got ${inspect(result)}`);
}

export class Server {
    constructor(address) {
        // The management API may be below a path of its own.
        this.address = address.split("/")[0];
        this.origin = `http://${this.address}`;
        this.below = `http://${address}`;
        this.base = `${this.below}/runtime/webhooks/durabletask`;
    }

    /** Code, headers and JSON (or undefined) of a plain request below the management path. */
    async request(method, path, body, headers = {}) {
        const answer = await fetch(`${this.base}/${path}`, { method, body, headers: { ...HEADERS, ...headers } });
        const text = await answer.text();
        return { code: answer.status, headers: answer.headers, json: text === "" ? undefined : JSON.parse(text) };
    }

    /** The management URLs of a binding: the server's own links for an instance that is called INSTANCEID. */
    async learnUrls() {
        const { code, headers, json } = await this.request("POST", `orchestrators/${BASE}/INSTANCEID`);
        same("the code of a start", code, 202);
        same("Location of a start", headers.get("location"), json.statusQueryGetUri);
        same("Retry-After of a start", headers.get("retry-after"), "10");
        const one = `${this.base}/instances/INSTANCEID`;
        const expected = {
            id: "INSTANCEID",
            statusQueryGetUri: `${one}?${QUERY}`,
            sendEventPostUri: `${one}/raiseEvent/{eventName}?${QUERY}`,
            terminatePostUri: `${one}/terminate?reason={text}&${QUERY}`,
            purgeHistoryDeleteUri: `${one}?${QUERY}`,
            rewindPostUri: `${one}/rewind?reason={text}&${QUERY}`,
            suspendPostUri: `${one}/suspend?reason={text}&${QUERY}`,
            resumePostUri: `${one}/resume?reason={text}&${QUERY}`,
        };
        // A field of the server's own: where a signed URL for one event is made.
        expected.signedEventUrlPostUri = `${this.origin}/api/orchestrators/INSTANCEID/event-url/{eventName}?validFor={seconds}&${QUERY}`;
        // This one stands in the payload if the server restarts instances.
        if (json.restartPostUri !== undefined) {
            expected.restartPostUri = `${one}/restart?${QUERY}`;
        }
        same("the links of a start", json, expected);
        this.urls = json;
    }

    /** A client as a host sets it up; `rpc` is the path of the RPC endpoint, or undefined. */
    client(rpc) {
        const template = `${this.base}/orchestrators/{functionName}[/{instanceId}]`;
        const data = {
            taskHubName: HUB,
            connectionName: "AzureWebJobsStorage",
            creationUrls: {
                createNewInstancePostUri: `${template}?${CODE}`,
                createAndWaitOnNewInstancePostUri: `${template}?timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}&${CODE}`,
            },
            managementUrls: this.urls,
            baseUrl: this.base,
            requiredQueryStringParameters: CODE,
            ...(rpc === undefined ? {} : { rpcBaseUrl: this.below + rpc }),
        };
        // Without this name the client leads its links to a fixed port of this machine.
        process.env.WEBSITE_HOSTNAME = this.address;
        const input = df.input.durableClient();
        const client = df.getClient({ options: { extraInputs: [input] }, extraInputs: new Map([[input, data]]) });
        if (rpc !== undefined) {
            // To its RPC endpoint the client sends no key, since a host takes none there: a header has to. Without such an endpoint its URLs carry the key.
            Object.assign(client.axiosInstance.defaults.headers.common, HEADERS);
        }
        return client;
    }
}

/** The status of an instance, once it is as it should be. */
export async function until(client, instance, what, is, options) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
        const status = await client.getStatus(instance, options);
        if (is(status)) {
            return status;
        }
        if (Date.now() > deadline) {
            throw new Wrong(`waited ${PATIENCE} ms for ${instance} to be ${what}; it is ${inspect(status)}`);
        }
        await new Promise((done) => setTimeout(done, 10));
    }
}

export const untilIs = (client, instance, wanted) => until(client, instance, wanted, (status) => status.runtimeStatus === wanted);

/** The history of an instance. The client asks for it and drops it, so it is read beside the client. */
export async function history(server, instance, more = "") {
    const { json } = await server.request("GET", `instances/${encodeURIComponent(instance)}?showHistory=true${more}`);
    return json.historyEvents ?? [];
}

/** Waits until an instance has done what it can: its history ends with a finished activity or a timer, and it runs. */
export async function untilAsleep(client, server, instance) {
    const deadline = Date.now() + PATIENCE;
    while (!["TaskCompleted", "TimerCreated"].includes((await history(server, instance)).at(-1)?.EventType)) {
        holds(`${instance} falls asleep within ${PATIENCE} ms`, Date.now() < deadline, await client.getStatus(instance));
        await new Promise((done) => setTimeout(done, 10));
    }
    const status = await client.getStatus(instance);
    same(`${instance} waits`, status.runtimeStatus, "Running");
    return status;
}

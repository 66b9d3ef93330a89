// Carries out the timers' definition with a task of our own in the place of the function, and says what is not as it should be.
// Arguments: the folder of the npm packages, the definition. Prints a JSON list of findings.
//
// Must never: call anything but the function here in this process.

import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// Node.js 20 lacks it, and the interpreter uses it.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((a, b) => ([resolve, reject] = [a, b]));
  return { promise, resolve, reject };
};

const [packages, file] = process.argv.slice(2);
const require = createRequire(path.join(packages, 'package.json'));
const { StateMachine } = await import(pathToFileURL(require.resolve('aws-local-stepfunctions')));
const validate = require('asl-validator');

const findings = [];
const definition = JSON.parse(fs.readFileSync(file, 'utf8'));
const { isValid, errorsText } = validate(definition);
if (!isValid) findings.push(`asl-validator: ${errorsText('; ')}`);

const event = { durable: 'timer', instance: 'order-7', life: 'a1', revision: 3, due: '2026-01-01T00:00:00.250Z', armed: '2025-12-31T00:00:00Z' };

class Named extends Error {
  constructor(name) {
    super(`an error named ${name}`);
    this.name = name;
  }
}

// Runs one timer: `answer(n)` is the function at its n-th call. Back-off is cut short, the sleep is not.
async function timer(answer, fireAt = '2026-01-01T00:00:00Z') {
  const calls = [];
  const task = async ({ Payload: payload }) => {
    calls.push({ payload, at: Date.now() });
    const error = answer(calls.length);
    if (error) throw new Named(error);
    return { StatusCode: 200 };
  };
  const machine = new StateMachine(definition);
  const running = machine.run(
    { fireAt, event },
    { overrides: { taskResourceLocalHandlers: { Fire: task }, retryIntervalOverrides: { Fire: 1 } } },
  );
  const outcome = await running.result.then(() => 'succeeded', (error) => error.cause?.name ?? error.name);
  return { calls, outcome };
}

async function expect(what, calls, outcome, answer) {
  const got = await timer(answer);
  if (got.calls.length !== calls || got.outcome !== outcome) {
    findings.push(`${what}: ${calls} calls and ${outcome} expected, but ${got.calls.length} calls and ${got.outcome} seen`);
  }
}

if (isValid) {
  const wholeSeconds = Math.ceil((Date.now() + 1000) / 1000) * 1000;
  const slept = await timer(() => null, new Date(wholeSeconds).toISOString().replace('.000Z', 'Z'));
  if (slept.calls.length !== 1) findings.push(`a timer calls once, not ${slept.calls.length} times`);
  const [call] = slept.calls;
  // The interpreter's timer may be a few milliseconds early.
  if (call && call.at < wholeSeconds - 20) findings.push(`a timer fired ${wholeSeconds - call.at} ms early`);
  if (call && call.at > wholeSeconds + 5000) findings.push(`a timer fired ${call.at - wholeSeconds} ms late`);
  if (call && JSON.stringify(call.payload) !== JSON.stringify(event)) findings.push(`the function gets ${JSON.stringify(call.payload)}, not the event`);

  await expect('a commit that has not landed yet', 3, 'succeeded', (n) => (n < 3 ? 'Durable.NotYet' : null));
  await expect('a commit that never lands', 25, 'Durable.NotYet', () => 'Durable.NotYet');
  await expect('throttled for long', 61, 'succeeded', (n) => (n < 61 ? 'Lambda.TooManyRequestsException' : null));
  await expect('trouble of the store', 6, 'succeeded', (n) => (n < 6 ? 'Durable.Unavailable' : null));
  await expect('trouble without end', 31, 'Durable.Unavailable', () => 'Durable.Unavailable');
  await expect('a function that is missing for a while', 4, 'succeeded', (n) => (n < 4 ? 'Lambda.ResourceNotFoundException' : null));
}
console.log(JSON.stringify(findings));
process.exit(0);

// Carries out the timers' definition with a task of our own in the place of the function, on a clock of our own, and says what is not as it should
// be. Arguments: the folder of the npm packages, the definition. Prints a JSON list of findings.
//
// Must never: call anything but the function here in this process.

import fs from 'node:fs';
import path from 'node:path';
import { mock } from 'node:test';
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

const START = Date.parse('2026-01-01T00:00:00.250Z');
const TICK = 500;
const HOUR = 3600;

// Moves the clock until there is an outcome. What is due runs in between.
async function outcome(promise) {
  let result;
  promise.then(() => (result = 'succeeded'), (error) => (result = error.cause?.name ?? error.name));
  while (!result && Date.now() < START + 30 * HOUR * 1000) {
    for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
    if (!result) mock.timers.tick(TICK);
  }
  return result ?? 'no end';
}

// Runs one timer: `answer(n)` is the function at its n-th call.
async function timer(answer, fireAt = '2026-01-01T00:00:00Z') {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: START });
  try {
    const calls = [];
    const task = async ({ Payload: payload }) => {
      calls.push({ payload, at: Date.now() });
      const error = answer(calls.length);
      if (error) throw new Named(error);
      return { StatusCode: 200 };
    };
    const running = new StateMachine(definition).run({ fireAt, event }, { overrides: { taskResourceLocalHandlers: { Fire: task } } });
    const ended = await outcome(running.result);
    return { calls, ended, seconds: (Date.now() - START) / 1000 };
  } finally {
    mock.timers.reset();
  }
}

// The function is called so often, with this end, after a number of seconds between these two.
async function expect(what, calls, ended, [least, most], answer) {
  const got = await timer(answer);
  if (got.calls.length !== calls || got.ended !== ended) {
    findings.push(`${what}: ${calls} calls and ${ended} expected, but ${got.calls.length} calls and ${got.ended} seen`);
  } else if (got.seconds < least || got.seconds > most) {
    findings.push(`${what}: took ${got.seconds} s, expected ${least} to ${most}`);
  }
}

if (isValid) {
  const due = new Date(START + HOUR * 1000 + 750);
  const slept = await timer(() => null, due.toISOString().replace('.000Z', 'Z'));
  if (slept.calls.length !== 1 || slept.ended !== 'succeeded') findings.push(`a timer calls once, not ${slept.calls.length} times, and ends: ${slept.ended}`);
  const [call] = slept.calls;
  if (call && call.at < due) findings.push(`a timer fired ${due - call.at} ms early`);
  if (call && call.at > +due + 1000) findings.push(`a timer fired ${call.at - due} ms late`);
  if (call && JSON.stringify(call.payload) !== JSON.stringify(event)) findings.push(`the function gets ${JSON.stringify(call.payload)}, not the event`);

  await expect('a commit that has not landed yet', 3, 'succeeded', [0, 10], (n) => (n < 3 ? 'Durable.NotYet' : null));
  await expect('a commit that never lands', 25, 'Durable.NotYet', [960, 2 * HOUR], () => 'Durable.NotYet');
  await expect('throttled for long', 61, 'succeeded', [0, 6 * HOUR], (n) => (n < 61 ? 'Lambda.TooManyRequestsException' : null));
  await expect('trouble of the store', 6, 'succeeded', [0, HOUR], (n) => (n < 6 ? 'Durable.Unavailable' : null));
  await expect('trouble without end', 31, 'Durable.Unavailable', [HOUR, 24 * HOUR], () => 'Durable.Unavailable');
  await expect('a function that is missing for a while', 4, 'succeeded', [0, HOUR], (n) => (n < 4 ? 'Lambda.ResourceNotFoundException' : null));
}
console.log(JSON.stringify(findings));
process.exit(0);

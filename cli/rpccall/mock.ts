/**
 * A stand-in server for an interface that nobody has written: every procedure of a `.x` is served
 * with answers from a file, from a module, or with the plainest value of its result.
 */

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { CallContext, Service } from '../../runtime/index.js';
import { encode, fromJson, type Json, toJson, XdrError } from '../../xdr/index.js';
import { CliError, describe, UsageError } from '../support/cli.js';
import { type Choice, choices, chooseProcedures, fullName, type Opened, openInterface } from './interface.js';
import { wrongJson } from './session.js';
import { zero } from './zero.js';

/** Most bytes of a file of answers: 64 MiB. */
export const MAX_ANSWERS_BYTES = 64 * 1024 * 1024;

/** Makes the answer to one call, as JSON. */
type Answer = (args: Json, context: CallContext) => Json | Promise<Json>;

/** Told of every call and what was answered. */
export type OnCall = (procedure: string, args: Json, answer: Json) => void;

/**
 * The services of an interface. `answers` is a `.json` file (an object of procedures: an answer, or
 * `{"sequence": [...]}`, whose last one stays), or a module that exports by default an object of
 * procedures: answers or functions of the arguments. Throws CliError for answers that do not fit.
 */
export async function mockServices(
  name: string,
  answers: string | undefined,
  onCall: OnCall = () => undefined,
): Promise<Service[]> {
  const opened = openInterface(name);
  const given =
    answers === undefined
      ? new Map<Choice['procedure'], Answer>()
      : readAnswers(opened, await load(answers), answers);
  const services = new Map<string, Service & { procedures: Service['procedures'][number][] }>();
  for (const choice of choices(opened)) {
    const { procedure, program } = choice;
    const key = `${procedure.program} ${procedure.version}`;
    const service = services.get(key) ?? {
      program: procedure.program,
      version: procedure.version,
      name: program,
      procedures: [],
    };
    services.set(key, service);
    // NULL answers by itself.
    if (procedure.number === 0) continue;
    const answer = given.get(procedure) ?? plainest(choice);
    service.procedures.push({
      procedure,
      handle: (args, context) => serve(choice, answer, args, context, onCall),
    });
  }
  if (services.size === 0) throw new CliError(`${name} has no program to serve`);
  return [...services.values()];
}

async function serve(
  { procedure }: Choice,
  answer: Answer,
  args: unknown,
  context: CallContext,
  onCall: OnCall,
): Promise<unknown> {
  const json = toJson(procedure.args, args);
  const result = await answer(json, context);
  onCall(procedure.name, json, result ?? null);
  return fromJson(procedure.result, result ?? null);
}

function plainest({ procedure }: Choice): Answer {
  const value = zero(procedure.result);
  return () => value;
}

/** The answers by procedure. Every one that is given as a value is tried on its type at once. */
function readAnswers(
  opened: Opened,
  given: Readonly<Record<string, unknown>>,
  file: string,
): Map<Choice['procedure'], Answer> {
  const answers = new Map<Choice['procedure'], Answer>();
  for (const [name, what] of Object.entries(given)) {
    // A name without a version is that of every version which has it.
    for (const choice of chooseProcedures(opened, name)) {
      const answer = answerOf(choice, what, file);
      if (!answers.has(choice.procedure)) answers.set(choice.procedure, answer);
    }
  }
  return answers;
}

function answerOf(choice: Choice, what: unknown, file: string): Answer {
  if (typeof what === 'function') return what as Answer;
  const sequence =
    typeof what === 'object' && what !== null && 'sequence' in what ? what.sequence : undefined;
  const values =
    Array.isArray(sequence) && Object.keys(what as object).length === 1
      ? (sequence as Json[])
      : [what as Json];
  if (values.length === 0) throw new CliError(`${file}: the sequence of ${fullName(choice)} is empty`);
  for (const value of values) check(choice, value, file);
  let next = 0;
  return () => values[Math.min(next++, values.length - 1)] as Json;
}

function check(choice: Choice, value: Json, file: string): void {
  const { result } = choice.procedure;
  try {
    encode(result, fromJson(result, value));
  } catch (error) {
    if (!(error instanceof XdrError)) throw error;
    throw new CliError(`${file}: the answer of ${fullName(choice)}: ${wrongJson(error).message}`, {
      cause: error,
    });
  }
}

async function load(file: string): Promise<Readonly<Record<string, unknown>>> {
  let given: unknown;
  try {
    if (/\.[mc]?[jt]s$/.test(file)) {
      const module = (await import(pathToFileURL(path.resolve(file)).href)) as { readonly default?: unknown };
      given = module.default;
    } else {
      const text = readFileSync(file, 'utf8');
      if (text.length > MAX_ANSWERS_BYTES) throw new CliError(`over ${MAX_ANSWERS_BYTES} bytes`);
      given = JSON.parse(text);
    }
  } catch (cause) {
    throw new CliError(`${file} cannot be read: ${describe(cause).replace(/, (open|stat).*$/, '')}`, {
      cause,
    });
  }
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new UsageError(`${file} must hold an object of answers by procedure, as in {"EXPORT": []}`);
  return given as Readonly<Record<string, unknown>>;
}

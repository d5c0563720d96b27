#!/usr/bin/env node

/** rmethods: calls functions of another host by name. */

import { METHODS_PROG, METHODS_V1, MethodFault, MethodsClient } from '../../services/index.js';
import { CliError, command, run, UsageError } from '../support/cli.js';
import { type RemoteOptions, remoteOptions, withProgram } from '../support/remote.js';
import { printable } from '../support/terminal.js';

const program = remoteOptions(
  command('rmethods', 'Calls functions of HOST by name.')
    .argument('<host>', 'name or address of a host that runs methods')
    .argument('<action>', 'call, multicall, list, help or signature')
    .argument('[words...]', 'method and parameters')
    // A number below zero behind the action is a parameter.
    .passThroughOptions(),
).addHelpText(
  'after',
  `
Actions:
  call METHOD [PARAMETER...]   calls a function and prints its result
  multicall CALL...            calls several in one round trip; each is a JSON array of name and parameters
  list                         prints the names there are
  help METHOD                  prints what a method is for
  signature METHOD             prints how a method is called

Parameters are JSON; what is none is text.

Examples:
  rmethods localhost list
  rmethods localhost call add 2 3
  rmethods localhost multicall '["add", 2, 3]' '["divide", 1, 0]'`,
);

/** By name: the fewest words each takes, and what it does with them. */
const ACTIONS = new Map<
  string,
  { readonly least: number; run(methods: MethodsClient, words: readonly string[]): Promise<void> }
>(
  Object.entries({
    call: {
      least: 1,
      run: async (methods, [name = '', ...params]) => print(await methods.call(name, params.map(paramOf))),
    },
    multicall: {
      least: 1,
      run: async (methods, calls) => {
        for (const result of await methods.multicall(calls.map(callOf)))
          if (result instanceof MethodFault) say(`fault ${result.code}: ${result.message}`);
          else print(result);
      },
    },
    list: { least: 0, run: async (methods) => (await methods.list()).forEach(say) },
    help: { least: 1, run: async (methods, [name = '']) => say(known(name, await methods.help(name))) },
    signature: {
      least: 1,
      run: async (methods, [name = '']) => say(name + known(name, await methods.signature(name))),
    },
  }),
);

program.action(async (host: string, name: string, words: readonly string[], options: RemoteOptions) => {
  const action = ACTIONS.get(name);
  if (action === undefined)
    throw new UsageError(`there is no action ${printable(name)}, only ${[...ACTIONS.keys()].join(', ')}`);
  if (words.length < action.least) throw new UsageError(`${name} needs a METHOD`);
  await withProgram(host, { program: METHODS_PROG, version: METHODS_V1 }, options, async (caller) => {
    try {
      await action.run(new MethodsClient(caller), words);
    } catch (cause) {
      if (!(cause instanceof MethodFault)) throw cause;
      throw new CliError(`${host} answers fault ${cause.code}: ${printable(cause.message)}`, { cause });
    }
  });
});

function paramOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function callOf(text: string): [string, ...unknown[]] {
  const given = paramOf(text);
  if (!Array.isArray(given) || typeof given[0] !== 'string')
    throw new UsageError(`a call is a JSON array of name and parameters, as in '["add", 2, 3]', not ${text}`);
  return given as [string, ...unknown[]];
}

function known(name: string, text: string | undefined): string {
  if (text === undefined) throw new CliError(`there is no method ${name} (rmethods HOST list)`);
  return text;
}

function say(text: string): void {
  process.stdout.write(`${printable(text)}\n`);
}

function print(value: unknown): void {
  const text = JSON.stringify(value, (_key, member: unknown) => {
    if (typeof member === 'bigint') return String(member);
    return member instanceof Uint8Array ? { base64: Buffer.from(member).toString('base64') } : member;
  });
  say(text ?? 'null');
}

await run(program);

/** docs/errors.md: it has a row for each code, and each row of it can happen. Rows of rpcbind's own codes are provoked in test/rpcbind. */

import { readFileSync } from 'node:fs';
import net from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { checkPortable, compile, IdlError } from '../../../rpcgen/index.js';
import {
  AuthError,
  connectLoopback,
  connectTcp,
  createClient,
  createServer,
  type Procedure,
  type RpcClient,
  RpcError,
} from '../../../runtime/index.js';
import {
  auth_stat,
  type ClientSecurity,
  Dispatcher,
  importOptional,
  MissingPackageError,
  NO_VERIFIER,
  SecurityError,
  sealCall,
} from '../../../runtime/protocol.js';
import {
  array,
  type Codec,
  decode,
  encode,
  int,
  lazy,
  optional,
  string,
  struct,
  unionOf,
  voidCodec,
  XdrError,
} from '../../../xdr/index.js';
import { add, echo, echoAsHyper, echoService, fail, silent, slow } from '../../support/echo.js';

const manual = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8');
const documented = [...manual.matchAll(/^\| `([A-Z_]+)`/gm)].map((match) => match[1] as string);
const provoked = new Set<string>();

const cleanUps: (() => unknown)[] = [];
afterAll(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

interface Coded {
  readonly code: string;
}

async function codeOf(
  what: () => unknown,
  kind: abstract new (...args: never) => Error & Coded,
): Promise<string> {
  try {
    await what();
  } catch (error) {
    if (!(error instanceof kind)) throw error;
    provoked.add(error.code);
    return error.code;
  }
  return 'nothing was thrown';
}

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

interface Node {
  readonly next: Node | null;
}
const node: Codec<Node> = struct({ next: optional(lazy((): Codec<Node> => node)) });
const either = unionOf(
  { name: 'kind', type: int as Codec<unknown> },
  [{ cases: [0], field: null }],
  undefined,
);

describe('XdrError', () => {
  it.each<[string, () => unknown]>([
    ['XDR_TRUNCATED', () => decode(int, bytes('0000'))],
    ['XDR_TRAILING', () => decode(int, bytes('00000000 00000000'))],
    ['XDR_RANGE', () => encode(int, 0.5)],
    ['XDR_PADDING', () => decode(string(), bytes('00000001 61000001'))],
    ['XDR_BAD_ENUM', () => decode(optional(int), bytes('00000002'))],
    ['XDR_BAD_UNION', () => decode(either, bytes('00000007'))],
    ['XDR_LIMIT', () => encode(array(int, 1), [1, 2])],
    ['XDR_DEPTH', () => decode(node, bytes('00000001'.repeat(200)))],
  ])('%s', async (code, what) => {
    expect(await codeOf(what, XdrError)).toBe(code);
  });
});

describe('IdlError', () => {
  it.each([
    ['IDL_SYNTAX', 'struct {'],
    ['IDL_NAME', 'struct a { missing b; };'],
    ['IDL_TYPE', 'typedef int a[-1];'],
    ['IDL_PORTABLE', 'struct a { string *b; };'],
  ])('%s', async (code, text) => {
    expect(await codeOf(() => [compile(text), checkPortable(text)], IdlError)).toBe(code);
  });
});

describe('RpcError', () => {
  const clientOf = (): RpcClient => {
    const dispatcher = new Dispatcher();
    dispatcher.add({
      ...echoService(),
      procedures: [
        ...echoService().procedures,
        {
          procedure: { ...add, number: 20 } as unknown as Procedure,
          handle: () => {
            throw new AuthError(auth_stat.AUTH_TOOWEAK);
          },
        },
      ],
    });
    return createClient(connectLoopback(dispatcher), { timeoutMs: 30 });
  };
  const pair = { a: 1, b: 2 };

  it.each<[string, (client: RpcClient) => Promise<unknown>]>([
    ['RPC_TIMEOUT', (client) => client.call(silent, undefined)],
    ['RPC_PROG_UNAVAIL', (client) => client.call({ ...add, program: 1 }, pair)],
    ['RPC_PROG_MISMATCH', (client) => client.call({ ...add, version: 2 }, pair)],
    ['RPC_PROC_UNAVAIL', (client) => client.call({ ...add, number: 99 }, pair)],
    ['RPC_GARBAGE_ARGS', (client) => client.call({ ...add, number: slow.number }, pair)],
    ['RPC_SYSTEM_ERR', (client) => client.call(fail, 'boom')],
    ['RPC_AUTH', (client) => client.call({ ...add, number: 20 }, pair)],
    ['RPC_GARBAGE_RESULT', (client) => client.call(echoAsHyper, 'not eight bytes long')],
  ])('%s', async (code, what) => {
    expect(await codeOf(() => what(clientOf()), RpcError)).toBe(code);
  });

  /** A server that answers anything with these bytes; none closes the connection. */
  async function answering(hex: string): Promise<RpcClient> {
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (call) => {
        const reply = Buffer.from(bytes(hex));
        if (reply.length >= 8) call.copy(reply, 4, 4, 8);
        if (reply.length > 0) socket.write(reply);
        else socket.destroy();
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const { port } = server.address() as net.AddressInfo;
    const client = createClient(connectTcp({ host: '127.0.0.1', port }));
    cleanUps.push(
      () => server.close(),
      () => client.close(),
    );
    return client;
  }

  it('RPC_CLOSED, RPC_FRAMING and RPC_VERSION', async () => {
    const call = (hex: string) => async () => (await answering(hex)).call(nothingOf, undefined);
    expect(await codeOf(call(''), RpcError)).toBe('RPC_CLOSED');
    expect(await codeOf(call('ffffffff 00000000'), RpcError)).toBe('RPC_FRAMING');
    const refusal = '80000018 00000000 00000001 00000001 00000000 00000003 00000004';
    expect(await codeOf(call(refusal), RpcError)).toBe('RPC_VERSION');
  });

  it('RPC_UNVERIFIED and RPC_SECURITY', async () => {
    const security: ClientSecurity = {
      prepare: () => undefined,
      renew: () => false,
      protect: (args) => ({
        seal: (target) => sealCall(target, NO_VERIFIER, () => NO_VERIFIER, args),
        verify: () => {
          throw new Error('not the server');
        },
        unwrap: (result) => result,
      }),
    };
    const dispatcher = new Dispatcher();
    dispatcher.add(echoService());
    const clientWith = (more: Partial<ClientSecurity>): RpcClient =>
      createClient(connectLoopback(dispatcher), { security: { ...security, ...more } });
    expect(await codeOf(() => clientWith({}).call(echo, 'x'), RpcError)).toBe('RPC_UNVERIFIED');
    const prepare = () => Promise.reject(new SecurityError('RPC_SECURITY', 'no ticket'));
    expect(await codeOf(() => clientWith({ prepare }).call(echo, 'x'), RpcError)).toBe('RPC_SECURITY');
  });

  it('RPC_CONNECT', async () => {
    const server = createServer();
    const { port } = await server.listenTcp({ host: '127.0.0.1' });
    await server.close();
    const client = createClient(connectTcp({ host: '127.0.0.1', port }));
    expect(await codeOf(() => client.call(echo, 'x'), RpcError)).toBe('RPC_CONNECT');
  });
});

describe('MissingPackageError', () => {
  it('names the user and the package', async () => {
    const name = 'rpcbind-ts-no-such-package';
    const load = () => importOptional(name, 'kv', () => import(name));
    expect(await codeOf(load, MissingPackageError)).toBe('PACKAGE_MISSING');
    await expect(load()).rejects.toThrow(
      `kv needs the package ${name}, which is not installed: npm install ${name}`,
    );
    const broken = () => Promise.reject(new Error('no build for this processor'));
    await expect(importOptional(name, 'kv', broken)).rejects.toMatchObject({
      message: `kv needs the package ${name}, which does not load on this platform: npm install ${name}`,
      cause: { message: 'no build for this processor' },
    });
  });
});

const nothingOf = { ...add, args: voidCodec, result: voidCodec };

it('has a row for each code that was provoked, and no other', () => {
  // Those of TLS are provoked by test/security/tls.test.ts.
  const ours = documented.filter((code) => !/^(RPCBIND_|RPC_TLS)/.test(code));
  expect([...provoked].sort()).toEqual([...ours].sort());
  expect(new Set(documented).size).toBe(documented.length);
});

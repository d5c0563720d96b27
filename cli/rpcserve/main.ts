#!/usr/bin/env node
/** rpcserve: runs services, built in or of the user's own, and publishes them in rpcbind. */

import { defaultRpcbindPort, type PublicationState, publish } from '../../rpcbind/index.js';
import { createServer, type RpcServer } from '../../runtime/index.js';
import type { TlsServer } from '../../security/index.js';
import { mockServices } from '../rpccall/mock.js';
import { builtIns, type Hosted, loadService, type ServiceSettings } from '../support/builtin.js';
import {
  CliError,
  command,
  describe,
  integer,
  portOption,
  run,
  UsageError,
  untilSignal,
} from '../support/cli.js';
import { type TlsFlags, tlsServerOf, tlsServerOptions } from '../support/tls.js';

interface Options extends TlsFlags {
  readonly host: readonly string[];
  readonly udpPort: number;
  readonly tcpPort: number;
  readonly port?: number;
  readonly publish: boolean;
  readonly set: ServiceSettings;
  readonly mock: readonly string[];
  readonly answers: readonly string[];
}

const program = command('rpcserve', 'Runs services and publishes them in the rpcbind of this host.')
  .argument('[service...]', 'names of built-in services, or paths of modules that export one')
  .option('--mock <interface>', 'serve a .x, or a name of rpccall interfaces, that nobody wrote', collect, [])
  .option('--answers <file>', 'answers of the mock: JSON, or a module (one for each --mock)', collect, [])
  .option('--host <address>', 'listen here (may be repeated; default: 0.0.0.0)', collect, [])
  .option('--udp-port <port>', 'listen on this UDP port; 0 for any', integer('PORT', 0, 65_535), 0)
  .option('--tcp-port <port>', 'listen on this TCP port; 0 for any', integer('PORT', 0, 65_535), 0)
  .option('--set <key=value>', 'a setting of a service (may be repeated)', setting, {})
  .option('--no-publish', 'do not register in rpcbind')
  .addOption(portOption());
for (const option of tlsServerOptions()) program.addOption(option);
program.addHelpText(
  'after',
  `
Services:
${Object.entries(builtIns)
  .map(([name, { summary, settings }]) =>
    [
      `  ${name.padEnd(12)} ${summary}`,
      ...Object.entries(settings).map(([key, what]) => `    --set ${key}=...  ${what}`),
    ].join('\n'),
  )
  .join('\n')}

Examples:
  rpcserve printmsg
  rpcserve ./my-service.js
  rpcserve --mock my.x --answers answers.json
  rpcserve --tls-cert server.pem --tls-key server.key --tls-policy tls printmsg
  RPCBIND_PORT=1111 rpcserve --host 127.0.0.1 printmsg ./my-service.js`,
);

program.action(async (names: string[], options: Options) => {
  checkSettings(names, options.set);
  if (names.length + options.mock.length === 0)
    throw new UsageError('name a service, or an interface to mock with --mock (rpcserve --help lists them)');
  if (options.answers.length > options.mock.length) throw new UsageError('--answers belongs to a --mock');
  const port = options.publish ? (options.port ?? defaultRpcbindPort()) : undefined;
  const hosted: Hosted[] = [];
  const tls = tlsServerOf(options, log);
  const server = createServer({
    ...(tls === undefined ? {} : { security: [tls.security], authorize: tls.authorize }),
    onError: (error, { procedure }) => log(`${procedure.name} failed: ${describe(error)}`),
  });
  const reload = (): void => {
    if (tls?.reload() === true) log('certificates read again');
  };
  if (tls !== undefined) process.on('SIGHUP', reload);
  try {
    for (const name of names) hosted.push(await loadService(name, options.set));
    for (const [i, name] of options.mock.entries())
      hosted.push({ services: await mockServices(name, options.answers[i], logCall) });
    for (const service of hosted.flatMap(({ services }) => services)) server.add(service);
    await open(server, options, tls);
    refuseOpenDoors(server, hosted);
    await serve(server, port);
  } finally {
    process.off('SIGHUP', reload);
    tls?.close();
    await server.close();
    for (const { close } of hosted) await close?.();
  }
});

/** Publishes and serves until a signal, then withdraws. */
async function serve(server: RpcServer, port: number | undefined): Promise<void> {
  const stopped = untilSignal();
  for (const { name, program: number, version } of server.services)
    log(`serving ${name} (${number}) version ${version} on ${doors(server)}`);
  let isStopping = false;
  const onState = (state: PublicationState): void => {
    // On the way out it is of no interest that rpcbind went first.
    if (!isStopping && port !== undefined) log(describeState(state, port));
  };
  const publication = port === undefined ? undefined : await publish(server, { port, onState });
  const signal = await stopped;
  isStopping = true;
  log(`${signal}: withdrawing and draining`);
  await publication?.withdraw();
}

async function open(server: RpcServer, options: Options, tls: TlsServer | undefined): Promise<void> {
  const hosts = options.host.length === 0 ? ['0.0.0.0'] : options.host;
  for (const host of hosts) {
    try {
      await server.listenUdp({ host, port: options.udpPort });
      await server.listenTcp({ host, port: options.tcpPort, upgrade: tls?.upgrade });
    } catch (cause) {
      throw new CliError(`cannot listen on ${host}: ${describe(cause)}`, { cause });
    }
  }
}

/** A key that no service has is a slip; a module of the user's may have any. */
function checkSettings(names: readonly string[], settings: ServiceSettings): void {
  if (!names.every((name) => Object.hasOwn(builtIns, name))) return;
  const known = names.flatMap((name) => Object.keys(builtIns[name]?.settings ?? {}));
  for (const key of Object.keys(settings))
    if (!known.includes(key))
      throw new UsageError(
        `no setting is called ${key} (there ${known.length === 0 ? 'are none' : `are: ${known.join(', ')}`})`,
      );
}

/** Some services must not be reached from everywhere; then nothing is served at all. */
function refuseOpenDoors(server: RpcServer, hosted: readonly Hosted[]): void {
  for (const { refuses } of hosted) {
    const why = refuses?.(server.listeners);
    if (why !== undefined) throw new CliError(why);
  }
}

function describeState(state: PublicationState, port: number): string {
  switch (state) {
    case 'published':
      return `published in rpcbind on port ${port}`;
    case 'waiting':
      return `no rpcbind answers on port ${port}: serving all the same, and registering once one does`;
    case 'refused':
      return `another owner holds a registration in rpcbind on port ${port}: serving all the same (rpcinfo-ts -p shows whose)`;
    case 'withdrawn':
      return `withdrawn from rpcbind on port ${port}`;
  }
}

function doors(server: RpcServer): string {
  return server.listeners.map(({ netid, address, port }) => `${netid} ${address}:${port}`).join(', ');
}

/** Most characters of the JSON of a mocked call that are shown. */
const MAX_SHOWN = 200;

function logCall(procedure: string, args: unknown, answer: unknown): void {
  const text = (value: unknown): string => JSON.stringify(value).slice(0, MAX_SHOWN);
  log(`mock ${procedure} ${text(args)} -> ${text(answer)}`);
}

function log(line: string): void {
  process.stdout.write(`rpcserve: ${line}\n`);
}

function collect(value: string, list: readonly string[]): string[] {
  return [...list, value];
}

function setting(text: string, all: ServiceSettings): ServiceSettings {
  const [key, ...value] = text.split('=');
  if (key === undefined || key === '' || value.length === 0)
    throw new UsageError(`--set takes KEY=VALUE, not ${text}`);
  return { ...all, [key]: value.join('=') };
}

await run(program);

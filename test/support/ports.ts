import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';

/** Ports below those that kernels hand out by themselves (Linux from 32768, others from 49152). */
const LOWEST = 15_000;
const HIGHEST = 32_000;
const MAX_TRIES = 100;

/**
 * A port that was free for UDP and TCP a moment ago. It is none of those a kernel gives to a socket that names no
 * port, so that no call made meanwhile takes it, and a daemon finds it again when it is started anew.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const port = randomInt(LOWEST, HIGHEST);
    if ((await udpIsFree(port)) && (await tcpIsFree(port))) return port;
  }
  throw new Error(`no free port among ${MAX_TRIES} from ${LOWEST} to ${HIGHEST}`);
}

async function udpIsFree(port: number): Promise<boolean> {
  const socket = dgram.createSocket('udp4');
  try {
    const bound = once(socket, 'listening');
    socket.bind(port);
    await bound;
    return true;
  } catch {
    return false;
  } finally {
    await new Promise<void>((done) => socket.close(() => done()));
  }
}

async function tcpIsFree(port: number): Promise<boolean> {
  const server = net.createServer();
  try {
    const bound = once(server, 'listening');
    server.listen(port, '0.0.0.0');
    await bound;
    return true;
  } catch {
    return false;
  } finally {
    await new Promise<void>((done) => server.close(() => done()));
  }
}

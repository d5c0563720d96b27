/**
 * The attackers of `npm run soak -- siege`: each kind is a process of its own that goes on until it
 * is killed. Local ones run as nobody on the daemon's host; remote ones on another host.
 */

import dgram from 'node:dgram';
import net from 'node:net';
import { callBytes, mapping, recordOf, rpcbArgs, text, words } from './wire.js';

/** What the attackers know of the scene. */
export interface Scene {
  /** The daemon's address as other hosts see it. */
  readonly daemon: string;
  /** Addresses of the attacking host that are on the daemon's list. */
  readonly allowed: readonly string[];
  /** Addresses of the attacking host that are not. */
  readonly refused: readonly string[];
  /** The address of an honest host, which the attacking host forges. */
  readonly forged: string;
  /** Programs that the honest client registers: from this number on. */
  readonly firstProgram: number;
  readonly programs: number;
  /** Ports on which the honest client's services listen. */
  readonly ports: readonly number[];
}

const LOCAL = '127.0.0.1';
const PORT = 111;
/** Datagrams of one burst; between bursts the loop turns. */
const BURST = 50;

type Attack = (scene: Scene) => void;

/** Kinds that run as nobody on the daemon's own host. */
export const LOCAL_ATTACKS: Readonly<Record<string, Attack>> = { unset, churn, squat, beside };
/** Kinds that run on another host. */
export const REMOTE_ATTACKS: Readonly<Record<string, Attack>> = { unfinished, idle, forge, stall };

/** Every kind, local ones first. */
export const ATTACKS: readonly string[] = [...Object.keys(LOCAL_ATTACKS), ...Object.keys(REMOTE_ATTACKS)];

/** UNSET and SET of what is registered, over UDP from unprivileged ports and over the local socket. */
function unset(scene: Scene): void {
  const local = openStream({ path: '/run/rpcbind.sock' });
  const socket = openDatagram(LOCAL);
  forever(4, () => {
    for (let i = 0; i < BURST; i++) {
      const program = pick(scene);
      const calls = [
        callBytes({ version: 2, procedure: 2, args: mapping(program, 1, 0) }),
        callBytes({ version: 4, procedure: 2, args: rpcbArgs(program, 1, '', '') }),
        callBytes({ version: 3, procedure: 2, args: rpcbArgs(program, 1, 'udp', '0.0.0.0.4.1') }),
      ];
      const message = calls[i % calls.length] as Buffer;
      socket.send(message, PORT, LOCAL);
      local.write(recordOf(message));
    }
  });
}

/** Opens and closes 400 sockets over and over, so that the kernel's tables move. */
function churn(scene: Scene): void {
  const open: dgram.Socket[] = [];
  forever(2, () => {
    for (let i = 0; i < 40; i++) {
      const socket = openDatagram(LOCAL, i % 8 === 0 ? portOf(scene) : 0);
      open.push(socket);
    }
    while (open.length > 400) closeQuietly(open.shift());
  });
}

/** Registers the honest client's numbers and other versions of them, at a port of its own. */
function squat(scene: Scene): void {
  const local = openStream({ path: '/run/rpcbind.sock' });
  const tcp = openStream({ host: LOCAL, port: PORT });
  const socket = openDatagram(LOCAL);
  forever(4, () => {
    const { port } = safeAddress(socket);
    const address = `127.0.0.1.${port >> 8}.${port & 255}`;
    for (let i = 0; i < BURST; i++) {
      const version = i % 5 === 0 ? 2 : 1;
      const set = callBytes({ version: 2, procedure: 1, args: mapping(pick(scene), version, port) });
      const setAddress = callBytes({
        version: 4,
        procedure: 1,
        args: rpcbArgs(pick(scene), version, i % 2 === 0 ? 'udp' : 'tcp', address),
      });
      socket.send(set, PORT, LOCAL);
      local.write(recordOf(setAddress));
      tcp.write(recordOf(setAddress));
    }
  });
}

/** Binds beside the daemon's and the services' sockets, and answers what it is sent with rubbish. */
function beside(scene: Scene): void {
  forever(5, () => {
    const port = portOf(scene);
    for (const address of [LOCAL, '0.0.0.0', scene.daemon, '127.255.255.255']) {
      const socket = dgram.createSocket({ type: 'udp4', reuseAddr: true });
      socket.on('error', () => closeQuietly(socket));
      socket.on('message', (bytes, from) => socket.send(bytes.reverse(), from.port, from.address));
      socket.bind(port, address, () => setTimeout(() => closeQuietly(socket), 20));
      const server = net.createServer((peer) => peer.destroy());
      server.on('error', () => undefined);
      server.listen({ port, host: address }, () => setTimeout(() => server.close(), 20));
    }
  });
}

/** Connections with a record of 4 MiB that is never finished, from addresses that are on no list and some that are. */
function unfinished(scene: Scene): void {
  const part = Buffer.concat([words(0x8000_0000 + 4 * 1024 * 1024), Buffer.alloc(1024 * 1024)]);
  const open: net.Socket[] = [];
  forever(50, () => {
    for (let i = 0; i < 4; i++) {
      const of = i === 0 ? scene.allowed : scene.refused;
      const socket = openStream({ host: scene.daemon, port: PORT, localAddress: choose(of) });
      for (let piece = 0; piece < 4; piece++) socket.write(piece === 0 ? part : part.subarray(4));
      open.push(socket);
    }
    while (open.length > 120) open.shift()?.destroy();
  });
}

/** 4200 connections that say nothing, opened again as they are closed. */
function idle(scene: Scene): void {
  const open = new Set<net.Socket>();
  forever(20, () => {
    for (let i = 0; i < 100 && open.size < 4_200; i++) {
      const socket = openStream({ host: scene.daemon, port: PORT, localAddress: choose(scene.allowed) });
      open.add(socket);
      socket.on('close', () => open.delete(socket));
    }
  });
}

/** 10 000 calls a second in the name of an honest host, tables and forwarded calls among them. */
function forge(scene: Scene): void {
  const sockets = [scene.forged, ...scene.allowed].map((address) => openDatagram(address));
  const forwarded = Buffer.concat([words(scene.firstProgram, 1, 1), text('x'.repeat(400))]);
  forever(10, () => {
    for (let i = 0; i < 100; i++) {
      const socket = i % 4 === 0 ? (sockets[1 + (i % (sockets.length - 1))] as dgram.Socket) : sockets[0];
      const message =
        i % 3 === 0
          ? callBytes({ version: 2, procedure: 4 })
          : i % 3 === 1
            ? callBytes({ version: 2, procedure: 3, args: mapping(pick(scene), 1, 0) })
            : callBytes({ version: 2, procedure: 5, args: forwarded });
      socket?.send(message, PORT, scene.daemon);
    }
  });
}

/** Asks for tables over and over and reads nothing; and removes registrations in the name of loopback. */
function stall(scene: Scene): void {
  const open: net.Socket[] = [];
  const dump = recordOf(callBytes({ version: 4, procedure: 4 }));
  const many = Buffer.concat(Array.from({ length: 100 }, () => dump));
  const socket = openDatagram(LOCAL, 1_000);
  forever(20, () => {
    if (open.length < 40) {
      const peer = openStream({ host: scene.daemon, port: PORT, localAddress: choose(scene.allowed) });
      peer.pause();
      open.push(peer);
      peer.on('close', () => open.splice(open.indexOf(peer), 1));
    }
    for (const peer of open) if (peer.writableLength < 1_000_000) peer.write(many);
    for (let i = 0; i < BURST; i++)
      socket.send(
        callBytes({ version: 2, procedure: 2, args: mapping(pick(scene), 1, 0) }),
        PORT,
        scene.daemon,
      );
  });
}

/** Repeats a step for ever, with a pause of milliseconds; what a step throws is the attacker's own loss. */
function forever(pauseMs: number, step: () => void): void {
  const turn = (): void => {
    try {
      step();
    } catch {
      // Descriptors or ports may have run out; the next turn tries again.
    }
    setTimeout(turn, pauseMs);
  };
  turn();
}

function openStream(target: net.NetConnectOpts): net.Socket {
  const socket = net.connect(target);
  socket.on('error', () => undefined);
  if (target.timeout === undefined) socket.resume();
  return socket;
}

function openDatagram(address: string, port = 0): dgram.Socket {
  const socket = dgram.createSocket({ type: 'udp4', reuseAddr: port !== 0 });
  socket.on('error', () => undefined);
  socket.bind(port, address);
  return socket;
}

function closeQuietly(socket: dgram.Socket | undefined): void {
  try {
    socket?.close();
  } catch {
    // It was closed by its own error.
  }
}

function safeAddress(socket: dgram.Socket): { readonly port: number } {
  try {
    return socket.address();
  } catch {
    return { port: 9 };
  }
}

function pick(scene: Scene): number {
  return scene.firstProgram + Math.floor(Math.random() * scene.programs);
}

function portOf(scene: Scene): number {
  return choose(scene.ports);
}

function choose<T>(from: readonly T[]): T {
  return from[Math.floor(Math.random() * from.length)] as T;
}

/** Liveness probes by the kernel's lists of sockets (sockdiag.ts). */

import type { TableEntry } from '../table/registry.js';
import { isProof, type LivenessProbe, type ProbeResult } from './probe.js';
import {
  type InetSocket,
  LISTEN,
  socketsOnPort,
  UNCONNECTED,
  type UnixListener,
  unixListeners,
} from './sockdiag.js';

/** See {@link LivenessProbe}. Reports at once. */
export class SockDiagProbe implements LivenessProbe {
  /** What the kernel said in this round: the versions of a service share a port. */
  private readonly sockets = new Map<string, InetSocket[] | undefined>();
  private listeners: { readonly all: readonly UnixListener[] | undefined } | undefined;

  beginRound(): void {
    this.sockets.clear();
    this.listeners = undefined;
  }

  probe(entry: TableEntry, report: (result: ProbeResult) => void): void {
    switch (entry.netid) {
      case 'udp':
      case 'tcp':
      case 'udp6':
      case 'tcp6':
        report(this.probePort(entry, entry.netid.startsWith('udp') ? 'udp' : 'tcp'));
        break;
      case 'local':
        report(this.probePath(entry));
        break;
      default:
    }
  }

  private probePort(entry: TableEntry, protocol: 'udp' | 'tcp'): ProbeResult {
    let result: ProbeResult = 'gone';
    // A socket of IPv6 may serve IPv4 as well.
    for (const family of entry.netid.endsWith('6') ? ([6] as const) : ([4, 6] as const)) {
      const sockets = this.socketsOn(protocol, family, entry.port);
      if (sockets === undefined) result = 'unknown';
      for (const { state, uid, isV6Only } of sockets ?? []) {
        if (family === 6 && isV6Only === true && !entry.netid.endsWith('6')) continue;
        const isOwn = isProof(entry, uid);
        if (isOwn === false) continue;
        // A connected UDP socket may be a client's that happens to have the port: it proves no server.
        if (isOwn === true && (state === LISTEN || state === UNCONNECTED)) return 'alive';
        result = 'unknown';
      }
    }
    return result;
  }

  private socketsOn(protocol: 'udp' | 'tcp', family: 4 | 6, port: number): InetSocket[] | undefined {
    const key = `${protocol}${family} ${port}`;
    if (this.sockets.has(key)) return this.sockets.get(key);
    const sockets = socketsOnPort(protocol, family, port);
    this.sockets.set(key, sockets);
    return sockets;
  }

  private probePath(entry: TableEntry): ProbeResult {
    this.listeners ??= { all: unixListeners() };
    const { all } = this.listeners;
    if (all === undefined) return 'unknown';
    const path = entry.host.replace(/^@/, '\0');
    let result: ProbeResult = 'gone';
    for (const listener of all) {
      if (listener.path !== path) continue;
      const isOwn = isProof(entry, listener.uid);
      if (isOwn === true) return 'alive';
      if (isOwn === undefined) result = 'unknown';
    }
    return result;
  }
}

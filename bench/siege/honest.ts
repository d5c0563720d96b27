/**
 * The honest client of `npm run soak -- siege`: registers, looks up and takes back a hundred times a
 * second, over the local socket, TCP and UDP from a reserved port, and knows what the table must hold.
 */

import dgram from 'node:dgram';
import net from 'node:net';
import { connectRpcbind, RpcbindClient } from '../../rpcbind/index.js';
import { connectUdp } from '../../runtime/index.js';
import { Histogram, type LatencyStats } from '../../runtime/protocol.js';

/** Cycles of SET, GETPORT and UNSET that are begun each second. */
const CYCLES_PER_SECOND = 100;
/** Registrations that stand at a time. */
const STANDING = 200;
/** A service's sockets that registrations point to. */
const SERVICES = 16;
/** A reserved port, which proves root on loopback. */
const RESERVED_PORT = 700;
/** The whole time of a call. A call that takes longer is a failure. */
const TIMEOUT_MS = 25_000;

/** What went wrong, in words; empty after a good run. */
export interface Findings {
  readonly faults: readonly string[];
  readonly cycles: number;
  readonly checks: number;
}

interface Standing {
  readonly program: number;
  readonly port: number;
}

/** One honest client in this process. */
export class Honest {
  private readonly clients: RpcbindClient[] = [];
  private readonly sockets: (dgram.Socket | net.Server)[] = [];
  private readonly standing = new Map<number, Standing>();
  private readonly busy = new Set<number>();
  private readonly faults: string[] = [];
  private latency = new Histogram();
  private timer: NodeJS.Timeout | undefined;
  private underWay = 0;
  private next = 0;
  private cycles = 0;
  private checks = 0;
  ports: number[] = [];

  private readonly firstProgram: number;
  private readonly programs: number;

  constructor(firstProgram: number, programs: number) {
    this.firstProgram = firstProgram;
    this.programs = programs;
  }

  /** Opens services and ways to the daemon, and registers every program once, so that each is held for root. */
  async open(): Promise<void> {
    for (let i = 0; i < SERVICES; i++) {
      const socket = dgram.createSocket('udp4');
      await new Promise<void>((done) => socket.bind(0, '0.0.0.0', done));
      const { port } = socket.address();
      const server = net.createServer((peer) => peer.destroy());
      await new Promise<void>((done) => server.listen(port, '0.0.0.0', done));
      this.sockets.push(socket, server);
      this.ports.push(port);
    }
    this.clients.push(
      await connectRpcbind({ transport: 'local', timeoutMs: TIMEOUT_MS }),
      await connectRpcbind({ transport: 'tcp', timeoutMs: TIMEOUT_MS }),
      new RpcbindClient(
        await connectUdp({
          host: '127.0.0.1',
          port: 111,
          localAddress: '127.0.0.1',
          localPort: RESERVED_PORT,
        }),
        { timeoutMs: TIMEOUT_MS },
      ),
    );
    for (let i = 0; i < this.programs; i++) await this.cycle(this.firstProgram + i);
    this.latency = new Histogram();
  }

  start(): void {
    const startedAt = performance.now();
    let begun = 0;
    this.timer = setInterval(() => {
      const due = ((performance.now() - startedAt) / 1_000) * CYCLES_PER_SECOND;
      for (; begun < due; begun++) this.begin();
    }, 5);
  }

  /** The latencies since the last call of this. */
  takeLatency(): LatencyStats {
    const stats = this.latency.stats();
    this.latency = new Histogram();
    return stats;
  }

  /** Compares the table with what was acknowledged. */
  async check(): Promise<void> {
    const before = [...this.standing.values()].filter(({ program }) => !this.busy.has(program));
    const rows = await (this.clients[0] as RpcbindClient).dumpAddresses();
    const found = new Map(rows.map((row) => [`${row.program} ${row.version} ${row.netid}`, row]));
    this.checks += 1;
    for (const { program, port } of before) {
      if (this.busy.has(program) || this.standing.get(program)?.port !== port) continue;
      const row = found.get(`${program} 1 udp`);
      const wanted = `0.0.0.0.${port >> 8}.${port & 255}`;
      if (row === undefined) this.fault(`program ${program} is lost`);
      else if (row.address !== wanted || row.owner !== 'superuser')
        this.fault(`program ${program} is ${row.address} of ${row.owner}, not ${wanted} of superuser`);
    }
  }

  findings(): Findings {
    return { faults: this.faults, cycles: this.cycles, checks: this.checks };
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    const end = performance.now() + TIMEOUT_MS;
    while (this.underWay > 0 && performance.now() < end) await new Promise((again) => setTimeout(again, 20));
    for (const client of this.clients) await client.close();
    for (const socket of this.sockets) socket.close();
  }

  private begin(): void {
    // Where every program has a call under way, the daemon is behind: that shows as latency.
    if (this.busy.size >= this.programs / 2) return;
    let program = this.firstProgram + (this.next++ % this.programs);
    while (this.busy.has(program)) program = this.firstProgram + (this.next++ % this.programs);
    void this.cycle(program);
  }

  /** SET, GETPORT and UNSET; some stay for a while before they are taken back. */
  private async cycle(program: number): Promise<void> {
    const client = this.clients[this.next % this.clients.length] as RpcbindClient;
    this.busy.add(program);
    this.underWay += 1;
    try {
      if (this.standing.has(program)) await this.remove(client, program);
      const port = this.ports[program % this.ports.length] as number;
      if (!(await this.timed(client.set({ program, version: 1, protocol: 'udp', port }))))
        this.fault(`SET of program ${program} was refused (${client.target})`);
      this.standing.set(program, { program, port });
      const found = await this.timed(client.getport({ program, version: 1, protocol: 'udp' }));
      if (found !== port) this.fault(`GETPORT of program ${program} says ${found}, not ${port}`);
      const oldest = this.standing.keys().next().value;
      if (this.standing.size > STANDING && oldest !== undefined && !this.busy.has(oldest)) {
        this.busy.add(oldest);
        await this.remove(client, oldest).finally(() => this.busy.delete(oldest));
      }
      this.cycles += 1;
    } catch (error) {
      this.fault(`program ${program}: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      this.busy.delete(program);
      this.underWay -= 1;
    }
  }

  private async remove(client: RpcbindClient, program: number): Promise<void> {
    this.standing.delete(program);
    if (!(await this.timed(client.unset({ program, version: 1 }))))
      this.fault(`UNSET of program ${program} was refused (${client.target})`);
  }

  private async timed<T>(answer: Promise<T>): Promise<T> {
    const startedAt = performance.now();
    try {
      return await answer;
    } finally {
      this.latency.add(performance.now() - startedAt);
    }
  }

  private fault(text: string): void {
    if (this.faults.length < 100) this.faults.push(text);
  }
}

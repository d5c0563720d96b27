/** A proxy between two sockets of loopback that cuts connections after so many bytes. */

import net from 'node:net';

/** A way to a port that breaks now and then. */
export interface Cutter {
  readonly port: number;
  /** How often it has cut so far. */
  readonly cuts: number;
  close(): Promise<void>;
}

/** Passes everything on to `target`, and cuts a connection each time `everyBytes` have passed, `times` times in all. */
export async function startCutter(target: number, everyBytes: number, times: number): Promise<Cutter> {
  let cuts = 0;
  let passed = 0;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((near) => {
    const far = net.connect({ port: target, host: '127.0.0.1' });
    const cut = (): void => {
      near.destroy();
      far.destroy();
    };
    const both: readonly (readonly [net.Socket, net.Socket])[] = [
      [near, far],
      [far, near],
    ];
    for (const [from, to] of both) {
      sockets.add(from);
      from.on('error', cut);
      from.on('close', () => {
        sockets.delete(from);
        cut();
      });
      from.on('data', (chunk) => {
        passed += chunk.length;
        if (cuts < times && passed >= everyBytes) {
          passed = 0;
          cuts += 1;
          // Half of what came still gets through: pieces are cut in their middle.
          to.write(chunk.subarray(0, chunk.length >> 1), () => cut());
        } else if (!to.write(chunk)) {
          from.pause();
          to.once('drain', () => from.resume());
        }
      });
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as net.AddressInfo).port,
    get cuts() {
      return cuts;
    },
    close() {
      for (const socket of sockets) socket.destroy();
      return new Promise((done) => server.close(() => done()));
    },
  };
}

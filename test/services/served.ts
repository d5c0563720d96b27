/** Services on sockets of loopback, and clients of them, for the tests of services. */

import {
  type ClientOptions,
  connectTcp,
  connectUdp,
  createClient,
  createServer,
  type RpcClient,
  type RpcServer,
  type Service,
} from '../../runtime/index.js';

export interface Served {
  readonly server: RpcServer;
  readonly tcpPort: number;
  readonly udpPort: number;
  readonly tcp: RpcClient;
  readonly udp: RpcClient;
  /** One more client over TCP, with a connection of its own. */
  another(options?: ClientOptions): RpcClient;
  close(): Promise<void>;
}

/** Serves on free ports of 127.0.0.1. */
export async function serve(
  services: readonly Service[],
  onError: (error: unknown) => void = () => undefined,
): Promise<Served> {
  const server = createServer({ services, onError });
  const { port: tcpPort } = await server.listenTcp({ host: '127.0.0.1' });
  const { port: udpPort } = await server.listenUdp({ host: '127.0.0.1' });
  const clients: RpcClient[] = [];
  const another = (options?: ClientOptions): RpcClient => {
    const client = createClient(connectTcp({ host: '127.0.0.1', port: tcpPort }), options);
    clients.push(client);
    return client;
  };
  const udp = createClient(await connectUdp({ host: '127.0.0.1', port: udpPort }));
  clients.push(udp);
  return {
    server,
    tcpPort,
    udpPort,
    tcp: another(),
    udp,
    another,
    async close() {
      await Promise.all(clients.map((client) => client.close()));
      await server.close();
    },
  };
}

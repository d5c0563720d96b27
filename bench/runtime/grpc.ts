/**
 * As much of @grpc/grpc-js as the bench uses. The package is a devDependency; BENCH_PEERS names
 * another folder whose node_modules has it. Messages pass as bytes, which spares gRPC its codec.
 */

import { createRequire } from 'node:module';
import path from 'node:path';

interface Definition {
  readonly path: string;
  readonly requestStream: false;
  readonly responseStream: false;
  requestSerialize(value: Buffer): Buffer;
  requestDeserialize(bytes: Buffer): Buffer;
  responseSerialize(value: Buffer): Buffer;
  responseDeserialize(bytes: Buffer): Buffer;
}

type Done = (error: unknown, value: Buffer) => void;

interface Client {
  echo(value: Buffer, done: Done): void;
  close(): void;
}

interface Grpc {
  readonly Server: new () => {
    addService(
      definition: Record<string, Definition>,
      handlers: Record<string, (call: { readonly request: Buffer }, done: Done) => void>,
    ): void;
    bindAsync(address: string, credentials: unknown, done: (error: unknown, port: number) => void): void;
  };
  readonly ServerCredentials: { createInsecure(): unknown };
  readonly credentials: { createInsecure(): unknown };
  makeGenericClientConstructor(
    definition: Record<string, Definition>,
    name: string,
  ): new (
    address: string,
    credentials: unknown,
  ) => Client;
}

const same = (bytes: Buffer): Buffer => bytes;
const definition: Record<string, Definition> = {
  echo: {
    path: '/Load/Echo',
    requestStream: false,
    responseStream: false,
    ...{ requestSerialize: same, requestDeserialize: same },
    ...{ responseSerialize: same, responseDeserialize: same },
  },
};

/** The package, or undefined where it is not installed. */
export function loadGrpc(): Grpc | undefined {
  const peers = process.env['BENCH_PEERS'];
  const from = peers === undefined ? import.meta.url : path.join(peers, 'index.js');
  try {
    return createRequire(from)('@grpc/grpc-js') as Grpc;
  } catch {
    return undefined;
  }
}

/** A server of one unary call; its port. */
export function serveGrpc(grpc: Grpc): Promise<number> {
  const server = new grpc.Server();
  server.addService(definition, { echo: (call, done) => done(null, call.request) });
  return new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    ),
  );
}

/** Makes that call. */
export function grpcCaller(grpc: Grpc, port: number): { call(): Promise<void>; close(): void } {
  const Caller = grpc.makeGenericClientConstructor(definition, 'Load');
  const client = new Caller(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  const message = Buffer.alloc(44, 7);
  return {
    call: () =>
      new Promise((resolve, reject) => client.echo(message, (error) => (error ? reject(error) : resolve()))),
    close: () => client.close(),
  };
}

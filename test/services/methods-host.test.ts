/** methods by the name of a host: through rpcbind, with threads, as a user of the package would. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RpcbindError } from '../../rpcbind/index.js';
import { type Calculator, clientOf, closeMethods, DIVISION_BY_ZERO, methods } from '../../services/index.js';
import { type Running, startCommand } from '../support/command.js';
import { freePort } from '../support/ports.js';

interface Served extends Calculator {
  countPrimes(n: number): number;
}

let rpcbindPort: number;
const running: Running[] = [];

beforeAll(async () => {
  rpcbindPort = await freePort();
  const port = ['--port', String(rpcbindPort)];
  running.push(await startCommand('rpcbind-ts', [...port, '--host', '127.0.0.1'], /\d/));
  running.unshift(await startCommand('rpcserve', [...port, '--host', '127.0.0.1', 'methods'], /published/));
}, 40_000);

afterAll(async () => {
  for (const one of running) await one.stop();
});

describe('methods(host)', () => {
  it('is the calculator of that host, with its types', async () => {
    const calc = await methods<Served>('127.0.0.1', { rpcbindPort });
    expect(await calc.add(2, 3)).toBe(5);
    expect(await calc.countPrimes(1_000)).toBe(168);
    await expect(calc.divide(1, 0)).rejects.toMatchObject({ code: DIVISION_BY_ZERO });
    const [product, fault] = await clientOf(calc).multicall([
      ['multiply', 6, 7],
      ['divide', 1, 0],
    ]);
    expect(product).toBe(42);
    expect(fault).toMatchObject({ name: 'MethodFault', message: 'division by zero' });
    expect(await clientOf(calc).signature('countPrimes')).toBe('(n: number) => number');
    await closeMethods(calc);
    await expect(calc.add(1, 1)).rejects.toMatchObject({ code: 'RPC_CLOSED' });
  });

  it('says so where the program is not registered', async () => {
    await expect(methods('127.0.0.1', { rpcbindPort, program: 0x3fff_ffff })).rejects.toThrow(RpcbindError);
  });
});

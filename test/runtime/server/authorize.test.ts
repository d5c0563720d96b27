/** `authorize` of a server: who may call what. */

import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { AuthError, connectLoopback, createClient } from '../../../runtime/index.js';
import { auth_stat, Dispatcher } from '../../../runtime/protocol.js';
import { add, echoService } from '../../support/echo.js';
import { ToyServerSecurity, toyClientSecurity } from '../../support/toysecurity.js';

const key = randomBytes(32);

describe('authorize', () => {
  it('is asked once it is known who calls, before the arguments are decoded', async () => {
    const asked: unknown[] = [];
    const dispatcher = new Dispatcher({
      security: [new ToyServerSecurity(key)],
      authorize: ({ procedure, credentials }) => {
        asked.push([procedure, credentials.flavor]);
        if (credentials.flavor !== 'other') throw new AuthError(auth_stat.AUTH_TOOWEAK);
      },
    });
    dispatcher.add(echoService());
    const plain = createClient(connectLoopback(dispatcher));
    await expect(plain.call(add, { a: 1, b: 2 })).rejects.toMatchObject({
      refusal: { denied: 'AUTH_ERROR', why: auth_stat.AUTH_TOOWEAK },
    });
    const known = createClient(connectLoopback(dispatcher), { security: toyClientSecurity(key) });
    expect(await known.call(add, { a: 1, b: 2 })).toBe(3);
    expect(asked).toEqual([
      [add.number, 'none'],
      [add.number, 'other'],
    ]);
  });
});

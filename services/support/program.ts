/**
 * The number of a program is an option: these put a service, or the calls of a client, under another
 * one than its `.x` says.
 */

import type { Caller, CallOptions, Procedure, Service } from '../../runtime/index.js';

/** The same service under `program`; as it is where none is given. */
export function servedAs(service: Service, program: number | undefined): Service {
  if (program === undefined || program === service.program) return service;
  return {
    ...service,
    program,
    procedures: service.procedures.map((served) => ({
      ...served,
      procedure: { ...served.procedure, program },
      handle: (args, context) => served.handle(args, context),
    })),
  };
}

/** The same caller with every call going to `program`; as it is where none is given. */
export function callingProgram(caller: Caller, program: number | undefined): Caller {
  if (program === undefined) return caller;
  return {
    call: <A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions): Promise<R> =>
      caller.call({ ...procedure, program }, args, options),
  };
}

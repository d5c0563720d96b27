/** The programs of a server, by number, version and procedure, with the counters of each procedure. */

import { compose, type InterceptedCall, type Interceptor } from '../protocol/interceptor.js';
import type { CallContext, Procedure, ServedProcedure, Service } from '../protocol/procedure.js';
import { Counters, type ProcedureStats, procedureStats } from '../telemetry/metrics.js';

/** A program that is served. */
export interface Program {
  readonly versions: Map<number, Version>;
  low: number;
  high: number;
}

/** One version of a program. */
export interface Version {
  readonly service: Service;
  readonly procedures: Map<number, MethodEntry>;
}

/** A procedure with its counters. */
export interface MethodEntry {
  readonly procedure: Procedure;
  readonly isIdempotent: boolean;
  readonly handle: (args: never, context: CallContext) => unknown;
  readonly counters: Counters;
}

/** See the head of this file. */
export class ProgramTable {
  private readonly programs = new Map<number, Program>();
  private readonly interceptors: readonly Interceptor[];

  constructor(interceptors: readonly Interceptor[]) {
    this.interceptors = interceptors;
  }

  /** Every service, in the order they were added. */
  get services(): readonly Service[] {
    return [...this.programs.values()].flatMap((program) =>
      [...program.versions.values()].map(({ service }) => service),
    );
  }

  get(program: number): Program | undefined {
    return this.programs.get(program);
  }

  /** Of each procedure that was called. */
  stats(): ProcedureStats[] {
    const all: ProcedureStats[] = [];
    for (const { versions } of this.programs.values())
      for (const { procedures } of versions.values())
        for (const { procedure, counters } of procedures.values()) {
          if (counters.calls > 0) all.push(procedureStats(procedure, counters));
        }
    return all;
  }

  /** Adds one version of a program. Throws RangeError where it is served already, or two procedures share a number. */
  add(service: Service): void {
    const program = this.programs.get(service.program) ?? {
      versions: new Map<number, Version>(),
      low: service.version,
      high: service.version,
    };
    const name = `${service.name} (program ${service.program}) version ${service.version}`;
    if (program.versions.has(service.version)) throw new RangeError(`${name} is served already`);
    const procedures = new Map<number, MethodEntry>();
    for (const served of service.procedures) {
      const { number } = served.procedure;
      if (procedures.has(number)) throw new RangeError(`${name} has two procedures of number ${number}`);
      procedures.set(number, this.entryOf(served));
    }
    program.versions.set(service.version, { service, procedures });
    program.low = Math.min(program.low, service.version);
    program.high = Math.max(program.high, service.version);
    this.programs.set(service.program, program);
  }

  /** Takes a service out again. */
  remove(service: Service): void {
    const program = this.programs.get(service.program);
    if (program?.versions.get(service.version)?.service !== service) return;
    program.versions.delete(service.version);
    if (program.versions.size === 0) this.programs.delete(service.program);
    const versions = [...program.versions.keys()];
    program.low = Math.min(...versions);
    program.high = Math.max(...versions);
  }

  private entryOf(served: ServedProcedure): MethodEntry {
    const { procedure } = served;
    const run = compose(this.interceptors, (call: InterceptedCall) =>
      served.handle(call.args, call.context as CallContext),
    );
    return {
      procedure,
      // Procedure 0 does nothing, however often (RFC 5531 section 12.1).
      isIdempotent: procedure.idempotent === true || procedure.number === 0,
      handle:
        this.interceptors.length === 0
          ? (args, context) => served.handle(args, context)
          : (args, context) => run(serverCall(procedure, args, context)),
      counters: new Counters(),
    };
  }
}

/** A call as the server's interceptors see it. */
function serverCall(procedure: Procedure, args: unknown, context: CallContext): InterceptedCall {
  const { transport, localAddress, localPort } = context.peer;
  const target =
    localPort === 0 ? `${transport} ${localAddress}` : `${transport} ${localAddress}:${localPort}`;
  return { side: 'server', procedure, args, context, xid: context.xid, target };
}

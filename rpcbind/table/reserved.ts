/**
 * Who may register which programs and ports. Clients trust what is registered under the numbers of system programs: a
 * user who registers MOUNT or the status monitor while it is not running would receive what is meant for it. So these
 * numbers, and ports on which only privileged users can listen, are for privileged users: root, the user who started
 * the daemon, and for single programs users that a list names.
 */

import { SUPERUSER, UNKNOWN } from '../registration.js';

/** Only privileged users can listen on ports below. */
export const FIRST_UNRESERVED_PORT = 1024;
/** Maximum number of rules beside {@link RESERVED_PROGRAMS}. */
export const MAX_PROGRAM_RULES = 1_024;
const LAST_PROGRAM = 0xffff_ffff;

/** Who may register the programs `first` to `last`, beside root and the user who started the daemon. */
export interface ProgramRule {
  readonly first: number;
  readonly last: number;
  /** Users by uid; `all` for everybody. */
  readonly users: readonly number[] | 'all';
}

const privilegedOnly = (first: number, last = first): ProgramRule => ({ first, last, users: [] });

/** Programs of the system, by the numbers that IANA assigns and /etc/rpc lists. */
export const RESERVED_PROGRAMS: readonly ProgramRule[] = [
  // rpcbind, rstat, rusers, NFS, YP, MOUNT, rquota, NLM, status, keyserv, autofs and so on.
  privilegedOnly(100000, 100099),
  // nsm_addrand, by which one status monitor tells another of a restart.
  privilegedOnly(100133),
  // NFS ACLs.
  privilegedOnly(100227),
  // gssd, which has the keys of RPCSEC_GSS.
  privilegedOnly(100234),
  // NIS+: nisd, nis_cachemgr, its callbacks, nispasswd.
  privilegedOnly(100300, 100303),
  // pcnfsd, which receives passwords.
  privilegedOnly(150001),
  // amd, which mounts.
  privilegedOnly(300019),
  // ugidd, which maps users.
  privilegedOnly(545580417),
  // fypxfrd, which transfers maps of YP.
  privilegedOnly(600100069),
];

/** See {@link ReservedPrograms}. */
export interface ReservationOptions {
  /**
   * Rules beside {@link RESERVED_PROGRAMS}, at most {@link MAX_PROGRAM_RULES}. The last rule for a program applies; a rule
   * for all programs (0 to 2^32-1) applies to those that no other rule names. Default: none.
   */
  readonly programs?: readonly ProgramRule[] | undefined;
  /** Users who may register every program, by uid, beside root. Default: the user of this process. */
  readonly privilegedUids?: readonly number[] | undefined;
}

/** The rules of one daemon. */
export class ReservedPrograms {
  private readonly rules: readonly ProgramRule[];
  private readonly privileged: ReadonlySet<string>;

  /** Throws RangeError for a rule that is not valid, and for too many rules. */
  constructor({ programs = [], privilegedUids = ownUid() }: ReservationOptions) {
    if (programs.length > MAX_PROGRAM_RULES)
      throw new RangeError(`${programs.length} rules for programs; at most ${MAX_PROGRAM_RULES} are allowed`);
    for (const { first, last } of programs)
      if (
        !(
          Number.isInteger(first) &&
          Number.isInteger(last) &&
          0 <= first &&
          last <= LAST_PROGRAM &&
          first <= last
        )
      )
        throw new RangeError(`${first}-${last} is not a range of programs`);
    const isForAll = ({ first, last }: ProgramRule): boolean => first === 0 && last === LAST_PROGRAM;
    this.rules = [
      ...programs.filter(isForAll),
      ...RESERVED_PROGRAMS,
      ...programs.filter((rule) => !isForAll(rule)),
    ].reverse();
    this.privileged = new Set([SUPERUSER, ...privilegedUids.map(String)]);
  }

  /**
   * Why `owner` may not register a program with a port; undefined if it may. A caller that could not be identified is
   * never privileged and never named by a rule. Port 0 stands for an address without a port.
   */
  refusalOf(owner: string, program: number, port: number): string | undefined {
    if (owner !== UNKNOWN && this.privileged.has(owner)) return undefined;
    const users = this.rules.find(({ first, last }) => first <= program && program <= last)?.users ?? 'all';
    const isNamed = users !== 'all' && users.some((uid) => String(uid) === owner);
    if (users !== 'all' && !isNamed) return `the program is reserved for other users than ${owner}`;
    if (!isNamed && port > 0 && port < FIRST_UNRESERVED_PORT)
      return `ports below ${FIRST_UNRESERVED_PORT} are reserved for other users than ${owner}`;
    return undefined;
  }
}

function ownUid(): readonly number[] {
  const uid = process.getuid?.();
  return uid === undefined ? [] : [uid];
}

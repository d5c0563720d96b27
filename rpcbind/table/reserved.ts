/**
 * Which programs and ports may be registered by whom. Clients trust what they find under the numbers of
 * the system: a user who registers MOUNT or the status monitor while it is not running is sent what was
 * meant for it. So these numbers, and ports that only the privileged can listen on, are for the privileged:
 * root, the user who started the daemon, and for single programs users that a list names.
 */

import { SUPERUSER, UNKNOWN } from './registry.js';

/** Ports below are listened on by the privileged alone. */
export const FIRST_UNRESERVED_PORT = 1024;
/** Most rules that a daemon takes beside its own. */
export const MAX_PROGRAM_RULES = 1_024;
const LAST_PROGRAM = 0xffff_ffff;

/** Who may register the programs from `first` to `last`, beside root and the user who started the daemon. */
export interface ProgramRule {
  readonly first: number;
  readonly last: number;
  /** Users by uid; `all` for everybody. */
  readonly users: readonly number[] | 'all';
}

const privilegedOnly = (first: number, last = first): ProgramRule => ({ first, last, users: [] });

/** The system's own programs, by the numbers that IANA lists and hosts have in /etc/rpc. */
export const RESERVED_PROGRAMS: readonly ProgramRule[] = [
  // rpcbind, rstat, rusers, NFS, YP, MOUNT, rquota, NLM, status, keyserv, autofs and so on.
  privilegedOnly(100000, 100099),
  // nsm_addrand, by which one status monitor tells another of a restart.
  privilegedOnly(100133),
  // NFS ACLs.
  privilegedOnly(100227),
  // gssd, which holds the keys of RPCSEC_GSS.
  privilegedOnly(100234),
  // NIS+: nisd, nis_cachemgr, its callbacks, nispasswd.
  privilegedOnly(100300, 100303),
  // pcnfsd, which is sent passwords.
  privilegedOnly(150001),
  // amd, which mounts.
  privilegedOnly(300019),
  // ugidd, which maps users.
  privilegedOnly(545580417),
  // fypxfrd, which transfers maps of YP.
  privilegedOnly(600100069),
];

/** See {@link Reservations}. */
export interface ReservationOptions {
  /**
   * Rules beside {@link RESERVED_PROGRAMS}, at most {@link MAX_PROGRAM_RULES}. Of all rules for a program the
   * last one counts, and one for all programs counts where there is no other. Default: none.
   */
  readonly programs?: readonly ProgramRule[] | undefined;
  /** Users who may register every program, by uid, beside root. Default: the user of this process. */
  readonly privilegedUids?: readonly number[] | undefined;
}

/** The rules of one daemon. */
export class Reservations {
  private readonly rules: readonly ProgramRule[];
  private readonly privileged: ReadonlySet<string>;

  /** Throws RangeError where a rule is none, or where there are too many. */
  constructor({ programs = [], privilegedUids = ownUid() }: ReservationOptions) {
    if (programs.length > MAX_PROGRAM_RULES)
      throw new RangeError(`${programs.length} rules for programs, where ${MAX_PROGRAM_RULES} are taken`);
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
        throw new RangeError(`${first}-${last} is no range of programs`);
    const isForAll = ({ first, last }: ProgramRule): boolean => first === 0 && last === LAST_PROGRAM;
    this.rules = [
      ...programs.filter(isForAll),
      ...RESERVED_PROGRAMS,
      ...programs.filter((rule) => !isForAll(rule)),
    ].reverse();
    this.privileged = new Set([SUPERUSER, ...privilegedUids.map(String)]);
  }

  /**
   * Why `owner` may not register a program at a port, or undefined where it may. A caller who could not be
   * identified is nobody here. Port 0 stands for an address that has none.
   */
  refusalOf(owner: string, program: number, port: number): string | undefined {
    if (owner !== UNKNOWN && this.privileged.has(owner)) return undefined;
    const users = this.rules.find(({ first, last }) => first <= program && program <= last)?.users ?? 'all';
    const isNamed = users !== 'all' && users.some((uid) => String(uid) === owner);
    if (users !== 'all' && !isNamed) return `the program is reserved, and not for ${owner}`;
    if (!isNamed && port > 0 && port < FIRST_UNRESERVED_PORT)
      return `ports below ${FIRST_UNRESERVED_PORT} are reserved, and not for ${owner}`;
    return undefined;
  }
}

function ownUid(): readonly number[] {
  const uid = process.getuid?.();
  return uid === undefined ? [] : [uid];
}

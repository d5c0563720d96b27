/**
 * remotedir: the names in directories that are exported, the way rls asks for them. It knows which
 * error becomes which number; what is below a root is support/below.ts's.
 */

import type { CallContext, Service } from '../../runtime/index.js';
import { OutsideError, openDirectoryBelow, type Root, resolveRoots } from '../support/below.js';
import { DEFAULT_MAX_UDP_BYTES, limit, MAX_UDP_BYTES } from '../support/limits.js';
import { servedAs } from '../support/program.js';
import { createRemotedirProgV1, type dir_result } from './remotedir.gen.js';

/** See {@link createRemotedir}. */
export interface RemotedirOptions {
  /** The directories whose content may be listed, with all below them. At least one. */
  readonly roots: readonly string[];
  /** Most names of one answer; a larger directory is EOVERFLOW. Default {@link DEFAULT_MAX_ENTRIES}. */
  readonly maxEntries?: number;
  /** Most bytes of one answer over UDP; a larger one is EMSGSIZE. Default 8192, see {@link DEFAULT_MAX_UDP_BYTES}. */
  readonly maxUdpBytes?: number;
  /** Program number. Default 0x20000002. */
  readonly program?: number;
}

/** Default for the names of one answer. */
export const DEFAULT_MAX_ENTRIES = 10_000;

/** The numbers of errno.h on Linux, which are those of the wire wherever the server runs. */
export const errno = {
  ENOENT: 2,
  EIO: 5,
  EACCES: 13,
  ENOTDIR: 20,
  EMFILE: 24,
  ENAMETOOLONG: 36,
  ELOOP: 40,
  EOVERFLOW: 75,
  EMSGSIZE: 90,
} as const;

const TEXTS: Readonly<Record<number, string>> = {
  [errno.ENOENT]: 'no such directory',
  [errno.EIO]: 'it cannot be read',
  [errno.EACCES]: 'not exported, or no permission',
  [errno.ENOTDIR]: 'not a directory',
  [errno.EMFILE]: 'the server has too many files open',
  [errno.ENAMETOOLONG]: 'the path is too long',
  [errno.ELOOP]: 'links that lead in a circle',
  [errno.EOVERFLOW]: 'more names than the server sends',
  [errno.EMSGSIZE]: 'the answer is too long for UDP, ask over TCP',
};

/** What a status other than 0 means, in words. */
export function describeStatus(status: number): string {
  return TEXTS[status] ?? `error ${status}`;
}

/**
 * The service REMOTEDIR_PROG version 1. Rejects with the system's error where a root is not there, and
 * with RangeError for a bound out of range or no root at all.
 */
export async function createRemotedir(options: RemotedirOptions): Promise<Service> {
  if (options.roots.length === 0) throw new RangeError('remotedir needs at least one root to export');
  const maxEntries = limit('maxEntries', options.maxEntries, DEFAULT_MAX_ENTRIES, 1, 100_000);
  const maxUdpBytes = limit('maxUdpBytes', options.maxUdpBytes, DEFAULT_MAX_UDP_BYTES, 64, MAX_UDP_BYTES);
  const roots = await resolveRoots(options.roots);
  const service = createRemotedirProgV1({
    async dirReaddir(path: string, { peer }: CallContext): Promise<dir_result> {
      const names = await listNames(roots, path, maxEntries);
      if (typeof names === 'number') return { status: names };
      if (peer.transport === 'udp' && wireBytes(names) > maxUdpBytes)
        return { status: errno.EMSGSIZE as number };
      return { status: 0, names: names.map((name) => ({ name })) };
    },
  });
  return servedAs(service, options.program);
}

/** Names in the order of their bytes, or the number of the error. */
async function listNames(
  roots: readonly Root[],
  path: string,
  maxEntries: number,
): Promise<string[] | number> {
  const names: string[] = [];
  try {
    // Leaving the loop closes the directory.
    for await (const { name } of await openDirectoryBelow(roots, path)) {
      if (names.length === maxEntries) return errno.EOVERFLOW;
      names.push(name);
    }
  } catch (error) {
    return statusOf(error);
  }
  return names
    .map((name) => Buffer.from(name))
    .sort(Buffer.compare)
    .map(String);
}

function statusOf(error: unknown): Exclude<number, 0> {
  if (error instanceof OutsideError) return errno.EACCES;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'EPERM') return errno.EACCES;
  return Object.hasOwn(errno, code) ? errno[code as keyof typeof errno] : errno.EIO;
}

/** Bytes of the result: a bool and a padded string a name, status and end (RFC 4506 sections 4.11, 4.19). */
function wireBytes(names: readonly string[]): number {
  return names.reduce((sum, name) => sum + 8 + Math.ceil(Buffer.byteLength(name) / 4) * 4, 8);
}

/**
 * System calls that root makes before the daemon becomes an ordinary user, by the optional package koffi: a unix socket
 * that survives execve, and execve itself. Without koffi {@link openLibc} returns undefined.
 */

import { lstatSync } from 'node:fs';
import { createRequire } from 'node:module';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const F_SETFD = 2;
const ECONNREFUSED = 111;
/** Maximum number of connections that wait to be accepted; the system may allow fewer. */
const BACKLOG = 1_024;

type Call = (...args: readonly unknown[]) => number;

interface Koffi {
  load(name: null): { func(prototype: string): Call };
  errno(): number;
  os: { readonly errno: Readonly<Record<string, number>> };
}

/** The error of a failed system call, with the properties of Node's system errors. */
function failure(koffi: Koffi, syscall: string, address?: string): NodeJS.ErrnoException {
  const errno = koffi.errno();
  const code = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? `E${errno}`;
  return Object.assign(new Error(`${syscall} ${code}${address === undefined ? '' : ` ${address}`}`), {
    code,
    errno: -errno,
    syscall,
    address,
  });
}

/** The system calls; every method throws an error with the system's `code`. */
export class Libc {
  private readonly koffi: Koffi;
  private readonly libc: { func(prototype: string): Call };

  constructor(koffi: Koffi) {
    this.koffi = koffi;
    this.libc = koffi.load(null);
  }

  /**
   * A unix socket that listens at `path`, with `mode` from the start (by umask, not by chmod: the path could be replaced
   * between bind and chmod). The descriptor survives execve. `address` of the error is the path.
   */
  listenUnix(path: string, mode: number): number {
    const { libc } = this;
    const umask = libc.func('uint umask(uint)');
    const name = unixName(path);
    const fd = this.socket();
    const before = umask(0o777 & ~mode);
    const bound = libc.func('int bind(int, void *, uint)')(fd, name, name.length);
    const error = bound < 0 ? failure(this.koffi, 'bind', path) : undefined;
    umask(before);
    if (error === undefined && libc.func('int listen(int, int)')(fd, BACKLOG) === 0) return fd;
    const thrown = error ?? failure(this.koffi, 'listen', path);
    this.close(fd);
    throw thrown;
  }

  /**
   * Whether the path is a socket on which nobody listens. Files of other kinds must not be removed, but connect() to one
   * fails in the same way: so the kind is checked first, without following links.
   */
  isDeadSocket(path: string): boolean {
    if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return false;
    const fd = this.socket();
    const name = unixName(path);
    const isRefused =
      this.libc.func('int connect(int, void *, uint)')(fd, name, name.length) < 0 &&
      this.koffi.errno() === ECONNREFUSED;
    this.close(fd);
    return isRefused;
  }

  /** Keeps a descriptor open through execve: Node sets close-on-exec on all descriptors when it starts. */
  keepThroughExec(fd: number): void {
    if (this.libc.func('int fcntl(int, int, int)')(fd, F_SETFD, 0) < 0) throw failure(this.koffi, 'fcntl');
  }

  close(fd: number): void {
    this.libc.func('int close(int)')(fd);
  }

  /** Becomes another program in this process; never returns, but throws if that fails. */
  execve(file: string, args: readonly string[], environment: NodeJS.ProcessEnv): never {
    const variables = Object.entries(environment).flatMap(([key, value]) =>
      value === undefined ? [] : [`${key}=${value}`],
    );
    this.libc.func('int execve(const char *, const char **, const char **)')(
      file,
      [file, ...args, null],
      [...variables, null],
    );
    throw failure(this.koffi, `execve ${file}`);
  }

  private socket(): number {
    const fd = this.libc.func('int socket(int, int, int)')(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) throw failure(this.koffi, 'socket');
    return fd;
  }
}

/** struct sockaddr_un: the family, and the path with a NUL. The caller checks its length. */
function unixName(path: string): Buffer {
  return Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(`${path}\0`)]);
}

/** Undefined if koffi is not installed or disabled (`RPC_NATIVE=0`), and on other systems than Linux. */
export function openLibc(): Libc | undefined {
  if (process.platform !== 'linux' || process.env['RPC_NATIVE'] === '0') return undefined;
  try {
    return new Libc(createRequire(import.meta.url)('koffi') as Koffi);
  } catch {
    return undefined;
  }
}

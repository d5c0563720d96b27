/**
 * Tells that a descriptor can be read or written, without reading from it: every datagram is then
 * taken by recvmmsg, with the address it was sent to. Linux with koffi only; see native.ts.
 *
 * Node waits for UDP descriptors by itself only where it also reads them, without that address, and
 * opening one makes Node set SO_REUSEADDR on it, which lets any user bind beside it. So Node never sees
 * the socket. It is given a descriptor of an epoll instance that watches the socket:
 *
 *   1. an unbound UDP descriptor is opened through Node's dgram (its type is checked there);
 *   2. in the same turn, before Node's loop polls it, dup3(2) puts the epoll instance in its place;
 *   3. when the epoll instance is readable, Node's recvmsg fails with ENOTSOCK, takes nothing, and the
 *      dgram socket emits an error, which is the signal here.
 *
 * Where the object behind Node's socket is found, its callback is replaced by ours, so that no error is made
 * for each signal (5 us less); that is undocumented in Node, and without it everything works the same.
 *
 * The signal repeats in each turn of the loop while there is something to read.
 */

import { openSocket, type UdpSocket } from './datagram.js';
import type { Native } from './native.js';

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const EPOLLIN = 1;
const EPOLLOUT = 4;
const O_CLOEXEC = 0o2000000;
/** struct epoll_event: 12 bytes where it is packed (x86-64), else 16; the events come first in both. */
const EVENT_BYTES = 16;

/** Watches one descriptor, which stays its owner's. */
export class Readiness {
  private readonly fast: Native;
  private readonly fd: number;
  private readonly epoll: number;
  private readonly handle: UdpSocket;
  private events = 0;

  /** `onReady` is called in each turn of the loop in which `fd` can be read, or written where that is waited for. Throws the system's error. */
  constructor(fast: Native, fd: number, onReady: () => void) {
    this.fast = fast;
    this.fd = fd;
    this.epoll = fast.check('epoll_create1', fast.calls.epoll_create1(O_CLOEXEC));
    this.handle = openSocket(4);
    try {
      this.watch(EPOLLIN);
      this.open(onReady);
    } catch (error) {
      fast.calls.close(this.epoll);
      throw error;
    }
  }

  private open(onReady: () => void): void {
    const { fast } = this;
    const place = fast.openPlace();
    const { socket } = this.handle;
    let isOpen = false;
    // Node opens a descriptor before bind() returns.
    socket.once('listening', () => {
      isOpen = true;
    });
    const onSignal = (): void => {
      if (isOpen && this.events !== 0) onReady();
    };
    socket.on('error', onSignal);
    socket.bind({ fd: place, exclusive: true });
    if (!isOpen) {
      fast.calls.close(place);
      throw new Error('Node does not open UDP descriptors at once');
    }
    fast.check('dup3', fast.calls.dup3(this.epoll, place, O_CLOEXEC));
    replaceCallback(socket, onSignal);
  }

  /** Whether {@link onReady} is also called when the descriptor can be written. */
  waitForRoom(isWaiting: boolean): void {
    if (this.events !== 0) this.watch(isWaiting ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }

  /** Calls no more. */
  stop(): void {
    if (this.events !== 0) this.watch(0);
  }

  /** Stops and gives up what it opened; the descriptor watched stays open. */
  async close(): Promise<void> {
    this.stop();
    await this.handle.close();
    this.fast.calls.close(this.epoll);
  }

  private watch(events: number): void {
    if (events === this.events) return;
    const operation = this.events === 0 ? EPOLL_CTL_ADD : events === 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    const event = new Uint8Array(EVENT_BYTES);
    event[0] = events;
    this.fast.check('epoll_ctl', this.fast.calls.epoll_ctl(this.epoll, operation, this.fd, event));
    this.events = events;
  }
}

/** Makes Node call `onSignal` itself instead of making an error for the socket to emit, where it can be done. */
function replaceCallback(socket: object, onSignal: () => void): void {
  for (const symbol of Object.getOwnPropertySymbols(socket)) {
    const state: unknown = Reflect.get(socket, symbol);
    if (typeof state !== 'object' || state === null) continue;
    const handle: unknown = Reflect.get(state, 'handle');
    if (typeof handle !== 'object' || handle === null) continue;
    if (typeof Reflect.get(handle, 'onmessage') === 'function') Reflect.set(handle, 'onmessage', onSignal);
  }
}

/**
 * Which processes a run has started, and their end. A process group is ended by one signal; who has
 * left the group is known by a mark in the environment that it inherited. Only Linux (/proc) tells;
 * elsewhere the group is all there is.
 */

import { readdirSync, readFileSync } from 'node:fs';

/** Name of the variable of the environment by which a run's processes are known. */
export const MARK_VARIABLE = 'RPC_EXEC_RUN';

/** Rounds in which those who left the group are looked for: each may have started others meanwhile. */
const MAX_SWEEPS = 50;

/** Sends a signal to a process group; one that is gone already is no error. */
export function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch {
    // ESRCH: nobody is left. EPERM: all that is left changed its user, and is not ours to end.
  }
}

/** Ends a group and whoever left it with the mark still on; by SIGKILL, which cannot be ignored. */
export function endRun(group: number, mark: string): void {
  signalGroup(group, 'SIGKILL');
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
    const left = marked(mark);
    if (left.length === 0) return;
    for (const pid of left) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone between the look and the signal.
      }
    }
  }
}

/** How many processes a run has, those of its group and those with its mark. */
export function countRun(group: number, mark: string): number {
  let count = 0;
  for (const pid of pids()) if (groupOf(pid) === group || hasMark(pid, mark)) count += 1;
  return count;
}

/** The processes alive that carry the mark. */
function marked(mark: string): number[] {
  return pids().filter((pid) => hasMark(pid, mark) && stateOf(pid) !== 'Z');
}

function pids(): number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function hasMark(pid: number, mark: string): boolean {
  return read(pid, 'environ').includes(`${MARK_VARIABLE}=${mark}`);
}

/** Fields of /proc/PID/stat after the name, which may hold anything: state, parent, group. */
function fieldsOf(pid: number): string[] {
  const text = read(pid, 'stat');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function groupOf(pid: number): number {
  return Number(fieldsOf(pid)[2]);
}

function stateOf(pid: number): string {
  return fieldsOf(pid)[0] ?? '';
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    // Gone, or another user's.
    return '';
  }
}

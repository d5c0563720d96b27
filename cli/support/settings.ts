/** Settings of services as `--set KEY=VALUE` gives them, read as what they are to be. */

import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { UsageError } from './cli.js';

/** By key. */
export type ServiceSettings = Readonly<Record<string, string>>;

/** A whole number that was set, or undefined. Throws UsageError for anything else. */
export function numberSetting(settings: ServiceSettings, key: string): number | undefined {
  const text = settings[key];
  if (text === undefined) return undefined;
  if (!/^(0x[0-9a-f]{1,8}|\d{1,15})$/i.test(text))
    throw new UsageError(`--set ${key} takes a whole number, not ${text}`);
  return Number(text);
}

/** What has to be set. Throws UsageError that says how. */
export function needed(settings: ServiceSettings, key: string, service: string, what: string): string {
  const text = settings[key];
  if (text === undefined || text === '') throw new UsageError(`${service} needs ${what}: --set ${key}=...`);
  return text;
}

/** Values between commas. */
export function listOf(text: string): string[] {
  return text.split(',').filter((part) => part !== '');
}

/** Options of a service that are set, without the others. */
export function numbers<K extends string>(
  settings: ServiceSettings,
  keys: Readonly<Record<K, string>>,
): { [P in K]?: number } {
  const all: { [P in K]?: number } = {};
  for (const [option, key] of Object.entries(keys) as [K, string][]) {
    const value = numberSetting(settings, key);
    if (value !== undefined) all[option] = value;
  }
  return all;
}

/** `date,up=/usr/bin/uptime` as commands: a name alone is looked for in PATH. Throws UsageError where it is not there. */
export function commandsOf(text: string): Record<string, string> {
  const commands: Record<string, string> = {};
  for (const part of listOf(text)) {
    const [name = '', file] = part.split('=', 2);
    const found = file ?? inPath(name);
    if (name === '' || found === undefined || !path.isAbsolute(found))
      throw new UsageError(
        `no command ${part} was found: give its path, as in ${name || 'date'}=/usr/bin/${name || 'date'}`,
      );
    commands[name] = found;
  }
  return commands;
}

function inPath(name: string): string | undefined {
  if (name.includes('/')) return undefined;
  return (process.env['PATH'] ?? '')
    .split(':')
    .map((folder) => path.join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return path.isAbsolute(file);
      } catch {
        return false;
      }
    });
}

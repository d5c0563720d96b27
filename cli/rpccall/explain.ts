/** `rpccall decode --rpc`: captured bytes as the messages they are, with or without record marks. */

import { TransportError } from '../../runtime/index.js';
import { RecordParser } from '../../runtime/protocol.js';
import { CliError } from '../support/cli.js';
import { type Opened, openInterface, wellKnown } from './interface.js';
import { Dissecting } from './trace.js';

/** Most messages of one capture. */
export const MAX_MESSAGES = 10_000;

/** Every message in `bytes`, field by field. Without an interface the well-known ones are tried. Throws CliError. */
export function explainMessages(bytes: Uint8Array, opened: Opened | undefined): string {
  if (bytes.length === 0) throw new CliError('there are no bytes');
  const records = recordsOf(bytes);
  const dissecting = new Dissecting(
    opened === undefined ? [...wellKnown().keys()].map((name) => openInterface(name)) : [opened],
  );
  const parts = (records ?? [bytes]).map((message, i) => {
    const { lines } = dissecting.dissect(message);
    const title =
      records === undefined ? `${message.length} bytes` : `record ${i + 1}, ${message.length} bytes`;
    return [title, 'offset  size  bytes                                    field', ...lines].join('\n');
  });
  return parts.join('\n\n');
}

/**
 * The records of a stream, or undefined where the bytes are one bare message: a message has its
 * type, 0 or 1, in its second word, where a marked one has its xid.
 */
function recordsOf(bytes: Uint8Array): Uint8Array[] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 12 || view.getUint32(0) > 0x8000_0000 + bytes.length) return undefined;
  if (view.getUint32(4) <= 1 && view.getUint32(8) > 1) return undefined;
  const isMarked = view.getUint32(0) >= 0x8000_0000 && view.getUint32(8) <= 1;
  if (!isMarked) return undefined;
  const records: Uint8Array[] = [];
  try {
    new RecordParser({ maxRecordBytes: bytes.length }).push(bytes, (record) => {
      if (records.length < MAX_MESSAGES) records.push(record.slice());
    });
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
  }
  return records.length === 0 ? undefined : records;
}

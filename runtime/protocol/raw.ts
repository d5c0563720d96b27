/** Arguments and results that are passed on without being decoded. */

import type { Codec } from '../../xdr/index.js';

/** All bytes up to the end of the message, as they are. What is read is a copy. */
export const rawCodec: Codec<Uint8Array> = {
  minBytes: 0,
  encode: (writer, bytes) => writer.encoded(bytes),
  decode: (reader) => reader.rest().slice(),
};

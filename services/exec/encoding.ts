/**
 * The encodings in which a client may speak, by name. A list of its own stands between the wire and
 * the library, which takes names that are no encodings of text (hex, base64) or of nothing at all.
 */

import { importOptional } from '../../runtime/protocol.js';

const NAMES = new Set(
  (
    'utf-8 utf8 utf-16le utf-16be us-ascii ascii cp949 euc-kr ks_c_5601-1987 shift_jis sjis cp932 euc-jp gbk gb2312 ' +
    'gb18030 cp936 big5 big5-hkscs cp950 koi8-r koi8-u iso-8859-1 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 ' +
    'iso-8859-6 iso-8859-7 iso-8859-8 iso-8859-9 iso-8859-10 iso-8859-11 iso-8859-13 iso-8859-14 iso-8859-15 ' +
    'iso-8859-16 latin1 windows-874 windows-1250 windows-1251 windows-1252 windows-1253 windows-1254 windows-1255 ' +
    'windows-1256 windows-1257 windows-1258 cp437 cp850 cp852 cp866 macintosh tis-620'
  ).split(' '),
);

/** Both ways between one encoding and text. */
export interface TextEncoding {
  /** False for "raw": bytes that are not to be touched. */
  readonly isText: boolean;
  /** Text of bytes; what is none becomes U+FFFD. */
  decode(bytes: Uint8Array): string;
  /** Bytes of text; what the encoding cannot say becomes `?`. */
  encode(text: string): Uint8Array;
}

const UTF8: TextEncoding = {
  isText: true,
  decode: (bytes) => Buffer.from(bytes).toString(),
  encode: (text) => Buffer.from(text),
};
/** Arguments of a "raw" call are UTF-8. */
const RAW: TextEncoding = { ...UTF8, isText: false };

/**
 * The encoding of this name, in any case of letters, or undefined. All but "raw" and UTF-8 need iconv-lite; rejects with
 * MissingPackageError where that is not installed.
 */
export async function encodingOf(name: string): Promise<TextEncoding | undefined> {
  const lower = name.toLowerCase();
  if (lower === 'raw') return RAW;
  if (lower === 'utf-8' || lower === 'utf8') return UTF8;
  if (!NAMES.has(lower)) return undefined;
  const { default: iconv } = await importOptional(
    'iconv-lite',
    `the encoding ${lower}`,
    () => import('iconv-lite'),
  );
  return {
    isText: true,
    decode: (bytes) => iconv.decode(bytes, lower, { stripBOM: false }),
    encode: (text) => iconv.encode(text, lower),
  };
}

/** All names, for a message that says what there is. */
export function encodingNames(): string[] {
  return ['raw', ...NAMES];
}

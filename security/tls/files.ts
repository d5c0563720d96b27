/** Certificates and keys of one end: read from files, read again when they change, and told of before they expire. */

import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import tls from 'node:tls';

/** PEM files of one end. */
export interface TlsFiles {
  /** Authorities that the peer's certificate is verified against. Default: those of Node. */
  readonly ca?: string | undefined;
  /** Our certificate, followed by those between it and the authority. */
  readonly cert?: string | undefined;
  /** Its private key. */
  readonly key?: string | undefined;
  /** Default 'TLSv1.3', as RFC 9289 section 5 asks for. */
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined;
}

/** A certificate or key that cannot be used; the message names the file and what is wrong with it. */
export class TlsFileError extends Error {
  override readonly name = 'TlsFileError';
}

/** Most bytes of one file. */
export const MAX_PEM_BYTES = 1024 * 1024;
/** Milliseconds between two looks at whether the files have changed. */
export const FILE_CHECK_MS = 5_000;
/** How long before the certificate expires a warning is given: 14 days. */
export const EXPIRY_WARNING_MS = 14 * 24 * 3600 * 1000;

/** What is in use now. */
export interface TlsMaterial {
  readonly context: tls.SecureContext;
  /** Our own certificate. */
  readonly certificate: X509Certificate | undefined;
}

/** Reads the files. Throws TlsFileError. */
export function loadTls(files: TlsFiles): TlsMaterial {
  if ((files.cert === undefined) !== (files.key === undefined))
    throw new TlsFileError('a certificate and its key are given together, or neither');
  const [ca, cert, key] = [files.ca, files.cert, files.key].map((file) =>
    file === undefined ? undefined : readPem(file),
  );
  const certificate = cert === undefined ? undefined : parse(files.cert as string, cert);
  if (ca !== undefined) parse(files.ca as string, ca);
  try {
    const context = tls.createSecureContext({
      minVersion: files.minVersion ?? 'TLSv1.3',
      // Without it a session with a client's certificate cannot be taken up again.
      sessionIdContext: 'rpc',
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert, key }),
    });
    return { context, certificate };
  } catch (error) {
    throw new TlsFileError(`${files.cert} and ${files.key} do not fit together: ${reasonOf(error)}`);
  }
}

function readPem(file: string): Buffer {
  try {
    const { size } = statSync(file);
    if (size > MAX_PEM_BYTES) throw new Error(`it has ${size} bytes, and ${MAX_PEM_BYTES} are allowed`);
    return readFileSync(file);
  } catch (error) {
    throw new TlsFileError(`${file} cannot be read: ${reasonOf(error)}`);
  }
}

function parse(file: string, pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw new TlsFileError(`${file} holds no certificate: ${reasonOf(error)}`);
  }
}

/** Keeps the material up to date. What cannot be read leaves what there is in use, and is told. */
export class TlsReloader {
  private readonly files: TlsFiles;
  private readonly onWarning: (text: string) => void;
  private readonly timer: NodeJS.Timeout;
  private state: string;
  private material: TlsMaterial;
  private warnedOf: string | undefined;

  /** Throws TlsFileError where the files cannot be used at first. */
  constructor(files: TlsFiles, onWarning: (text: string) => void = () => undefined) {
    this.files = files;
    this.onWarning = onWarning;
    this.state = this.stateOfFiles();
    this.material = loadTls(files);
    this.timer = setInterval(() => this.check(), FILE_CHECK_MS).unref();
    this.warnOfExpiry();
  }

  get current(): TlsMaterial {
    return this.material;
  }

  /** When our own certificate expires, in milliseconds since 1970; undefined where there is none. */
  get expiresAt(): number | undefined {
    const { certificate } = this.material;
    return certificate === undefined ? undefined : Date.parse(certificate.validTo);
  }

  /** Reads the files now; connections that are open go on as they are. False where they cannot be used. */
  reload(): boolean {
    this.state = this.stateOfFiles();
    try {
      this.material = loadTls(this.files);
      this.warnOfExpiry();
      return true;
    } catch (error) {
      this.onWarning(`the certificates stay as they were: ${reasonOf(error)}`);
      return false;
    }
  }

  close(): void {
    clearInterval(this.timer);
  }

  private check(): void {
    if (this.stateOfFiles() !== this.state) this.reload();
    this.warnOfExpiry();
  }

  private stateOfFiles(): string {
    return [this.files.ca, this.files.cert, this.files.key]
      .map((file) => {
        try {
          if (file === undefined) return '';
          const { mtimeMs, size, ino } = statSync(file);
          return `${ino} ${size} ${mtimeMs}`;
        } catch {
          return 'not there';
        }
      })
      .join(', ');
  }

  private warnOfExpiry(): void {
    const { expiresAt } = this;
    if (expiresAt === undefined || expiresAt - Date.now() > EXPIRY_WARNING_MS) return;
    const text = `the certificate ${this.files.cert} ${expiresAt < Date.now() ? 'expired' : 'expires'} on ${new Date(expiresAt).toISOString()}`;
    if (text === this.warnedOf) return;
    this.warnedOf = text;
    this.onWarning(text);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

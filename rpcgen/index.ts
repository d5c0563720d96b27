/// <reference types="node" preserve="true" />
/** The compiler of the RPC language (RFC 4506, RFC 5531 section 12). The only door of this folder. */

export type * from './ast.js';
export type { CheckOptions } from './check.js';
export { check, compile, type ParseOptions, parse } from './compile.js';
export { type Change, diff, type Level } from './diff.js';
export {
  type LiveInterface,
  type LiveProcedure,
  type LiveProgram,
  type LiveVersion,
  live,
} from './dynamic.js';
export { type EmitOptions, emit } from './emit.js';
export { emitSamples, type SampleOptions } from './emit-samples.js';
export {
  type Diagnostic,
  formatDiagnostic,
  IdlError,
  type IdlErrorCode,
  type Missing,
  type Position,
  type Source,
  type Span,
} from './errors.js';
export {
  compileFiles,
  compileProject,
  type FileOptions,
  outputPath,
  type Project,
  type ProjectOptions,
  preprocessOptions,
  readSource,
  type SourceText,
  type Stub,
} from './files.js';
export { type LoadOptions, loadInterface } from './load.js';
export {
  type Annotations,
  type CodecOptions,
  type Interface,
  STRING_MODES,
  type StringMode,
} from './model.js';
export { declaration, print } from './print.js';
export { format } from './tools/format.js';
export { LINT_CODES, type LintCode, type LintWarning, lint } from './tools/lint.js';
export { checkPortable, type PortableOptions } from './tools/portable.js';

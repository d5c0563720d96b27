/// <reference types="node" preserve="true" />
/** The compiler of the RPC language (RFC 4506, RFC 5531 section 12). The public interface of this folder. */

export { check, compile, type ParseOptions, parse } from './compile.js';
export {
  type LiveInterface,
  type LiveProcedure,
  type LiveProgram,
  type LiveVersion,
  live,
} from './dynamic.js';
export { type EmitOptions, emit } from './emit/emit.js';
export { emitSamples, type SampleOptions } from './emit/samples.js';
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
  type Diagnostic,
  formatDiagnostic,
  IdlError,
  type IdlErrorCode,
  type Missing,
  type Position,
  type Source,
  type Span,
} from './model/errors.js';
export {
  type Annotations,
  type CodecOptions,
  type Interface,
  STRING_MODES,
  type StringMode,
} from './model/model.js';
export { declaration, print } from './model/print.js';
export type { CheckOptions } from './semantics/check.js';
export type * from './syntax/ast.js';
export { type Change, diff, type Level } from './tools/diff.js';
export { format } from './tools/format.js';
export { LINT_CODES, type LintCode, type LintWarning, lint } from './tools/lint.js';
export { checkPortable, type PortableOptions } from './tools/portable.js';

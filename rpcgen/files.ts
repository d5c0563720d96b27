/**
 * Reads `.x` files, their includes and imports, and compiles them. The only file of the compiler that uses the file
 * system. It writes nothing.
 */

import { isUtf8 } from 'node:buffer';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { Diagnostics, type Missing, type Source } from './model/errors.js';
import type { Interface } from './model/model.js';
import { checkModule } from './semantics/check.js';
import { StubValues, stubText } from './semantics/stubs.js';
import type { Module, PassedInclude } from './syntax/ast.js';
import { parseModule } from './syntax/parser.js';
import type { IncludeProblem, PreprocessOptions } from './syntax/preprocess.js';

/** Options of finding and reading files. */
export interface FileOptions {
  /** Macros, as by `#define`. */
  readonly defines?: Readonly<Record<string, string>> | undefined;
  /** Directories to search for `#include`, after the directory of the including file. */
  readonly includeDirs?: readonly string[] | undefined;
  /**
   * Definitions of names that a file uses but does not define: `other.x` (its generated module is in the same
   * directory), `other.x=MODULE`, `name,name=MODULE`, or `MODULE` for all remaining names.
   */
  readonly imports?: readonly string[] | undefined;
  /** The output file of an input. Import specifiers are relative to it. Default: in the directory of the input. */
  readonly outputOf?: ((path: string) => string) | undefined;
}

/** Makes {@link PreprocessOptions} that read includes from the file system. */
export function preprocessOptions(options: FileOptions): PreprocessOptions {
  const { defines, includeDirs = [] } = options;
  const include = (name: string, from: Source, system: boolean): Source | IncludeProblem | undefined => {
    const own = system ? [] : [dirname(from.name)];
    let problem: string | undefined;
    for (const dir of [...own, ...includeDirs]) {
      const path = join(dir, name);
      try {
        return { name: path, text: readText(path) };
      } catch (error) {
        if (!isAbsent(error)) problem ??= error instanceof Error ? error.message : String(error);
      }
    }
    return problem === undefined ? undefined : { problem };
  };
  return { include, defines };
}

/** The text of a file and its encoding, in which it is to be written back. */
export interface SourceText {
  readonly text: string;
  readonly encoding: 'utf8' | 'latin1';
}

/**
 * Reads a regular file. A text that is not UTF-8 is read as Latin-1, which older files use in comments. Throws an
 * `Error` for anything but a regular file (a pipe or a device might never end), and the error of the file system if
 * the file does not exist.
 */
export function readSource(path: string): SourceText {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory()) throw new Error(`${path} is a directory`);
  if (stat !== undefined && !stat.isFile()) throw new Error(`${path} is not a regular file`);
  const bytes = readFileSync(path);
  const encoding = isUtf8(bytes) ? 'utf8' : 'latin1';
  return { text: bytes.toString(encoding), encoding };
}

function readText(path: string): string {
  return readSource(path).text;
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** `dir/msg.x` is written to `dir/msg.gen.ts`. */
export function outputPath(path: string): string {
  return join(dirname(path), `${basename(path).replace(/\.(?:x|rpcl)$/, '')}.gen.ts`);
}

/** `dir/msg.gen.ts` has its stub in `dir/msg.missing.x`. */
export function stubPath(output: string): string {
  return join(dirname(output), `${basename(output).replace(/(?:\.gen)?\.ts$/, '')}.missing.x`);
}

/** Definitions guessed for names that an input uses and no file defines. */
export interface Stub {
  /** The `.x` to write them to, in the directory of the output. */
  readonly path: string;
  /** Its whole new text: the present one with the new definitions added. */
  readonly text: string;
  readonly model: Interface;
  /** The input that needs them. */
  readonly input: string;
  /** The names that were added. */
  readonly names: readonly string[];
}

/** The result of compiling several files. */
export interface Project {
  readonly models: readonly Interface[];
  /** Only with `stubMissing`. Each is to be written, with its generated module in the same directory. */
  readonly stubs: readonly Stub[];
}

/**
 * Compiles several files. Each may use types and constants of the others; the generated modules then import from each
 * other. Throws {@link IdlError} with the errors of all files, the error of the file system if a file cannot be read,
 * or an `Error` if it is not a regular file.
 */
export function compileFiles(paths: readonly string[], options: FileOptions = {}): Interface[] {
  return [...compileProject(paths, { ...options, stubMissing: false }).models];
}

/** The same. With `stubMissing`, names that no file defines get guessed definitions instead of errors. */
export function compileProject(paths: readonly string[], options: ProjectOptions = {}): Project {
  return new Compilation(options).run(paths);
}

/** Options of {@link compileProject}. */
export interface ProjectOptions extends FileOptions {
  /** Guess definitions of names that no file defines. Default false: they are errors. */
  readonly stubMissing?: boolean | undefined;
}

/** A parsed file, and the specifier of its generated module if that is not in the same directory. */
interface ParsedFile {
  readonly path: string;
  readonly module: Module;
  readonly specifier?: string | undefined;
  /** Whether it may use names of the inputs: it is an input, or includes the header of one. */
  readonly seesInputs?: boolean | undefined;
}

/** A stub can make more code checkable (cases of unions), in which more names may be missing: limit of repetitions. */
const MAX_STUB_ROUNDS = 8;
/** Maximum number of files that are read because `%#include` lines name them. */
export const MAX_HEADERS_READ = 200;

class Compilation {
  private readonly options: ProjectOptions;
  private readonly preprocessing: PreprocessOptions;
  private readonly outputOf: (path: string) => string;
  private readonly diagnostics = new Diagnostics();
  private readonly others: ParsedFile[] = [];
  private readonly externals: { specifier: string; names?: readonly string[] }[] = [];
  private readonly stubs: Stub[] = [];
  private readonly values = new StubValues();
  /** Files named by `%#include` lines, by absolute path; null for those that cannot be used. */
  private readonly headers = new Map<string, ParsedFile | null>();

  constructor(options: ProjectOptions) {
    this.options = options;
    this.preprocessing = preprocessOptions(options);
    this.outputOf = options.outputOf ?? outputPath;
  }

  run(paths: readonly string[]): Project {
    const inputs = paths.map((path) => ({ path, module: this.read(path), seesInputs: true }));
    for (const each of this.options.imports ?? []) {
      const [, left = '', right = ''] = /^([^=]*)=?(.*)$/.exec(each) ?? [];
      if (isInterface(left))
        this.others.push({
          path: left,
          module: this.read(left),
          specifier: right === '' ? undefined : right,
        });
      else
        this.externals.push(
          right === '' ? { specifier: left } : { specifier: right, names: left.split(',') },
        );
    }
    const models = inputs.map((input) => this.compile(input, inputs));
    this.diagnostics.throwIfAny();
    return { models, stubs: this.stubs };
  }

  private read(path: string): Module {
    return parseModule({ name: path, text: readText(path) }, this.diagnostics, this.preprocessing);
  }

  private compile(input: ParsedFile, inputs: readonly ParsedFile[]): Interface {
    const given = [...inputs.filter(({ module }) => module !== input.module), ...this.others];
    const result = this.checkOnce(input, given);
    // After a syntax error a name may seem to be missing although its definition is there.
    if (this.diagnostics.hasErrors || !result.isIncomplete) return this.finish(result);
    const known = [...given, ...this.headerFiles([input, ...given])];
    const complete = known.length === given.length ? result : this.checkOnce(input, known);
    if (this.options.stubMissing !== true || !complete.isIncomplete) return this.finish(complete);
    return this.finish(this.checkWithStub(input, known));
  }

  /** Checks `input` once. Its errors are kept apart: the check may be repeated with more files. */
  private checkOnce(input: ParsedFile, known: readonly ParsedFile[]): CheckResult {
    const from = dirname(resolve(this.outputOf(input.path)));
    const imports = known.map(({ path, module, specifier, seesInputs }) => ({
      module,
      seesInputs,
      specifier: specifier ?? specifierOf(from, this.outputOf(path)),
    }));
    const diagnostics = new Diagnostics();
    const model = checkModule(input.module, diagnostics, { imports, externals: this.externals });
    const { missing } = diagnostics;
    return { model, diagnostics, missing, isIncomplete: missing !== undefined && missing.length > 0 };
  }

  private finish({ model, diagnostics }: CheckResult): Interface {
    this.diagnostics.addAll(diagnostics);
    return model;
  }

  /** Checks `input` together with a stub that defines the missing names. */
  private checkWithStub(input: ParsedFile, known: readonly ParsedFile[]): CheckResult {
    const path = stubPath(this.outputOf(input.path));
    // The stub is an input or an import itself: nothing is added to it.
    if (known.some((each) => resolve(each.path) === resolve(path))) return this.checkOnce(input, known);
    const specifier = specifierOf(dirname(resolve(this.outputOf(input.path))), outputPath(path));
    let text = existsSync(path) ? readText(path) : '';
    const names: string[] = [];
    for (let round = 0; ; round++) {
      const module = parseModule({ name: path, text }, this.diagnostics, this.preprocessing);
      const stub: ParsedFile = { path, module, specifier };
      const result = this.checkOnce(input, [...known, stub]);
      if (!result.isIncomplete || round === MAX_STUB_ROUNDS || this.diagnostics.hasErrors) {
        const model = checkModule(module, this.diagnostics);
        this.others.push(stub);
        this.stubs.push({ path, text, model, input: input.path, names });
        return result;
      }
      // A name can be missing in several files; it is defined once.
      const missing = new Map((result.missing ?? []).map((each) => [each.name, each]));
      names.push(...[...missing.keys()].toSorted());
      text = stubText(text, [...missing.values()], this.values);
    }
  }

  /** The `.x` of the headers that `%#include` lines of `files` name, transitively. */
  private headerFiles(files: readonly ParsedFile[]): ParsedFile[] {
    const known = new Map(files.map((file) => [resolve(file.path), file]));
    const found = new Map<string, ParsedFile>();
    const open = [...files];
    for (let file = open.shift(); file !== undefined; file = open.shift())
      for (const header of file.module.passedIncludes) {
        const path = this.headerPath(header);
        const before = path === undefined ? undefined : known.get(resolve(path));
        const from = resolve(file.path);
        if (before?.seesInputs === true && found.has(from)) found.set(from, { ...file, seesInputs: true });
        if (path === undefined || before !== undefined || found.size === MAX_HEADERS_READ) continue;
        const parsed = this.parseHeader(path);
        if (parsed === null) continue;
        known.set(resolve(path), parsed);
        found.set(resolve(path), parsed);
        open.push(parsed);
      }
    return [...found.values()];
  }

  private headerPath({ name, span }: PassedInclude): string | undefined {
    if (!name.endsWith('.h')) return undefined;
    const file = name.replace(/\.h$/, '.x');
    const own = dirname(span.source.name);
    const candidates = [join(own, file), join(own, basename(file))];
    for (const dir of this.options.includeDirs ?? []) candidates.push(join(dir, file));
    return candidates.find((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
  }

  /** Parses a file that the user did not name. It is ignored if it has any error other than missing names. */
  private parseHeader(path: string): ParsedFile | null {
    const before = this.headers.get(resolve(path));
    if (before !== undefined) return before;
    const diagnostics = new Diagnostics();
    let parsed: ParsedFile | null = null;
    try {
      const module = parseModule({ name: path, text: readText(path) }, diagnostics, this.preprocessing);
      if (!diagnostics.hasErrors) checkModule(module, diagnostics);
      if (diagnostics.missing !== undefined) parsed = { path, module };
    } catch (error) {
      // The file cannot be read. Names that it may define are reported as missing.
      if (!(error instanceof Error && 'code' in error)) throw error;
    }
    this.headers.set(resolve(path), parsed);
    return parsed;
  }
}

interface CheckResult {
  readonly model: Interface;
  readonly diagnostics: Diagnostics;
  readonly missing: readonly Missing[] | undefined;
  /** Whether there are missing names and no other errors. */
  readonly isIncomplete: boolean;
}

/** Files of this language; some projects use `.rpcl`. */
function isInterface(path: string): boolean {
  return /\.(?:x|rpcl)$/.test(path);
}

/** The import specifier of the module in file `to` for a module in directory `from`. */
function specifierOf(from: string, to: string): string {
  const path = relative(from, resolve(to)).split(sep).join('/').replace(/\.ts$/, '.js');
  return path.startsWith('.') ? path : `./${path}`;
}

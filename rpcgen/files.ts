/**
 * The compiler's only touch with the file system: reading a `.x`, what it includes and what
 * it takes from others. It writes nothing.
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
import type { PreprocessOptions, Unreadable } from './syntax/preprocess.js';

/** How files are found and read. */
export interface FileOptions {
  /** Macros as if by `#define`. */
  readonly defines?: Readonly<Record<string, string>>;
  /** Directories to look for `#include` in, after the including file's own. */
  readonly includeDirs?: readonly string[];
  /**
   * Where names come from that a file does not define: `other.x` (its generated module stands
   * beside it), `other.x=MODULE`, `name,name=MODULE`, or `MODULE` for any name left.
   */
  readonly imports?: readonly string[];
  /** The file each input is written to, from which imported modules are named. Default: beside it. */
  readonly outputOf?: (path: string) => string;
}

/** Options of {@link PreprocessOptions} that look for includes in the file system. */
export function preprocessOptions(options: FileOptions): PreprocessOptions {
  const { defines, includeDirs = [] } = options;
  const include = (name: string, from: Source, system: boolean): Source | Unreadable | undefined => {
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
  return defines === undefined ? { include } : { include, defines };
}

/** The text of a file, and how its bytes say it: so it is written back. */
export interface SourceText {
  readonly text: string;
  readonly encoding: 'utf8' | 'latin1';
}

/**
 * The text of a regular file. Throws for anything else, of which a pipe might never end and a
 * device always has more, and the file system's own error where there is none. What is not UTF-8 is Latin-1, in which
 * older files have names in their comments.
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

/** Definitions that were guessed, for names that an input uses and no file defines. */
export interface Stub {
  /** The `.x` they go to, beside the output. */
  readonly path: string;
  /** All that it is to say: what it says already, and what is new. */
  readonly text: string;
  readonly model: Interface;
  /** The input that needs them. */
  readonly input: string;
  /** The names that are new in it. */
  readonly names: readonly string[];
}

/** What several files compile to. */
export interface Project {
  readonly models: readonly Interface[];
  /** With `stubMissing` alone; each is to be written, and its module beside it. */
  readonly stubs: readonly Stub[];
}

/**
 * The checked interfaces of several files. Each may use the types and constants of the others,
 * which then import from each other. Throws {@link IdlError} with the errors of all, or the
 * file system's own error where a file cannot be read, or an `Error` where it is no regular file.
 */
export function compileFiles(paths: readonly string[], options: FileOptions = {}): Interface[] {
  return [...compileProject(paths, { ...options, stubMissing: false }).models];
}

/** The same, and with `stubMissing` definitions for names that no file has, which then are no errors. */
export function compileProject(paths: readonly string[], options: ProjectOptions = {}): Project {
  return new Compilation(options).run(paths);
}

/** Options of {@link compileProject}. */
export interface ProjectOptions extends FileOptions {
  /** Whether names that no file defines are guessed. Default false: they are errors. */
  readonly stubMissing?: boolean;
}

/** A parsed file, and the module that its definitions are in where that is not the one beside it. */
interface Parsed {
  readonly path: string;
  readonly module: Module;
  readonly specifier?: string | undefined;
  /** Whether it may use names of the inputs: it is one itself, or includes the header of one. */
  readonly seesInputs?: boolean;
}

/** A stub makes unions of which the cases are looked at then: so often more names may turn out to be missing. */
const MAX_STUB_ROUNDS = 8;
/** So many files are read because `%#include` lines name them. */
export const MAX_HEADERS_READ = 200;

class Compilation {
  private readonly options: ProjectOptions;
  private readonly reading: PreprocessOptions;
  private readonly outputOf: (path: string) => string;
  private readonly diagnostics = new Diagnostics();
  private readonly others: Parsed[] = [];
  private readonly externals: { specifier: string; names?: readonly string[] }[] = [];
  private readonly stubs: Stub[] = [];
  private readonly values = new StubValues();
  /** Files that `%#include` lines lead to, by their full path; null for those that are no help. */
  private readonly headers = new Map<string, Parsed | null>();

  constructor(options: ProjectOptions) {
    this.options = options;
    this.reading = preprocessOptions(options);
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
    return parseModule({ name: path, text: readText(path) }, this.diagnostics, this.reading);
  }

  private compile(input: Parsed, inputs: readonly Parsed[]): Interface {
    const given = [...inputs.filter(({ module }) => module !== input.module), ...this.others];
    const result = this.attempt(input, given);
    // What did not parse is not missing.
    if (this.diagnostics.any || !result.isIncomplete) return this.settle(result);
    const known = [...given, ...this.headersOf([input, ...given])];
    const complete = known.length === given.length ? result : this.attempt(input, known);
    if (this.options.stubMissing !== true || !complete.isIncomplete) return this.settle(complete);
    return this.settle(this.stub(input, known));
  }

  /** One check of `input`, of which nothing counts yet. */
  private attempt(input: Parsed, known: readonly Parsed[]): Attempt {
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

  private settle({ model, diagnostics }: Attempt): Interface {
    this.diagnostics.addAll(diagnostics);
    return model;
  }

  /** The same with guesses for what is missing, in a stub of its own. */
  private stub(input: Parsed, known: readonly Parsed[]): Attempt {
    const path = stubPath(this.outputOf(input.path));
    // Where the stub is given as a file, it is that: what it lacks is missing.
    if (known.some((each) => resolve(each.path) === resolve(path))) return this.attempt(input, known);
    const specifier = specifierOf(dirname(resolve(this.outputOf(input.path))), outputPath(path));
    let text = existsSync(path) ? readText(path) : '';
    const names: string[] = [];
    for (let round = 0; ; round++) {
      const module = parseModule({ name: path, text }, this.diagnostics, this.reading);
      const stub: Parsed = { path, module, specifier };
      const result = this.attempt(input, [...known, stub]);
      if (!result.isIncomplete || round === MAX_STUB_ROUNDS || this.diagnostics.any) {
        const model = checkModule(module, this.diagnostics);
        this.others.push(stub);
        this.stubs.push({ path, text, model, input: input.path, names });
        return result;
      }
      // One name may be missing in several files.
      const missing = new Map((result.missing ?? []).map((each) => [each.name, each]));
      names.push(...[...missing.keys()].toSorted());
      text = stubText(text, [...missing.values()], this.values);
    }
  }

  /** The `.x` that lie where the `%#include` lines of `files` name a header, and those that their own lines name. */
  private headersOf(files: readonly Parsed[]): Parsed[] {
    const known = new Map(files.map((file) => [resolve(file.path), file]));
    const found = new Map<string, Parsed>();
    const open = [...files];
    for (let file = open.shift(); file !== undefined; file = open.shift())
      for (const header of file.module.passedIncludes) {
        const path = this.interfaceOf(header);
        const before = path === undefined ? undefined : known.get(resolve(path));
        const from = resolve(file.path);
        if (before?.seesInputs === true && found.has(from)) found.set(from, { ...file, seesInputs: true });
        if (path === undefined || before !== undefined || found.size === MAX_HEADERS_READ) continue;
        const parsed = this.header(path);
        if (parsed === null) continue;
        known.set(resolve(path), parsed);
        found.set(resolve(path), parsed);
        open.push(parsed);
      }
    return [...found.values()];
  }

  private interfaceOf({ name, span }: PassedInclude): string | undefined {
    if (!name.endsWith('.h')) return undefined;
    const file = name.replace(/\.h$/, '.x');
    const own = dirname(span.source.name);
    const candidates = [join(own, file), join(own, basename(file))];
    for (const dir of this.options.includeDirs ?? []) candidates.push(join(dir, file));
    return candidates.find((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
  }

  /** A file that was not asked for: where anything but a name is wrong with it, it is left alone. */
  private header(path: string): Parsed | null {
    const before = this.headers.get(resolve(path));
    if (before !== undefined) return before;
    const diagnostics = new Diagnostics();
    let parsed: Parsed | null = null;
    try {
      const module = parseModule({ name: path, text: readText(path) }, diagnostics, this.reading);
      if (!diagnostics.any) checkModule(module, diagnostics);
      if (diagnostics.missing !== undefined) parsed = { path, module };
    } catch (error) {
      // Not ours to read: the names it may have are told as missing.
      if (!(error instanceof Error && 'code' in error)) throw error;
    }
    this.headers.set(resolve(path), parsed);
    return parsed;
  }
}

interface Attempt {
  readonly model: Interface;
  readonly diagnostics: Diagnostics;
  readonly missing: readonly Missing[] | undefined;
  /** Whether names are missing, and nothing else is wrong. */
  readonly isIncomplete: boolean;
}

/** Files of this language; `.rpcl` is what some projects call them. */
function isInterface(path: string): boolean {
  return /\.(?:x|rpcl)$/.test(path);
}

/** How a module in directory `from` names the module in file `to`. */
function specifierOf(from: string, to: string): string {
  const path = relative(from, resolve(to)).split(sep).join('/').replace(/\.ts$/, '.js');
  return path.startsWith('.') ? path : `./${path}`;
}

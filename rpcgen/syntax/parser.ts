/**
 * Tokens of a `.x` into its tree. It knows the order of things, RFC 4506 section 6.3 and RFC 5531
 * section 12.2, and what real files add to it; it resolves no names and checks no meaning.
 * After an error it goes on behind the next `;` of the same level, so that one run finds many.
 */

import type { Diagnostics, Source } from '../model/errors.js';
import type { Annotations } from '../model/model.js';
import { readAnnotations } from './annotations.js';
import type {
  Declaration,
  Definition,
  Module,
  ProcedureNode,
  ProgramNode,
  Value,
  VersionNode,
} from './ast.js';
import { DeclarationParser } from './declarations.js';
import { type PreprocessOptions, preprocess } from './preprocess.js';
import { constantOf } from './scanner.js';

/** The tree of `source`. Errors go to `diagnostics`; what did parse is there all the same. */
export function parseModule(
  source: Source,
  diagnostics: Diagnostics,
  options: PreprocessOptions = {},
): Module {
  const { tokens, constants, heads, strays, passedDefines, passedIncludes } = preprocess(
    source,
    diagnostics,
    options,
  );
  const parser = new Parser(tokens, diagnostics);
  const defined = constants.map(({ name, token, negative }): Definition => {
    const value = constantOf(token);
    return {
      kind: 'const',
      name,
      span: token.span,
      value: {
        kind: 'number',
        value: negative ? -value : value,
        text: `${negative ? '-' : ''}${token.text}`,
        span: token.span,
      },
    };
  });
  const definitions = [...defined, ...parser.run()];
  const said = new Map<Source, Annotations>();
  for (const { source: of, comments } of heads) said.set(of, readAnnotations(comments, 'file', diagnostics));
  // In what did not parse, nobody knows what a comment belongs to.
  if (!diagnostics.any) {
    const isHead = new Set(heads.flatMap(({ comments }) => comments));
    const left = parser.unread().filter((comment) => !isHead.has(comment));
    readAnnotations([...strays, ...left], undefined, diagnostics);
  }
  const { broken } = parser;
  return { name: source.name, definitions, broken, heads: said, passedDefines, passedIncludes };
}

class Parser extends DeclarationParser {
  private readonly definitions: Definition[] = [];

  run(): Definition[] {
    while (this.peek().kind !== 'end') this.item();
    return this.definitions;
  }

  /** One definition, or a namespace of them. */
  private item(): void {
    const start = this.at;
    if (this.peek().text === 'namespace') {
      this.recover(start, () => this.namespace());
      return;
    }
    if (this.takeIf(';')) return;
    this.recover(start, () => {
      this.definitions.push(this.definition());
    });
  }

  private namespace(): void {
    this.at += 1;
    this.name('a name for the namespace');
    while (this.takeIf('::')) this.name('a name');
    this.take('{');
    this.nest(() => {
      while (this.peek().text !== '}' && this.peek().kind !== 'end') this.item();
    });
    this.take('}');
    this.takeIf(';');
  }

  private definition(): Definition {
    const token = this.peek();
    switch (token.text) {
      case 'const':
        return this.constant();
      case 'typedef':
        return this.typedef();
      case 'program':
        return this.program();
      case 'struct':
      case 'union':
      case 'enum':
        return this.typeDefinition();
      default:
        return this.fail(token, "expected 'const', 'typedef', 'enum', 'struct', 'union' or 'program'");
    }
  }

  private constant(): Definition {
    const start = this.at;
    this.at += 1;
    const name = this.name('a name for the constant');
    this.take('=');
    const string = this.peek();
    if (string.kind === 'string') {
      this.at += 1;
      this.take(';');
      return {
        kind: 'text',
        name: name.text,
        text: unquote(string.text),
        span: name.span,
        ...this.doc(start, 'const'),
      };
    }
    const value = this.value();
    this.take(';');
    return { kind: 'const', name: name.text, value, span: name.span, ...this.doc(start, 'const') };
  }

  private typedef(): Definition {
    const start = this.at;
    this.at += 1;
    const declaration = this.declaration();
    this.take(';');
    return { kind: 'typedef', declaration, span: declaration.span, ...this.about(start, 'typedef') };
  }

  private typeDefinition(): Definition {
    const start = this.at;
    const word = this.next();
    const name = this.name(`a name for the ${word.text}`);
    const body = this.body(word, name);
    // RFC 5531 section 9 ends its reply_body so: `union reply_body switch (...) { ... } reply;`.
    if (word.text === 'union' && this.isName()) this.at += 1;
    this.take(';');
    return { kind: 'type', name: name.text, body, span: name.span, ...this.doc(start, 'type') };
  }

  private program(): ProgramNode {
    const start = this.at;
    this.at += 1;
    const name = this.name('a name for the program');
    const versions: VersionNode[] = [];
    this.braces(() => {
      versions.push(this.version());
    });
    const number = this.numbered();
    return {
      kind: 'program',
      name: name.text,
      number,
      versions,
      span: name.span,
      ...this.about(start, 'program'),
    };
  }

  private version(): VersionNode {
    const start = this.at;
    if (this.peek().text !== 'version') this.fail(this.peek(), "expected 'version'");
    this.at += 1;
    const name = this.name('a name for the version');
    const procedures: ProcedureNode[] = [];
    this.braces(() => {
      procedures.push(this.procedure());
    });
    const number = this.numbered();
    return { name: name.text, number, procedures, span: name.span, ...this.about(start, 'version') };
  }

  private procedure(): ProcedureNode {
    const start = this.at;
    const result = this.parameter(false);
    const name = this.name('a name for the procedure');
    this.take('(');
    const args: Declaration[] = [];
    if (this.peek().text !== ')') {
      do {
        const before = this.peek();
        const arg = this.parameter(true);
        if (arg !== null) args.push(arg);
        else if (args.length > 0 || this.peek().text === ',') this.note(before, 'void stands alone');
      } while (this.takeIf(','));
    }
    this.take(')', "',' or ')'");
    const number = this.numbered();
    return { name: name.text, number, args, result, span: name.span, ...this.about(start, 'procedure') };
  }

  private numbered(): Value {
    this.take('=');
    const value = this.value();
    this.take(';');
    return value;
  }
}

function unquote(text: string): string {
  return text.slice(1, -1).replaceAll(/\\(.)/g, '$1');
}

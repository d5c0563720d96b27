/**
 * Parses a `.x` to its syntax tree: the grammar of RFC 4506 section 6.3 and RFC 5531 section 12.2, with the extensions
 * that real files use. Names are not resolved. After a syntax error, parsing continues after the next `;` of the same
 * level, so that several errors are found in one run.
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

/** Parses `source`. Errors are added to `diagnostics`; the tree has the definitions without syntax errors. */
export function parseModule(
  source: Source,
  diagnostics: Diagnostics,
  options: PreprocessOptions = {},
): Module {
  const { tokens, constants, headComments, detachedComments, passedDefines, passedIncludes } = preprocess(
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
  const fileAnnotations = new Map<Source, Annotations>();
  for (const { source: of, comments } of headComments)
    fileAnnotations.set(of, readAnnotations(comments, 'file', diagnostics));
  // After a syntax error, comments cannot be attributed to declarations.
  if (!diagnostics.hasErrors) {
    const isHead = new Set(headComments.flatMap(({ comments }) => comments));
    const left = parser.unreadAnnotations().filter((comment) => !isHead.has(comment));
    readAnnotations([...detachedComments, ...left], undefined, diagnostics);
  }
  const { unparsedNames } = parser;
  return { name: source.name, definitions, unparsedNames, fileAnnotations, passedDefines, passedIncludes };
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
    if (this.accept(';')) return;
    this.recover(start, () => {
      this.definitions.push(this.definition());
    });
  }

  private namespace(): void {
    this.at += 1;
    this.name('a name for the namespace');
    while (this.accept('::')) this.name('a name');
    this.expect('{');
    this.nest(() => {
      while (this.peek().text !== '}' && this.peek().kind !== 'end') this.item();
    });
    this.expect('}');
    this.accept(';');
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
    this.expect('=');
    const string = this.peek();
    if (string.kind === 'string') {
      this.at += 1;
      this.expect(';');
      return {
        kind: 'text',
        name: name.text,
        text: unquote(string.text),
        span: name.span,
        ...this.doc(start, 'const'),
      };
    }
    const value = this.value();
    this.expect(';');
    return { kind: 'const', name: name.text, value, span: name.span, ...this.doc(start, 'const') };
  }

  private typedef(): Definition {
    const start = this.at;
    this.at += 1;
    const declaration = this.declaration();
    this.expect(';');
    return {
      kind: 'typedef',
      declaration,
      span: declaration.span,
      ...this.docAndAnnotations(start, 'typedef'),
    };
  }

  private typeDefinition(): Definition {
    const start = this.at;
    const word = this.next();
    const name = this.name(`a name for the ${word.text}`);
    const body = this.body(word, name);
    // RFC 5531 section 9 has a name after the body: `union reply_body switch (...) { ... } reply;`.
    if (word.text === 'union' && this.isName()) this.at += 1;
    this.expect(';');
    return { kind: 'type', name: name.text, body, span: name.span, ...this.doc(start, 'type') };
  }

  private program(): ProgramNode {
    const start = this.at;
    this.at += 1;
    const name = this.name('a name for the program');
    const versions: VersionNode[] = [];
    this.block(() => {
      versions.push(this.version());
    });
    const number = this.numbered();
    return {
      kind: 'program',
      name: name.text,
      number,
      versions,
      span: name.span,
      ...this.docAndAnnotations(start, 'program'),
    };
  }

  private version(): VersionNode {
    const start = this.at;
    if (this.peek().text !== 'version') this.fail(this.peek(), "expected 'version'");
    this.at += 1;
    const name = this.name('a name for the version');
    const procedures: ProcedureNode[] = [];
    this.block(() => {
      procedures.push(this.procedure());
    });
    const number = this.numbered();
    return {
      name: name.text,
      number,
      procedures,
      span: name.span,
      ...this.docAndAnnotations(start, 'version'),
    };
  }

  private procedure(): ProcedureNode {
    const start = this.at;
    const result = this.parameter(false);
    const name = this.name('a name for the procedure');
    this.expect('(');
    const args: Declaration[] = [];
    if (this.peek().text !== ')') {
      do {
        const before = this.peek();
        const arg = this.parameter(true);
        if (arg !== null) args.push(arg);
        else if (args.length > 0 || this.peek().text === ',')
          this.report(before, 'void must be the only argument');
      } while (this.accept(','));
    }
    this.expect(')', "',' or ')'");
    const number = this.numbered();
    return {
      name: name.text,
      number,
      args,
      result,
      span: name.span,
      ...this.docAndAnnotations(start, 'procedure'),
    };
  }

  private numbered(): Value {
    this.expect('=');
    const value = this.value();
    this.expect(';');
    return value;
  }
}

function unquote(text: string): string {
  return text.slice(1, -1).replaceAll(/\\(.)/g, '$1');
}

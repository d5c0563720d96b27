/** Collects the names that one file defines and reports duplicates. Lookup is in symbols.ts. */

import type { Diagnostics, Missing, Span } from '../model/errors.js';
import type { Annotations, TypeOrigin } from '../model/model.js';
import type {
  Declaration,
  Definition,
  EnumBody,
  Member,
  Module,
  PassedDefine,
  PassedInclude,
  StructBody,
  TypeNode,
  UnionBody,
  Value,
} from '../syntax/ast.js';

/** A module and the origin of its definitions. */
export interface CompilationUnit {
  readonly module: Module;
  readonly origin: TypeOrigin;
  /** Whether it may use the names of the compiled module, and of others that may. */
  readonly seesInputs: boolean;
}

export type TypeBody = StructBody | UnionBody | EnumBody;

/** A typedef without its documentation. */
export interface Typedef {
  readonly kind: 'typedef';
  readonly declaration: Declaration;
  readonly annotations: Annotations;
}

/** A type definition before it is resolved. */
export interface TypeEntry {
  readonly name: string;
  readonly span: Span;
  readonly doc: string | undefined;
  readonly origin: TypeOrigin;
  /** The scope in which its names are looked up. */
  readonly scope: Scope;
  readonly node: Typedef | TypeBody;
}

export type EnumEntry = TypeEntry & { readonly node: EnumBody };

export type ConstantEntry =
  | {
      readonly kind: 'const';
      readonly definition: Definition & { kind: 'const' | 'text' };
      readonly scope: Scope;
    }
  | {
      readonly kind: 'member';
      readonly member: Member;
      readonly enumeration: EnumEntry;
      readonly index: number;
    };

/** The names that one file defines. */
export interface Scope {
  /** The file name, for messages. */
  readonly file: string;
  readonly origin: TypeOrigin;
  readonly types: Map<string, TypeEntry>;
  /** Members of several enums may have the same name: the output has a scope for each enum. */
  readonly constants: Map<string, ConstantEntry[]>;
  /** Numbers of programs, versions and procedures: in C they are constants, and real files use them as such. */
  readonly numbers: Map<string, Value>;
  /** Names inside definitions with syntax errors: they are not reported as missing. */
  readonly unparsedNames: ReadonlySet<string>;
  readonly seesInputs: boolean;
  /** The file annotations of its texts. */
  readonly fileAnnotations: Module['fileAnnotations'];
  /** Its `%#define` lines, for names that are not defined in the language itself. */
  readonly passed: ReadonlyMap<string, readonly PassedDefine[]>;
  /** Its `%#include` lines. */
  readonly headers: readonly PassedInclude[];
  /** Names that were reported as missing. */
  readonly missing: Map<string, Missing>;
}

/** The scope of a module. The names given to anonymous bodies are added to `hoisted`. */
export function scopeOf(
  unit: CompilationUnit,
  hoisted: Map<TypeBody, string>,
  diagnostics: Diagnostics,
): Scope {
  return new ScopeBuilder(unit, hoisted, diagnostics).run();
}

class ScopeBuilder {
  private readonly unit: CompilationUnit;
  private readonly hoisted: Map<TypeBody, string>;
  private readonly diagnostics: Diagnostics;

  constructor(unit: CompilationUnit, hoisted: Map<TypeBody, string>, diagnostics: Diagnostics) {
    this.unit = unit;
    this.hoisted = hoisted;
    this.diagnostics = diagnostics;
  }

  run(): Scope {
    const { module, origin, seesInputs } = this.unit;
    const passed = new Map<string, PassedDefine[]>();
    for (const define of module.passedDefines) {
      const all = passed.get(define.name);
      if (all === undefined) passed.set(define.name, [define]);
      else all.push(define);
    }
    const scope: Scope = {
      ...{
        file: module.name,
        origin,
        seesInputs,
        types: new Map(),
        constants: new Map(),
        numbers: new Map(),
      },
      ...{ unparsedNames: module.unparsedNames, fileAnnotations: module.fileAnnotations, missing: new Map() },
      ...{ passed, headers: module.passedIncludes },
    };
    for (const definition of module.definitions) this.addDefinition(definition, scope);
    return scope;
  }

  private addDefinition(definition: Definition, scope: Scope): void {
    const { origin } = scope;
    switch (definition.kind) {
      case 'const':
      case 'text':
        this.addConstant(definition.name, definition.span, { kind: 'const', definition, scope }, scope);
        return;
      case 'typedef': {
        const { declaration, annotations, doc, span } = definition;
        this.addNested(declaration.name, declaration, scope, true);
        const node = { kind: 'typedef', declaration, annotations } as const;
        // `typedef struct foo foo;` is needed in C and has no effect here.
        const { type } = declaration;
        if (type.kind === 'ref' && type.name === declaration.name && declaration.form === 'plain') return;
        this.addType({ name: declaration.name, span, doc, origin, scope, node });
        return;
      }
      case 'type': {
        const { name, span, doc, body } = definition;
        const entry = { name, span, doc, origin, scope, node: body };
        this.addType(entry);
        this.addBody(entry);
        return;
      }
      case 'program':
        this.addNumber(definition.name, definition.number, scope);
        for (const version of definition.versions) {
          this.addNumber(version.name, version.number, scope);
          for (const procedure of version.procedures) {
            this.addNumber(procedure.name, procedure.number, scope);
            const parts = [...procedure.args, ...(procedure.result === null ? [] : [procedure.result])];
            for (const part of parts) this.addNested(procedure.name, part, scope, false);
          }
        }
    }
  }

  private addBody(entry: TypeEntry): void {
    const { name, node, scope } = entry;
    switch (node.kind) {
      case 'struct':
        for (const field of node.fields) this.addNested(name, field, scope, false);
        return;
      case 'union': {
        this.addNested(name, node.discriminant, scope, false);
        const arms = node.defaultArm === null ? node.arms : [...node.arms, node.defaultArm];
        for (const { declaration } of arms)
          if (declaration !== null) this.addNested(name, declaration, scope, false);
        return;
      }
      case 'enum': {
        const enumeration = entry as EnumEntry;
        node.members.forEach((member, index) => {
          const constant = { kind: 'member', member, enumeration, index } as const;
          this.addConstant(member.name, member.span, constant, scope);
        });
      }
    }
  }

  /** A body inside a declaration becomes a named type: by its tag, or as `Owner_member`. */
  private addNested(owner: string, declaration: Declaration, scope: Scope, isTypedef: boolean): void {
    const node: TypeNode = declaration.type;
    if (node.kind === 'primitive' || node.kind === 'ref') return;
    let name = node.tag ?? (isTypedef ? `${owner}_body` : `${owner}_${declaration.name || 'value'}`);
    if (node.tag === undefined) while (scope.types.has(name)) name += '_';
    this.hoisted.set(node, name);
    const entry = { name, span: node.span, doc: declaration.doc, origin: scope.origin, scope, node };
    this.addType(entry);
    this.addBody(entry);
  }

  private addNumber(name: string, number: Value, scope: Scope): void {
    if (!scope.numbers.has(name)) scope.numbers.set(name, number);
  }

  private addType(entry: TypeEntry): void {
    const { types } = entry.scope;
    const before = types.get(entry.name);
    if (before === undefined) types.set(entry.name, entry);
    else if (!isSameTypedef(entry, before))
      this.reportDuplicate(`type ${entry.name}`, entry.span, before.span);
  }

  private addConstant(name: string, span: Span, entry: ConstantEntry, scope: Scope): void {
    const before = scope.constants.get(name);
    if (before === undefined) {
      scope.constants.set(name, [entry]);
      return;
    }
    const conflict = before.find(
      (each) => each.kind === 'const' || entry.kind === 'const' || each.enumeration === entry.enumeration,
    );
    if (conflict === undefined) before.push(entry);
    else
      this.reportDuplicate(
        name,
        span,
        conflict.kind === 'const' ? conflict.definition.span : conflict.member.span,
      );
  }

  private reportDuplicate(what: string, span: Span, first: Span): void {
    this.diagnostics.add('IDL_NAME', span, `${what} is defined twice`, {
      message: 'first defined here',
      span: first,
    });
  }
}

/** C allows a typedef to be repeated with the same text; real files (nfs4.x) do so. */
function isSameTypedef(a: TypeEntry, b: TypeEntry): boolean {
  if (a.node.kind !== 'typedef' || b.node.kind !== 'typedef') return false;
  const [x, y] = [a.node.declaration, b.node.declaration];
  const isNamed = x.type.kind === 'ref' || x.type.kind === 'primitive';
  return (
    isNamed && x.form === y.form && textOf(x.type) === textOf(y.type) && textOf(x.size) === textOf(y.size)
  );
}

function textOf(node: { readonly span: Span } | null): string {
  return node === null ? '' : node.span.source.text.slice(node.span.start, node.span.end);
}

/** Evaluates integer expressions of C, for `#if` and `%#define`, by precedence climbing. */

import { constantOf, scan, type Token } from './scanner.js';

/** The replacement or the value of a macro; undefined if there is no such macro. */
export type Lookup = (name: string) => readonly Token[] | bigint | undefined;

/** Maximum nesting of operators and macros. */
const MAX_DEPTH = 64;
/** Maximum number of operands, including those in macros. */
const MAX_STEPS = 10_000;

const PRECEDENCE: Readonly<Record<string, number>> = {
  '||': 1,
  '&&': 2,
  '|': 3,
  '^': 4,
  '&': 5,
  '==': 6,
  '!=': 6,
  '<': 7,
  '>': 7,
  '<=': 7,
  '>=': 7,
  '<<': 8,
  '>>': 8,
  '+': 9,
  '-': 9,
  '*': 10,
  '/': 10,
  '%': 10,
};

class EvaluationError extends Error {}

/**
 * The value of an expression, or the reason that it has none. An undefined name is 0, as in `#if` of C; with
 * `names: 'known'` it is an error.
 */
export function evaluate(
  text: string,
  lookup: Lookup,
  names: 'zero' | 'known' = 'zero',
): bigint | { error: string } {
  try {
    const budget = { steps: 0, requiresNames: names === 'known' };
    const evaluation = new Evaluator(tokensOf(text), lookup, budget, 0);
    return evaluation.result();
  } catch (error) {
    if (error instanceof EvaluationError) return { error: error.message };
    throw error;
  }
}

/** The tokens of an expression, without the end token. */
export function tokensOf(text: string): Token[] {
  // A leading % or # has another meaning for the scanner, but no expression starts with one.
  return scan({ name: '#if', text }).filter((t) => t.kind !== 'end');
}

interface Budget {
  steps: number;
  readonly requiresNames: boolean;
}

class Evaluator {
  private readonly tokens: readonly Token[];
  private readonly lookup: Lookup;
  private readonly budget: Budget;
  private depth: number;
  private at = 0;

  constructor(tokens: readonly Token[], lookup: Lookup, budget: Budget, depth: number) {
    this.tokens = tokens;
    this.lookup = lookup;
    this.budget = budget;
    this.depth = depth;
  }

  result(): bigint {
    const value = this.conditional();
    const rest = this.tokens[this.at];
    if (rest !== undefined) throw new EvaluationError(`unexpected '${rest.text}'`);
    return value;
  }

  private conditional(): bigint {
    const value = this.binary(1);
    if (!this.accept('?')) return value;
    const yes = this.nested(() => this.conditional());
    this.expect(':');
    const no = this.nested(() => this.conditional());
    return value !== 0n ? yes : no;
  }

  private binary(least: number): bigint {
    let left = this.unary();
    for (;;) {
      const operator = this.tokens[this.at]?.text ?? '';
      const precedence = PRECEDENCE[operator] ?? 0;
      if (precedence < least) return left;
      this.at += 1;
      const right = this.nested(() => this.binary(precedence + 1));
      left = apply(operator, left, right);
    }
  }

  private unary(): bigint {
    this.budget.steps += 1;
    if (this.budget.steps > MAX_STEPS) throw new EvaluationError(`more than ${MAX_STEPS} operands`);
    const token = this.tokens[this.at];
    if (token === undefined) throw new EvaluationError('an operand is missing at the end');
    this.at += 1;
    switch (token.text) {
      case '!':
        return this.nested(() => this.unary()) === 0n ? 1n : 0n;
      case '-':
        return -this.nested(() => this.unary());
      case '+':
        return this.nested(() => this.unary());
      case '~':
        return ~this.nested(() => this.unary());
      case '(': {
        const value = this.nested(() => this.conditional());
        this.expect(')');
        return value;
      }
    }
    if (token.kind === 'number' || token.kind === 'char') return constantOf(token);
    if (token.kind !== 'name') throw new EvaluationError(`'${token.text}' is not a value`);
    return token.text === 'defined' ? this.defined() : this.macro(token.text);
  }

  private defined(): bigint {
    const open = this.accept('(');
    const name = this.tokens[this.at];
    if (name?.kind !== 'name') throw new EvaluationError("'defined' needs a name");
    this.at += 1;
    if (open) this.expect(')');
    return this.lookup(name.text) === undefined ? 0n : 1n;
  }

  private macro(name: string): bigint {
    const body = this.lookup(name);
    if (typeof body === 'bigint') return body;
    if (body === undefined) {
      if (this.budget.requiresNames) throw new EvaluationError(`${name} is not defined`);
      return 0n;
    }
    if (body.length === 0) throw new EvaluationError(`macro ${name} is empty`);
    return this.nested(() => new Evaluator(body, this.lookup, this.budget, this.depth).result());
  }

  private nested(part: () => bigint): bigint {
    this.depth += 1;
    if (this.depth > MAX_DEPTH) throw new EvaluationError(`nested deeper than ${MAX_DEPTH} levels`);
    const value = part();
    this.depth -= 1;
    return value;
  }

  private accept(text: string): boolean {
    if (this.tokens[this.at]?.text !== text) return false;
    this.at += 1;
    return true;
  }

  private expect(text: string): void {
    if (!this.accept(text)) throw new EvaluationError(`'${text}' is missing`);
  }
}

function apply(operator: string, a: bigint, b: bigint): bigint {
  const truth = (value: boolean): bigint => (value ? 1n : 0n);
  switch (operator) {
    case '||':
      return truth(a !== 0n || b !== 0n);
    case '&&':
      return truth(a !== 0n && b !== 0n);
    case '|':
      return a | b;
    case '^':
      return a ^ b;
    case '&':
      return a & b;
    case '==':
      return truth(a === b);
    case '!=':
      return truth(a !== b);
    case '<':
      return truth(a < b);
    case '>':
      return truth(a > b);
    case '<=':
      return truth(a <= b);
    case '>=':
      return truth(a >= b);
    case '<<':
    case '>>':
      if (b < 0n || b > 63n) throw new EvaluationError('a shift is not in the range 0 to 63');
      return BigInt.asIntN(64, operator === '<<' ? a << b : a >> b);
    case '+':
      return BigInt.asIntN(64, a + b);
    case '-':
      return BigInt.asIntN(64, a - b);
    case '*':
      return BigInt.asIntN(64, a * b);
    default:
      if (b === 0n) throw new EvaluationError('division by zero');
      return operator === '/' ? a / b : a % b;
  }
}

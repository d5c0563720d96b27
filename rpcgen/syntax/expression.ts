/**
 * Values of `#if`: C's integer expressions, by precedence climbing. It knows macros only as a
 * function from name to tokens.
 */

import { constantOf, scan, type Token } from './scanner.js';

/** What a macro's name stands for, or undefined where there is no such macro. */
export type Lookup = (name: string) => readonly Token[] | bigint | undefined;

const MAX_DEPTH = 64;
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

class Undecided extends Error {}

/**
 * The value of an expression, or why it has none. A name that is no macro is 0, as in C's `#if`, unless `names` says
 * that all names must be known.
 */
export function evaluate(
  text: string,
  lookup: Lookup,
  names: 'zero' | 'known' = 'zero',
): bigint | { error: string } {
  try {
    const budget = { steps: 0, demandsNames: names === 'known' };
    const evaluation = new Evaluation(tokensOf(text), lookup, budget, 0);
    return evaluation.whole();
  } catch (error) {
    if (error instanceof Undecided) return { error: error.message };
    throw error;
  }
}

/** The tokens of an expression, without their end. */
export function tokensOf(text: string): Token[] {
  // The scanner takes a leading % or # for something else; an expression never starts with one.
  return scan({ name: '#if', text }).filter((t) => t.kind !== 'end');
}

interface Budget {
  steps: number;
  readonly demandsNames: boolean;
}

class Evaluation {
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

  whole(): bigint {
    const value = this.conditional();
    const rest = this.tokens[this.at];
    if (rest !== undefined) throw new Undecided(`'${rest.text}' does not belong here`);
    return value;
  }

  private conditional(): bigint {
    const value = this.binary(1);
    if (!this.take('?')) return value;
    const yes = this.deeper(() => this.conditional());
    this.demand(':');
    const no = this.deeper(() => this.conditional());
    return value !== 0n ? yes : no;
  }

  private binary(least: number): bigint {
    let left = this.unary();
    for (;;) {
      const operator = this.tokens[this.at]?.text ?? '';
      const precedence = PRECEDENCE[operator] ?? 0;
      if (precedence < least) return left;
      this.at += 1;
      const right = this.deeper(() => this.binary(precedence + 1));
      left = apply(operator, left, right);
    }
  }

  private unary(): bigint {
    this.budget.steps += 1;
    if (this.budget.steps > MAX_STEPS) throw new Undecided('it is too long');
    const token = this.tokens[this.at];
    if (token === undefined) throw new Undecided('it ends too early');
    this.at += 1;
    switch (token.text) {
      case '!':
        return this.deeper(() => this.unary()) === 0n ? 1n : 0n;
      case '-':
        return -this.deeper(() => this.unary());
      case '+':
        return this.deeper(() => this.unary());
      case '~':
        return ~this.deeper(() => this.unary());
      case '(': {
        const value = this.deeper(() => this.conditional());
        this.demand(')');
        return value;
      }
    }
    if (token.kind === 'number' || token.kind === 'char') return constantOf(token);
    if (token.kind !== 'name') throw new Undecided(`'${token.text}' is no value`);
    return token.text === 'defined' ? this.defined() : this.macro(token.text);
  }

  private defined(): bigint {
    const open = this.take('(');
    const name = this.tokens[this.at];
    if (name?.kind !== 'name') throw new Undecided("'defined' needs a name");
    this.at += 1;
    if (open) this.demand(')');
    return this.lookup(name.text) === undefined ? 0n : 1n;
  }

  private macro(name: string): bigint {
    const body = this.lookup(name);
    if (typeof body === 'bigint') return body;
    if (body === undefined) {
      if (this.budget.demandsNames) throw new Undecided(`${name} is unknown`);
      return 0n;
    }
    if (body.length === 0) throw new Undecided(`${name} is defined as nothing`);
    return this.deeper(() => new Evaluation(body, this.lookup, this.budget, this.depth).whole());
  }

  private deeper(part: () => bigint): bigint {
    this.depth += 1;
    if (this.depth > MAX_DEPTH) throw new Undecided('it is nested too deep');
    const value = part();
    this.depth -= 1;
    return value;
  }

  private take(text: string): boolean {
    if (this.tokens[this.at]?.text !== text) return false;
    this.at += 1;
    return true;
  }

  private demand(text: string): void {
    if (!this.take(text)) throw new Undecided(`'${text}' is missing`);
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
      if (b < 0n || b > 63n) throw new Undecided('it shifts by more than 63');
      return BigInt.asIntN(64, operator === '<<' ? a << b : a >> b);
    case '+':
      return BigInt.asIntN(64, a + b);
    case '-':
      return BigInt.asIntN(64, a - b);
    case '*':
      return BigInt.asIntN(64, a * b);
    default:
      if (b === 0n) throw new Undecided('it divides by zero');
      return operator === '/' ? a / b : a % b;
  }
}

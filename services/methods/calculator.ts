/** The calculator: the sample of methods, an object whose public methods are called by name. */

import { MethodFault } from './fault.js';
import { methods_code } from './methods.gen.js';
import { createMethods, type Methods, type MethodsOptions } from './service.js';

/** Code of the fault of a division by zero. */
export const DIVISION_BY_ZERO = 1_001;

/** What can be called; `Remote<Calculator>` is what its callers see. */
export class Calculator {
  add(a: number, b: number): number {
    return number(a) + number(b);
  }

  subtract(a: number, b: number): number {
    return number(a) - number(b);
  }

  multiply(a: number, b: number): number {
    return number(a) * number(b);
  }

  divide(a: number, b: number): number {
    if (number(b) === 0) throw new MethodFault(DIVISION_BY_ZERO, 'division by zero');
    return number(a) / b;
  }
}

/** TypeScript holds only on this side of the wire: what came over it has to be looked at. */
function number(value: unknown): number {
  if (typeof value === 'number') return value;
  throw new MethodFault(methods_code.METHODS_BAD_PARAMS, `${typeof value} given where a number is wanted`);
}

const binary = (help: string): { help: string; signature: string } => ({
  help,
  signature: '(a: number, b: number) => number',
});

/** methods with the calculator in it, and `countPrimes`, which takes long and runs on threads. */
export async function createCalculator(options: MethodsOptions = {}): Promise<Methods> {
  const methods = createMethods(options);
  methods.registry.registerInstance(new Calculator(), {
    about: {
      add: binary('The sum of two numbers.'),
      subtract: binary('The first number less the second.'),
      multiply: binary('The product of two numbers.'),
      divide: binary('The first number divided by the second; fault 1001 where that is zero.'),
    },
  });
  await methods.registry.registerModule(new URL('./primes.js', import.meta.url), {
    about: {
      countPrimes: { help: 'How many primes there are up to n.', signature: '(n: number) => number' },
    },
  });
  return methods;
}

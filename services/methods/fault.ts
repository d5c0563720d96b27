/** Faults: what a method says instead of a result, on both ends. */

/**
 * Thrown by a method to say, to its caller, what is wrong; thrown again where it was called. The code
 * is an int of the method's own; those below zero are methods_code's.
 */
export class MethodFault extends Error {
  override readonly name = 'MethodFault';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Validation of numeric options: each is checked in one place, where the object that has it is made. */

/**
 * The value of an option that is a whole number from `least` to `most`, or its default. Throws RangeError with the option's
 * name, its value and both bounds.
 */
export function integerOption(
  name: string,
  given: number | undefined,
  standard: number,
  least: number,
  most: number,
): number {
  const value = given ?? standard;
  if (!(Number.isInteger(value) && value >= least && value <= most))
    throw new RangeError(`${name} is ${value}; it must be a whole number from ${least} to ${most}`);
  return value;
}

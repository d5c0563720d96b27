/** A function that computes for long, for the threads of methods: it imports nothing of the service. */

/** Largest number that {@link countPrimes} takes: beyond, its table would not fit into a thread's memory. */
const MAX_NUMBER = 200_000_000;

/** How many primes there are up to `n`, by the sieve of Eratosthenes. Throws RangeError for what is not 0 to 200 million. */
export function countPrimes(n: number): number {
  if (!Number.isInteger(n) || n < 0 || n > MAX_NUMBER)
    throw Object.assign(new RangeError(`n must be a whole number from 0 to ${MAX_NUMBER}`), {
      name: 'MethodFault',
      code: -32_602,
    });
  const isComposite = new Uint8Array(n + 1);
  let count = 0;
  for (let i = 2; i <= n; i++) {
    if (isComposite[i] === 1) continue;
    count += 1;
    for (let multiple = i * i; multiple <= n; multiple += i) isComposite[multiple] = 1;
  }
  return count;
}

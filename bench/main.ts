/** `npm run bench -- NAME [words]`: one file a bench. */

const benches = ['runtime', 'hostile', 'soak', 'fuzz'] as const;

const [name = '', ...words] = process.argv.slice(2);
const known = benches.find((bench) => bench === name);
if (known === undefined) {
  console.error(`usage: npm run bench -- ${benches.join('|')}`);
  process.exit(2);
}
const bench = (await import(`./${known}.js`)) as { main(words: readonly string[]): Promise<void> };
await bench.main(words);

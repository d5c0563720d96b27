/** `npm run bench -- NAME`: runs one bench, or says which there are. */

const benches: Readonly<Record<string, () => Promise<void>>> = {
  codec: async () => (await import('./codec.js')).codecBench(),
};

const [, , name = ''] = process.argv;
const bench = Object.hasOwn(benches, name) ? benches[name] : undefined;
if (bench === undefined) {
  console.error(`bench: no '${name}'; there is: ${Object.keys(benches).join(', ')}`);
  process.exitCode = 2;
} else await bench();

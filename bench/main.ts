/** `npm run bench -- NAME [words]`: runs one bench, or says which there are. */

const benches: Readonly<Record<string, (words: readonly string[]) => Promise<void>>> = {
  codec: async () => (await import('./codec.js')).codecBench(),
  runtime: async (words) => (await import('./runtime.js')).runtimeBench(words),
  rpcbind: async (words) => (await import('./rpcbind.js')).rpcbindBench(words),
  hostile: async (words) => (await import('./hostile.js')).hostileBench(words),
  soak: async (words) =>
    words[0] === 'siege'
      ? (await import('./siege.js')).siegeBench(words.slice(1))
      : words[0] === 'faults'
        ? (await import('./faults.js')).faultsBench(words.slice(1))
        : (await import('./soak.js')).soakBench(words),
  fuzz: async (words) => (await import('./fuzz.js')).fuzzBench(words),
};

const [, , name = '', ...words] = process.argv;
const bench = Object.hasOwn(benches, name) ? benches[name] : undefined;
if (bench === undefined) {
  console.error(`bench: no '${name}'; there is: ${Object.keys(benches).join(', ')}`);
  process.exitCode = 2;
} else await bench(words);

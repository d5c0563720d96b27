/** `--samples`: a first server, a first client, and answers for `rpcserve --mock`, where there are none. */

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { emitSamples, type Interface, live, type SampleOptions } from '../../rpcgen/index.js';
import { type Json, template } from '../../xdr/index.js';
import { write } from './files.js';

/** Writes the samples of each program beside the generated module at `path`. */
export function writeSamples(model: Interface, path: string, options: SampleOptions): void {
  const file = path.replace(/^.*[\\/]/, '');
  const module = `./${file.replace(/\.ts$/, '.js')}`;
  const base = file.replace(/(?:\.gen)?\.ts$/, '');
  for (const program of model.programs) {
    const stem = model.programs.length === 1 ? '' : `${program.name.toLowerCase()}.`;
    const { server, client } = emitSamples(model, program, module, options);
    const samples = [
      [`${stem}server.ts`, server],
      [`${stem}client.ts`, client],
      [`${stem}answers.json`, answersOf(model, program.name)],
    ] as const;
    for (const [name, text] of samples) {
      const sample = join(dirname(path), `${base}.${name}`);
      if (existsSync(sample)) console.error(`rpcgen-ts: ${sample} is there already and stays as it is`);
      else write(sample, text);
    }
  }
}

/** An answer to each procedure that has a result, by its full name. */
function answersOf(model: Interface, program: string): string {
  const answers: Record<string, Json> = {};
  for (const { name, versions } of live(model).programs)
    for (const version of name === program ? versions : [])
      for (const procedure of version.procedures)
        if (procedure.result.shape?.kind !== 'void')
          answers[`${name}.${version.number}.${procedure.name}`] = template(procedure.result);
  return `${JSON.stringify(answers, null, 2)}\n`;
}

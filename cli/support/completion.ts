/**
 * Completion in bash, zsh and fish, from the commands themselves: the shell's script asks the
 * command (`--completions WORDS...`), which knows its own options and arguments.
 */

import type { Command } from 'commander';

/** Says what may stand where `current` stands, after `before`; words that do not begin with it are dropped. */
export type Completer = (before: readonly string[], current: string) => readonly string[];

const completers = new WeakMap<Command, Completer>();

/** Gives a command, or one of its subcommands, words for its arguments. Returns the command. */
export function completeArguments(command: Command, completer: Completer): Command {
  completers.set(command, completer);
  return command;
}

/** The shells that are served. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;

export type Shell = (typeof SHELLS)[number];

/** What a shell has to read so that a command is completed there. */
export function completionScript(name: string, shell: Shell): string {
  const fn = `_${name.replaceAll(/\W/g, '_')}`;
  switch (shell) {
    case 'bash':
      return `# ${name} in bash: eval "$(${name} --completion bash)"
${fn}() {
  local IFS=$'\\n'
  COMPREPLY=($(${name} --completions "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F ${fn} ${name}
`;
    case 'zsh':
      return `#compdef ${name}
# ${name} in zsh: eval "$(${name} --completion zsh)"
${fn}() {
  local -a found
  found=("\${(@f)$(${name} --completions "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${found[*]}" ]]; then compadd -- "\${found[@]}"; else _files; fi
}
compdef ${fn} ${name}
`;
    case 'fish':
      return `# ${name} in fish: ${name} --completion fish | source
complete -c ${name} -a '(${name} --completions (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`;
  }
}

/** The candidates for the last of `words`. */
export function completions(program: Command, words: readonly string[]): string[] {
  const current = words.at(-1) ?? '';
  let command = program;
  const before: string[] = [];
  let previous = '';
  for (const word of words.slice(0, -1)) {
    const inner = before.length === 0 && !word.startsWith('-') ? find(command, word) : undefined;
    if (inner !== undefined) command = inner;
    else if (!word.startsWith('-') && !takesValue(program, command, previous)) before.push(word);
    previous = word;
  }
  const choices = choicesOf(program, command, previous);
  const candidates =
    choices !== undefined
      ? choices
      : current.startsWith('-')
        ? optionsOf(program, command)
        : [
            ...(command === program && before.length === 0
              ? program.commands.map((each) => each.name())
              : []),
            ...(completers.get(command)?.(before, current) ?? []),
          ];
  return [...new Set(candidates)].filter((each) => each.startsWith(current) && !/[\n\r]/.test(each));
}

function find(command: Command, word: string): Command | undefined {
  return command.commands.find((each) => each.name() === word);
}

/** The default subcommand's options are the program's own. */
function all(program: Command, command: Command): Command[] {
  const main = program.commands.find((each) => each.name() === 'call');
  return command === program && main !== undefined ? [program, main] : [command, program];
}

function optionsOf(program: Command, command: Command): string[] {
  const own = all(program, command).flatMap((each) => each.options.filter(({ hidden }) => !hidden));
  return [...own.map((option) => option.long ?? option.short ?? ''), '--completion', '--help'];
}

function optionFor(program: Command, command: Command, word: string): Command['options'][number] | undefined {
  return all(program, command)
    .flatMap((each) => each.options)
    .find((option) => word !== '' && (option.long === word || option.short === word));
}

function takesValue(program: Command, command: Command, word: string): boolean {
  return optionFor(program, command, word)?.required ?? false;
}

/** The values of the option before; none where it takes any, undefined where it takes no value. */
function choicesOf(program: Command, command: Command, word: string): readonly string[] | undefined {
  if (word === '--completion') return SHELLS;
  const option = optionFor(program, command, word);
  return option?.required ? (option.argChoices ?? []) : undefined;
}

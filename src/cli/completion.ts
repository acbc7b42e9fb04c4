/** `capstan completion bash|zsh|fish`: a completion script made from the command tree itself. */
import type { Command } from 'commander';
import { Argument } from 'commander';
import { print } from './context.ts';

type Value =
  | { readonly kind: 'file' }
  | { readonly kind: 'directory' }
  | { readonly kind: 'one of'; readonly words: readonly string[] }
  | undefined;

interface Node {
  /** 'capstan image load' */
  readonly path: string;
  readonly commands: readonly string[];
  /** Flags with the kind of their value; undefined: none, or any. */
  readonly options: ReadonlyMap<string, Value>;
  /** Of its arguments, which are all of one kind here. */
  readonly argument: Value;
}

export function register(program: Command): void {
  program
    .command('completion')
    .description('print a shell completion script')
    .addArgument(
      new Argument('<shell>', 'for bash: source <(capstan completion bash)').choices(['bash', 'zsh', 'fish']),
    )
    .action((shell: string) => print(shell === 'fish' ? fishScript(program) : bashScript(program, shell)));
}

/** Every command with its completions. */
function tree(command: Command, path = 'capstan'): Node[] {
  const visible = command.commands.filter((child) => !(child as unknown as { _hidden?: boolean })._hidden);
  const options = command.options
    .filter((option) => !option.hidden && option.long)
    .map((option): [string, Value] => [option.long ?? '', valueOf(option.flags, option.argChoices)]);
  const [argument] = command.registeredArguments;
  const own: Node = {
    path,
    commands: visible.map((child) => child.name()),
    options: new Map([...options, ['--help', undefined]]),
    argument: argument && valueOf(`<${argument.name()}>`, argument.argChoices),
  };
  return [own, ...visible.flatMap((child) => tree(child, `${path} ${child.name()}`))];
}

/** flags: as in --help, '--data-dir <dir>'. */
function valueOf(flags: string, choices: readonly string[] | undefined): Value {
  if (choices) return { kind: 'one of', words: choices };
  if (flags.includes('[true|false]')) return { kind: 'one of', words: ['true', 'false'] };
  if (/<dir>/.test(flags)) return { kind: 'directory' };
  return /<file\b/.test(flags) ? { kind: 'file' } : undefined;
}

function bashScript(program: Command, shell: string): string {
  const nodes = tree(program);
  const values = nodes.flatMap(({ path, options }) =>
    [...options].flatMap(([option, value]) =>
      value ? [`    '${path} ${option}') ${bashReply(value)}; return ;;`] : [],
    ),
  );
  const positions = nodes.map(
    ({ path, commands, options, argument }) =>
      `    '${path}') ${argument ? `case $current in -*) ;; *) ${bashReply(argument)}; return ;; esac; ` : ''}words='${[...commands, ...options.keys()].join(' ')}' ;;`,
  );
  return [
    ...(shell === 'zsh' ? ['autoload -U +X bashcompinit && bashcompinit'] : []),
    '_capstan() {',
    "  local path='capstan' word words='' current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}",
    '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
    // Values of options are no commands.
    `    case "$path $word" in ${nodes
      .slice(1)
      .map(({ path }) => `'${path}'`)
      .join('|')}) path="$path $word" ;; esac`,
    '  done',
    '  case "$path $previous" in',
    ...values,
    '  esac',
    '  case $path in',
    ...positions,
    '  esac',
    '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
    '}',
    'complete -F _capstan capstan ./capstan',
  ].join('\n');
}

function bashReply(value: NonNullable<Value>): string {
  const flag =
    value.kind === 'file' ? '-f' : value.kind === 'directory' ? '-d' : `-W '${value.words.join(' ')}'`;
  return `COMPREPLY=($(compgen ${flag} -- "$current"))`;
}

function fishScript(program: Command): string {
  return tree(program)
    .flatMap(({ path, commands, options, argument }) => {
      const words = path.split(' ').slice(1);
      const condition =
        words.length === 0
          ? '__fish_use_subcommand'
          : words.map((name) => `__fish_seen_subcommand_from ${name}`).join('; and ');
      const line = (rest: string): string => `complete -c capstan -n '${condition}' ${rest}`;
      return [
        ...commands.map((name) => line(`-f -a ${name}`)),
        ...(argument?.kind === 'one of' ? [line(`-f -a '${argument.words.join(' ')}'`)] : []),
        ...[...options].map(([option, value]) =>
          line(
            `-l ${option.slice(2)}${value === undefined ? '' : value.kind === 'one of' ? ` -x -a '${value.words.join(' ')}'` : ' -r'}`,
          ),
        ),
      ];
    })
    .join('\n');
}

/** `capstan completion bash|zsh|fish`: a completion script made from the command tree itself. */
import type { Command } from 'commander';
import { Argument } from 'commander';
import { print } from './context.ts';

interface Node { readonly path: string; readonly words: readonly string[] }

export function register(program: Command): void {
  program
    .command('completion')
    .description('print a shell completion script')
    .addArgument(new Argument('<shell>', 'for bash: source <(capstan completion bash)').choices(['bash', 'zsh', 'fish']))
    .action((shell: string) => print(shell === 'fish' ? fishScript(program) : bashScript(program, shell)));
}

/** Every command with what may follow it: subcommands and options. */
function tree(command: Command, path = 'capstan'): Node[] {
  const visible = command.commands.filter((child) => !(child as unknown as { _hidden?: boolean })._hidden);
  const options = command.options.filter((option) => !option.hidden).map((option) => option.long ?? option.short ?? '').filter((word) => word !== '');
  const own = { path, words: [...visible.map((child) => child.name()), ...options, '--help'] };
  return [own, ...visible.flatMap((child) => tree(child, `${path} ${child.name()}`))];
}

function bashScript(program: Command, shell: string): string {
  const cases = tree(program).map((node) => `    '${node.path}') words='${node.words.join(' ')}' ;;`);
  return [
    ...(shell === 'zsh' ? ['autoload -U +X bashcompinit && bashcompinit'] : []),
    '_capstan() {',
    "  local path='capstan' word words=''",
    '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
    '    case $word in -*) ;; *) path="$path $word" ;; esac',
    '  done',
    '  case "${COMP_WORDS[COMP_CWORD-1]}" in',
    '    --data-dir) COMPREPLY=($(compgen -d -- "${COMP_WORDS[COMP_CWORD]}")); return ;;',
    '    load|--kubeconfig) COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;',
    '    --runtime) words="auto cri simulated" ;;',
    '    completion) words="bash zsh fish" ;;',
    '  esac',
    '  [ -n "$words" ] || case $path in',
    ...cases,
    '  esac',
    '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
    '}',
    'complete -F _capstan capstan ./capstan',
  ].join('\n');
}

function fishScript(program: Command): string {
  return tree(program).flatMap((node) => {
    const commands = node.path.split(' ').slice(1);
    const condition = commands.length === 0 ? '__fish_use_subcommand' : commands.map((name) => `__fish_seen_subcommand_from ${name}`).join('; and ');
    return node.words.map((word) => word.startsWith('--') ? `complete -c capstan -n '${condition}' -l ${word.slice(2)}` : `complete -c capstan -f -n '${condition}' -a ${word}`);
  }).join('\n');
}

/** The options that every component's command takes, and readers of flags written as upstream writes them. */
import { Option, type Command } from 'commander';
import { TLS_CIPHER_SUITES, TLS_FLAGS } from '#cmd/tls-flags.ts';
import { UserError } from '#deploy/data-dir.ts';
import { wholeNumber } from './context.ts';

/** --kubeconfig and what goes with it: all a component gets from its siblings. */
export function componentOptions(command: Command): Command {
  return command
    .option(
      '--kubeconfig <file>',
      'where the API server is and who this component is there (default: $KUBECONFIG)',
    )
    .option('--context <name>', 'a context of the kubeconfig (default: its current one)')
    .addOption(
      new Option(
        '--api-timeout-seconds <n>',
        'how long to wait for an API server that does not answer yet (default: 30)',
      ).argParser(wholeNumber('api-timeout-seconds', { min: 0, max: 86_400 })),
    );
}

export function loggingOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--logging-format <format>', 'log lines as text or JSON')
        .choices(['text', 'json'])
        .default('text'),
    )
    .addOption(
      new Option('--log-level <level>', 'least important lines to write')
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info'),
    );
}

/** How TLS is spoken by what listens. */
export function tlsOptions(command: Command): Command {
  for (const [name, text] of Object.entries(TLS_FLAGS)) command.option(`--${name} <value>`, text);
  return command.addOption(new Option('--tls-cipher-suites <names>', TLS_CIPHER_SUITES).argParser(list));
}

export function electionOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--leader-elect [true|false]', 'let several instances run, of which one works')
        .argParser(yesOrNo('leader-elect'))
        .preset('true')
        .default(true),
    )
    .option('--identity <name>', 'name in the election and in events (default: HOST_UUID)');
}

/** Boolean flags as upstream has them: --flag, --flag=true, --flag=false. */
export function yesOrNo(name: string): (text: string) => boolean {
  return (text) => {
    if (text === 'true') return true;
    if (text === 'false') return false;
    throw new UserError(`--${name} is "${text}"; it should be true or false.`);
  };
}

/** 'a,b' given once or several times becomes one list. */
export function list(text: string, before: readonly string[] = []): string[] {
  return [
    ...before,
    ...text
      .split(',')
      .map((word) => word.trim())
      .filter((word) => word !== ''),
  ];
}

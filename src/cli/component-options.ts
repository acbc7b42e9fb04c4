/** The options that every component's command takes, and readers of flags written as upstream writes them. */
import type { Command } from 'commander';
import { CLIENT_FLAGS, ELECTION_FLAGS, LOGGING_FLAGS, TLS_FLAGS } from '#cmd/flags/common.ts';
import { UserError } from '#deploy/data-dir.ts';
import { addFlags } from './flag-options.ts';

/** How a component finds the API server. */
export function componentOptions(command: Command): Command {
  return addFlags(command, CLIENT_FLAGS);
}

export function loggingOptions(command: Command): Command {
  return addFlags(command, LOGGING_FLAGS);
}

/** Of commands that listen with TLS. */
export function tlsOptions(command: Command): Command {
  return addFlags(command, TLS_FLAGS);
}

export function electionOptions(command: Command): Command {
  return addFlags(command, ELECTION_FLAGS);
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

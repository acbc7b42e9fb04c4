/** What all commands share: the --data-dir option, printing, and turning an error into one sentence and an exit code. */
import { Option, type Command } from 'commander';
import { UserError } from '#deploy/data-dir.ts';
import { isStatusError } from '#machinery/errors.ts';

export function dataDirOption(): Option {
  return new Option('--data-dir <dir>', "the cluster's directory (default: $CAPSTAN_HOME, else ~/.capstan)");
}

/** Wraps an action: a UserError is printed as its sentence with exit code 1, anything else with where to look. */
export function action<Args extends unknown[]>(
  run: (...args: Args) => Promise<void> | void,
): (...args: Args) => Promise<void> {
  return async (...args) => {
    try {
      await run(...args);
    } catch (error) {
      fail(error);
    }
  };
}

export function fail(error: unknown): void {
  process.exitCode = 1;
  if (error instanceof UserError || isStatusError(error)) process.stderr.write(`capstan: ${error.message}\n`);
  else
    process.stderr.write(
      `capstan: unexpected error, please report it: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
}

export function print(line = ''): void {
  process.stdout.write(`${line}\n`);
}

/** A whole number in a range, for commander's argParser. */
export function wholeNumber(
  name: string,
  range: { readonly min: number; readonly max: number },
): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text) || value < range.min || value > range.max)
      throw new UserError(
        `--${name} is "${text}"; it should be a whole number from ${range.min} to ${range.max}.`,
      );
    return value;
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

export type Register = (program: Command) => void;

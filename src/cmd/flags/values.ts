/** Reading the texts of flags, with errors that name the flag. */
import { UserError } from '#deploy/data-dir.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { errorMessage } from '#stdx/log.ts';

/** As the command line hands them over: a flag without value is true. */
type FlagText = string | number | boolean | undefined;

const NUMBER = /^-?\d+(\.\d+)?$/;

export function parseFlagNumber(
  flag: string,
  text: FlagText,
  {
    min,
    max = Number.MAX_SAFE_INTEGER,
    whole = true,
  }: { readonly min: number; readonly max?: number; readonly whole?: boolean },
): number | undefined {
  if (text === undefined) return undefined;
  const value = typeof text === 'number' ? text : NUMBER.test(String(text)) ? Number(text) : NaN;
  if (!(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
    throw new UserError(
      `${flag} is "${text}"; it should be a ${whole ? 'whole number' : 'number'} ${max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`}.`,
    );
  }
  return value;
}

export function parseDurationMs(flag: string, text: FlagText): number | undefined {
  if (text === undefined) return undefined;
  try {
    const ms = goDurationMs(String(text));
    if (ms < 0) throw new UserError(`${flag} is "${text}"; it should not be negative.`);
    return ms;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `${flag} is "${text}"; it should be a duration, for example 30s: ${errorMessage(error)}.`,
      error,
    );
  }
}

export function parseYesOrNo(flag: string, text: FlagText): boolean | undefined {
  if (text === undefined || typeof text === 'boolean') return text;
  if (text !== 'true' && text !== 'false')
    throw new UserError(`${flag} is "${text}"; it should be true or false.`);
  return text === 'true';
}

export function oneOf<Choice extends string>(
  flag: string,
  text: FlagText,
  choices: readonly Choice[],
): Choice | undefined {
  if (text === undefined) return undefined;
  if (!choices.includes(text as Choice))
    throw new UserError(`${flag} is "${text}"; it should be one of ${choices.join(', ')}.`);
  return text as Choice;
}

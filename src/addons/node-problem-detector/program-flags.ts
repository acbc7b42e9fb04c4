/** Flags of upstream's own plugin programs: '--name=value' and '--name value', which are given in the args of a rule. */
import { parseGoDuration } from '#machinery/go-duration.ts';

/** Throws for a flag that is not known. */
export function readProgramFlags<Name extends string>(
  args: readonly string[],
  known: readonly Name[],
): Partial<Record<Name, string>> {
  const flags: Partial<Record<Name, string>> = {};
  for (let index = 0; index < args.length; index++) {
    const [, name = '', value] = /^--?([a-z-]+)(?:=(.*))?$/s.exec(args[index] ?? '') ?? [];
    if (!known.includes(name as Name))
      throw new Error(
        `${args[index] ?? ''} is not supported; flags are: ${known.map((one) => `--${one}`).join(', ')}`,
      );
    flags[name as Name] = value ?? args[++index] ?? '';
  }
  return flags;
}

/** Throws for no duration. */
export function flagMs(text: string | undefined, defaultMs: number): number {
  return text === undefined ? defaultMs : Number(parseGoDuration(text) / 1_000_000n);
}

/** intstr.IntOrString: a number, or a string such as a port's name or a percentage. */

type IntOrString = number | string;

class IntOrStringError extends Error {
  override readonly name = 'IntOrStringError';
}

/**
 * Returns a number unchanged; for a percentage, that share of the total, rounded up or down. Throws IntOrStringError for other strings, with
 * upstream's message.
 */
export function getScaledValueFromIntOrPercent(
  value: IntOrString | null | undefined,
  total: number,
  options: { readonly roundUp: boolean },
): number {
  if (value === undefined || value === null) throw new IntOrStringError('nil value for IntOrString');
  if (typeof value === 'number') return value;
  if (!value.endsWith('%'))
    throw new IntOrStringError('invalid value for IntOrString: invalid type: string is not a percentage');
  const digits = value.slice(0, -1);
  if (!/^[-+]?[0-9]+$/.test(digits))
    throw new IntOrStringError(
      `invalid value for IntOrString: invalid value ${JSON.stringify(value)}: strconv.Atoi: parsing ${JSON.stringify(digits)}: invalid syntax`,
    );
  const share = (Number(digits) * total) / 100;
  return options.roundUp ? Math.ceil(share) : Math.floor(share);
}

/** A number, or the number in a string, 0 for any other string: upstream's IntValue. */
export function intValue(value: IntOrString): number {
  if (typeof value === 'number') return value;
  return /^[-+]?[0-9]+$/.test(value) ? Number(value) : 0;
}

export function isPercentage(value: IntOrString): boolean {
  return typeof value === 'string' && /^[0-9]+%$/.test(value);
}

/** LDAP search filters (RFC 4515) from templates: every value is escaped, so that none can change the filter's form. */

/** Replaces {name} by the escaped value; other braces stay. One pass: a value that looks like a placeholder stays a value. */
export function fillFilter(template: string, values: Readonly<Record<string, string>>): string {
  return template.replaceAll(/\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(values, name) ? escapeFilterValue(values[name]!) : whole,
  );
}

// oxlint-disable-next-line no-control-regex
const SPECIAL = /[\u0000-\u001f\u007f\\*()&|!=<>~]/g;

export function escapeFilterValue(text: string): string {
  return text.replaceAll(
    SPECIAL,
    (character) => `\\${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

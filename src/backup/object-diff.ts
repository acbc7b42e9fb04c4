/** The fields in which two objects differ, a line each: 'spec.replicas: 2 -> 3'. Values of Secrets are not shown. */

const MAX_CHANGES = 100;
const MAX_VALUE_CHARS = 80;

export function changedFields(before: object, after: object): string[] {
  const isSecret = (before as { kind?: unknown }).kind === 'Secret';
  const changes: string[] = [];
  compare('', { before, after, isSecret, changes });
  return changes;
}

interface Compared {
  readonly before: unknown;
  readonly after: unknown;
  readonly isSecret: boolean;
  readonly changes: string[];
}

function compare(path: string, { before, after, isSecret, changes }: Compared): void {
  if (changes.length >= MAX_CHANGES || JSON.stringify(before) === JSON.stringify(after)) return;
  if (isObject(before) && isObject(after)) {
    for (const name of new Set([...Object.keys(before), ...Object.keys(after)]))
      compare(path === '' ? name : `${path}.${name}`, {
        before: before[name],
        after: after[name],
        isSecret,
        changes,
      });
    return;
  }
  const hidden = isSecret && /^(data|stringData)\b/.test(path);
  changes.push(hidden ? `${path}: changed` : `${path}: ${text(before)} -> ${text(after)}`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  const json = value === undefined ? 'none' : JSON.stringify(value);
  return json.length > MAX_VALUE_CHARS ? `${json.slice(0, MAX_VALUE_CHARS)}…` : json;
}

/** Helpers for printer columns: columns, ages, durations, joined lists. After upstream's printers and apimachinery's util/duration. */
import type { KubeObject } from '#machinery/object.ts';
import type { TableColumn, TableDefinition } from './define.ts';

type ColumnType = TableColumn['type'];

/** 'Name', 'Ready:integer', 'IP:wide', 'Count:integer:wide' → columns. A first column 'Name' is the object's name. */
export function columns(...specs: readonly string[]): TableColumn[] {
  return specs.map((spec) => {
    const [name, ...flags] = spec.split(':');
    const type = (flags.find((flag) => flag !== 'wide' && flag !== 'name') ?? 'string') as ColumnType;
    return {
      name: name!,
      type,
      format: flags.includes('name') || name === 'Name' ? 'name' : '',
      description: DESCRIPTIONS[name!] ?? `${name} of the object.`,
      priority: flags.includes('wide') ? 1 : 0,
    };
  });
}

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  Name: 'Name of the object, unique within its namespace.',
  Age: 'Time since the object was created.',
  'Created At': 'When the object was created.',
};

export const GENERIC_TABLE: TableDefinition<KubeObject> = {
  columns: [
    { name: 'Name', type: 'string', format: 'name', description: DESCRIPTIONS['Name']!, priority: 0 },
    { name: 'Created At', type: 'date', format: '', description: DESCRIPTIONS['Created At']!, priority: 0 },
  ],
  row: (object) => [object.metadata?.name ?? '', object.metadata?.creationTimestamp ?? null],
};

export interface RowContext {
  readonly nowMs: number;
}

export function nameOf(object: KubeObject): string {
  return object.metadata?.name ?? '';
}

/** '5d', or '<unknown>' without a creationTimestamp. */
export function formatAge(object: KubeObject, context: RowContext): string {
  return sinceTime(object.metadata?.creationTimestamp ?? undefined, context);
}

export function sinceTime(time: string | null | undefined, { nowMs }: RowContext): string {
  if (!time) return '<unknown>';
  return humanDuration(nowMs - Date.parse(time));
}

/** The two largest units: '36s', '2m5s', '5h12m', '3d4h', '2y10d'. */
export function humanDuration(durationMs: number): string {
  const seconds = Math.trunc(durationMs / 1000);
  if (seconds < -1) return '<invalid>';
  if (seconds < 0) return '0s';
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.trunc(seconds / 60);
  if (minutes < 10) return withRest(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.trunc(minutes / 60);
  if (hours < 8) return withRest(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  const days = Math.trunc(hours / 24);
  if (hours < 192) return withRest(days, 'd', hours % 24, 'h');
  if (days < 730) return `${days}d`;
  const years = Math.trunc(days / 365);
  return days < 2920 ? withRest(years, 'y', days % 365, 'd') : `${years}y`;
}

function withRest(value: number, unit: string, rest: number, restUnit: string): string {
  return rest === 0 ? `${value}${unit}` : `${value}${unit}${rest}${restUnit}`;
}

/** 'a=b,c=d', or '<none>'. */
export function formatLabels(labels: Readonly<Record<string, string>> | undefined): string {
  const pairs = Object.entries(labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return pairs.length === 0 ? '<none>' : pairs.map(([key, value]) => `${key}=${value}`).join(',');
}

interface Selector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

/** A label selector as text: 'app=web,tier in (a,b),!legacy'; '<none>' for one that selects nothing, and for an empty one. */
export function formatSelector(selector: Selector | undefined): string {
  if (!selector) return '<none>';
  const terms = [
    ...Object.entries(selector.matchLabels ?? {}).map(([key, value]) => ({ key, text: `${key}=${value}` })),
    ...(selector.matchExpressions ?? []).map(({ key, operator, values }) => ({
      key,
      text: formatRequirement(key, operator, values ?? []),
    })),
  ].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  return terms.length === 0 ? '<none>' : terms.map(({ text }) => text).join(',');
}

function formatRequirement(key: string, operator: string, values: readonly string[]): string {
  switch (operator) {
    case 'In':
      return `${key} in (${[...values].sort().join(',')})`;
    case 'NotIn':
      return `${key} notin (${[...values].sort().join(',')})`;
    case 'Exists':
      return key;
    default:
      return `!${key}`;
  }
}

interface Containers {
  containers?: { name: string; image?: string }[];
}

export function containerNames(spec: Containers | undefined): string {
  return (spec?.containers ?? []).map(({ name }) => name).join(',');
}

export function containerImages(spec: Containers | undefined): string {
  return (spec?.containers ?? []).map(({ image }) => image ?? '').join(',');
}

/** For tests only: runs the hooks of a resource for a write, in the API server's order. */
import { fieldErrorBody, type FieldError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { HookContext } from '../define.ts';
import { resourceByGroup } from '../registry.ts';

const NOW_MS = Date.parse('2026-01-02T03:04:05Z');
const CONTEXT: HookContext = {
  user: { name: 'tester', groups: ['system:authenticated'] },
  nowMs: NOW_MS,
  dryRun: false,
  warn: () => {},
  find: () => undefined,
};

interface Written<T> {
  readonly object: T;
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

function texts(errors: readonly FieldError[]): string[] {
  return errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`);
}

/** 'apps/deployments' or 'pods'. */
function find(path: string): NonNullable<ReturnType<typeof resourceByGroup>> {
  const slash = path.lastIndexOf('/');
  const resource = resourceByGroup(slash < 0 ? '' : path.slice(0, slash), path.slice(slash + 1));
  if (!resource) throw new Error(`no resource ${path}`);
  return resource;
}

/** overrides: the request context and other objects for the hooks. */
export function create<T extends KubeObject>(
  path: string,
  given: object,
  overrides: Partial<HookContext> = {},
): Written<T> {
  return createDecoded(path, structuredClone(given) as KubeObject, overrides);
}

/** As create, for a decoded object. */
export function createDecoded<T extends KubeObject>(
  path: string,
  object: KubeObject,
  overrides: Partial<HookContext> = {},
): Written<T> {
  const resource = find(path),
    context = { ...CONTEXT, ...overrides },
    early: string[] = [];
  resource.applyDefaults(object);
  resource.prepareForCreate(object, { ...context, warn: (message) => void early.push(message) });
  resource.applyDefaults(object);
  return {
    object: object as T,
    errors: texts(resource.validate(object, context)),
    warnings: [...early, ...resource.warnings(object, undefined)],
  };
}

/** change() edits a copy of the stored object, as a client would. */
export function update<T extends KubeObject>(
  path: string,
  stored: T,
  change: (object: T) => void,
  subresource?: string,
): Written<T> {
  const resource = find(path),
    next = structuredClone(stored),
    context = { ...CONTEXT, ...(subresource === undefined ? {} : { subresource }) };
  change(next);
  resource.applyDefaults(next);
  if (subresource === 'status') {
    resource.prepareForStatusUpdate(next, stored, context);
    return {
      object: next,
      errors: texts(resource.validateStatusUpdate(next, stored, context)),
      warnings: [],
    };
  }
  resource.prepareForUpdate(next, stored, context);
  return {
    object: next,
    errors: texts(resource.validateUpdate(next, stored, context)),
    warnings: resource.warnings(next, stored),
  };
}

/** Cells by column name. */
export function row(path: string, object: object): Record<string, unknown> {
  const { table } = find(path),
    cells = table.row(object as KubeObject, { nowMs: NOW_MS });
  return Object.fromEntries(table.columns.map((column, i) => [column.name, cells[i]]));
}

/**
 * Group versions that are never taken from a peer's discovery: those of custom resources and extension API servers, which every server of a store knows
 * itself, also for a while after their deletion, so that a peer's older document does not bring them back. After upstream's GVExclusionManager.
 */
import { customResourceDefinitions as definitions } from '#api/refs.ts';
import type { APIService, CustomResourceDefinition } from '#api/types.ts';
import type { Clock } from '#stdx/clock.ts';
import { formatApiVersion } from '#machinery/object.ts';
import { API_SERVICES } from '../aggregation/availability.ts';
import type { InternalApi } from '../registry/loopback-client.ts';

const DEFINITIONS = { group: definitions.group, resource: definitions.plural };
/** Upstream's grace period. */
export const GRACE_MS = 5 * 60_000;

interface ExcludedVersionsOptions {
  readonly internal: InternalApi;
  readonly clock: Clock;
  /** A grace period is over: peers are to be asked again. */
  readonly reaped: () => void;
}

export class ExcludedVersions {
  readonly #options: ExcludedVersionsOptions;
  /** By the object that has them. */
  readonly #active = new Map<string, readonly string[]>();
  /** When they were deleted; as many as were deleted within the grace period. */
  readonly #deleted = new Set<string>();
  readonly #unwatch: (() => void)[] = [];
  #revision = 0;
  #stopped = false;

  constructor(options: ExcludedVersionsOptions) {
    this.#options = options;
  }

  /** Changes with has(). */
  get revision(): number {
    return this.#revision;
  }

  start(): void {
    const follow = (resource: typeof DEFINITIONS, versionsOf: (object: never) => readonly string[]): void => {
      const set = (object: { readonly metadata?: { readonly name?: string } }): void =>
        this.#set(`${resource.resource}/${object.metadata?.name}`, versionsOf(object as never));
      const deleted = (object: { readonly metadata?: { readonly name?: string } }): void =>
        this.#set(`${resource.resource}/${object.metadata?.name}`, []);
      this.#unwatch.push(this.#options.internal.watch(resource, { added: set, updated: set, deleted }));
    };
    follow(DEFINITIONS, versionsOfDefinition);
    follow(API_SERVICES, versionsOfService);
  }

  stop(): void {
    this.#stopped = true;
    for (const unwatch of this.#unwatch) unwatch();
  }

  has(groupVersion: string): boolean {
    if (this.#deleted.has(groupVersion)) return true;
    for (const versions of this.#active.values()) if (versions.includes(groupVersion)) return true;
    return false;
  }

  #set(key: string, versions: readonly string[]): void {
    const before = this.#active.get(key) ?? [];
    if (before.join() === versions.join()) return;
    this.#revision += 1;
    if (versions.length > 0) this.#active.set(key, versions);
    else this.#active.delete(key);
    for (const version of before) if (!versions.includes(version)) this.#keep(version);
  }

  #keep(version: string): void {
    const { clock, reaped } = this.#options;
    this.#deleted.add(version);
    clock.after(GRACE_MS, () => {
      if (this.#stopped || !this.#deleted.delete(version)) return;
      this.#revision += 1;
      reaped();
    });
  }
}

function versionsOfDefinition({ spec }: CustomResourceDefinition): readonly string[] {
  return (spec?.versions ?? []).map(({ name }) =>
    formatApiVersion({ group: spec?.group ?? '', version: name }),
  );
}

/** Of extension servers only: the others say what servers serve themselves. */
function versionsOfService({ spec }: APIService): readonly string[] {
  if (!spec?.service) return [];
  return [formatApiVersion({ group: spec.group ?? '', version: spec.version ?? '' })];
}

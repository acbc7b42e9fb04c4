/**
 * APIServices of this server's own groups, maintained as by upstream's autoregister and CRD registration controllers. Those of built-in groups are
 * corrected once, at start (automanaged=onstart); those of CustomResourceDefinitions always (automanaged=true). One created by a user, or whose
 * label was removed, is left unchanged.
 */
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { APIService, CustomResourceDefinition } from '#api/types.ts';
import type { ServedEndpoints } from '../registry/endpoints.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { KeyedWork } from '#stdx/keyed-work.ts';
import { API_SERVICES } from './availability.ts';
import { AGGREGATOR_GROUP, builtinPriority, CUSTOM_PRIORITY, type Priority } from './priorities.ts';

const AUTOMANAGED = 'kube-aggregator.kubernetes.io/automanaged';
const DEFINITIONS = { group: 'apiextensions.k8s.io', resource: 'customresourcedefinitions' };

type Mode = 'true' | 'onstart';
interface Wanted {
  readonly group: string;
  readonly version: string;
  readonly priority: Priority;
  readonly mode: Mode;
}

interface LocalServicesOptions {
  readonly internal: InternalApi;
  readonly servedEndpoints: ServedEndpoints;
  readonly clock: Clock;
  readonly log: Logger;
}

export class LocalServices {
  readonly #options: LocalServicesOptions;
  readonly #builtin = new Map<string, Wanted>();
  #custom = new Map<string, Wanted>();
  readonly #queue: KeyedWork;
  readonly #unwatch: (() => void)[] = [];
  #stopped = false;

  constructor(options: LocalServicesOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#queue = new KeyedWork({
      clock,
      log,
      complaint: 'an APIService could not be kept up',
      work: (name) => this.#reconcile(name, { isStart: false }),
    });
    for (const {
      isBuiltin,
      gvr: { group, version },
    } of options.servedEndpoints.endpoints) {
      if (isBuiltin && group !== AGGREGATOR_GROUP)
        this.#builtin.set(`${version}.${group}`, {
          group,
          version,
          priority: builtinPriority({ group, version }),
          mode: 'onstart',
        });
    }
  }

  /** Resolves when all that is served has its APIService; follows the definitions afterwards. */
  async start(): Promise<void> {
    const { internal, servedEndpoints } = this.#options;
    if (!servedEndpoints.byGroup(API_SERVICES.group, API_SERVICES.resource) || this.#unwatch.length > 0)
      return;
    this.#readDefinitions();
    const leftOver = (internal.list(API_SERVICES) as APIService[])
      .filter((service) => modeOf(service) !== undefined)
      .map(nameOf);
    await Promise.all(
      [...new Set([...this.#builtin.keys(), ...this.#custom.keys(), ...leftOver])].map((name) =>
        this.#reconcile(name, { isStart: true }),
      ),
    );
    if (this.#stopped || this.#unwatch.length > 0) return;
    if (servedEndpoints.byGroup(DEFINITIONS.group, DEFINITIONS.resource)) {
      const follow = (): void => this.#definitionsChanged();
      this.#unwatch.push(internal.watch(DEFINITIONS, { added: follow, updated: follow, deleted: follow }));
    }
    const check = (object: object): void => {
      if (modeOf(object as APIService) === 'true') this.#queue.add(nameOf(object as APIService));
    };
    this.#unwatch.push(internal.watch(API_SERVICES, { added: check, updated: check, deleted: check }));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const unwatch of this.#unwatch) unwatch();
    await this.#queue.stop();
  }

  #readDefinitions(): void {
    const { internal, servedEndpoints } = this.#options;
    this.#custom = new Map();
    if (!servedEndpoints.byGroup(DEFINITIONS.group, DEFINITIONS.resource)) return;
    for (const { spec } of internal.list(DEFINITIONS) as CustomResourceDefinition[]) {
      for (const { name: version, served } of spec.versions) {
        if (served && !this.#builtin.has(`${version}.${spec.group}`))
          this.#custom.set(`${version}.${spec.group}`, {
            group: spec.group,
            version,
            priority: CUSTOM_PRIORITY,
            mode: 'true',
          });
      }
    }
  }

  #definitionsChanged(): void {
    const before = this.#custom;
    this.#readDefinitions();
    for (const name of this.#custom.keys()) if (!before.has(name)) this.#queue.add(name);
    for (const name of before.keys()) if (!this.#custom.has(name)) this.#queue.add(name);
  }

  async #reconcile(name: string, { isStart }: { readonly isStart: boolean }): Promise<void> {
    const { internal } = this.#options;
    const wanted = this.#builtin.get(name) ?? this.#custom.get(name);
    if (!isStart && wanted?.mode === 'onstart') return;
    const current = internal.get(API_SERVICES, { name }) as APIService | undefined;
    try {
      if (!current) {
        if (wanted) await internal.create(API_SERVICES, objectOf(name, wanted));
        return;
      }
      const mode = modeOf(current);
      if (mode === undefined) return;
      if (!wanted) {
        if (isStart || mode === 'true') await internal.delete(API_SERVICES, { name });
        return;
      }
      const target = objectOf(name, wanted);
      await internal.modify(API_SERVICES, { name }, (object) => {
        const service = object as APIService;
        if (
          modeOf(service) === undefined ||
          (deepEqual(service.spec, target.spec) && modeOf(service) === wanted.mode)
        )
          return false;
        service.spec = target.spec!;
        service.metadata!.labels = { ...service.metadata!.labels, [AUTOMANAGED]: wanted.mode };
        return true;
      });
    } catch (error) {
      // Somebody else was faster.
      if (!isStatusError(error, 'AlreadyExists') && !isStatusError(error, 'NotFound')) throw error;
    }
  }
}

function objectOf(name: string, { group, version, priority, mode }: Wanted): APIService {
  return {
    apiVersion: 'apiregistration.k8s.io/v1',
    kind: 'APIService',
    metadata: { name, labels: { [AUTOMANAGED]: mode } },
    spec: {
      ...(group ? { group } : {}),
      version,
      groupPriorityMinimum: priority.group,
      versionPriority: priority.version,
    },
  };
}

function nameOf(service: APIService): string {
  return service.metadata?.name ?? '';
}

function modeOf({ metadata }: APIService): Mode | undefined {
  const value = metadata?.labels?.[AUTOMANAGED];
  return value === 'true' || value === 'onstart' ? value : undefined;
}

/** Runs admission plugins in tests as the server's chain does: all admit steps, then all validate steps. */
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import { FakeInternal } from '../../authz/testing/loopback-client.ts';
import type { AdmissionAttributes, AdmissionOperation, AdmissionPlugin } from '../plugin.ts';

export interface Attempt {
  readonly operation?: AdmissionOperation;
  /** 'pods', 'pods/status', 'deployments.apps' */
  readonly resource: string;
  readonly object?: KubeObject;
  readonly oldObject?: KubeObject;
  readonly name?: string;
  readonly namespace?: string;
  readonly user?: UserInfo;
  readonly dryRun?: boolean;
}

export class AdmissionBench {
  readonly internal = new FakeInternal();
  readonly warnings: string[] = [];
  readonly #plugins: readonly AdmissionPlugin[];

  constructor(...plugins: readonly AdmissionPlugin[]) {
    this.#plugins = plugins;
  }

  attributes(attempt: Attempt): AdmissionAttributes {
    const [full = '', subresource = ''] = attempt.resource.split('/');
    const dot = full.indexOf('.');
    const [resource, group] = dot < 0 ? [full, ''] : [full.slice(0, dot), full.slice(dot + 1)];
    const some = attempt.object ?? attempt.oldObject;
    return {
      operation: attempt.operation ?? 'CREATE',
      gvr: { group, version: 'v1', resource },
      gvk: { group, version: 'v1', kind: some?.kind ?? '' },
      subresource,
      namespace: attempt.namespace ?? some?.metadata?.namespace ?? '',
      name: attempt.name ?? some?.metadata?.name ?? '',
      object: attempt.object,
      oldObject: attempt.oldObject,
      user: attempt.user ?? { name: 'jane', groups: [] },
      dryRun: attempt.dryRun ?? false,
      options: {},
      warn: (message) => void this.warnings.push(message),
      internal: this.internal,
    };
  }

  /** Returns the object after the plugins ran. */
  async run<T extends KubeObject>(attempt: Attempt & { readonly object?: T }): Promise<T> {
    return this.runWith(
      this.attributes({ ...attempt, ...(attempt.object ? { object: structuredClone(attempt.object) } : {}) }),
    );
  }

  async runWith<T extends KubeObject>(attributes: AdmissionAttributes): Promise<T> {
    const { group, resource } = attributes.gvr;
    const handling = this.#plugins.filter((plugin) =>
      plugin.handles(attributes.operation, { group, resource, subresource: attributes.subresource }),
    );
    for (const plugin of handling) await plugin.admit?.(attributes);
    for (const plugin of handling) await plugin.validate?.(attributes);
    return attributes.object as T;
  }

  async undo(attributes: AdmissionAttributes): Promise<void> {
    for (const plugin of this.#plugins) await plugin.undo?.(attributes);
  }
}

/** Runs admission plugins in their list's order: mutating first, validating after the object's own validation; gives back on failure. */
import type { GroupVersionResource } from '#machinery/object.ts';
import type { AdmissionAttributes, AdmissionOperation, AdmissionPlugin, AdmissionStart } from './admission/plugin.ts';

interface Handlers { readonly mutating: readonly AdmissionPlugin[]; readonly validating: readonly AdmissionPlugin[] }

const MAX_REMEMBERED = 2048;
const NONE: Handlers = { mutating: [], validating: [] };

export class AdmissionChain {
  readonly plugins: readonly AdmissionPlugin[];
  /** By resource, then by operation and subresource. */
  readonly #remembered = new Map<GroupVersionResource, Map<string, Handlers>>();

  constructor(plugins: readonly AdmissionPlugin[]) {
    this.plugins = plugins;
  }

  /** Once, before the first request. Answers what ends the plugins. */
  start(context: Omit<AdmissionStart, 'handlesChanged'>): () => void {
    const stops = this.plugins.map((plugin) => plugin.start?.({ ...context, handlesChanged: () => this.#remembered.clear() }));
    return () => stops.forEach((stop) => stop?.());
  }

  /** False: admit() leaves the object as it is. */
  mayChange(attributes: AdmissionAttributes): boolean {
    return this.#handlers(attributes).mutating.length > 0;
  }

  /** Undefined when nothing has to be waited for. */
  admit(attributes: AdmissionAttributes): void | Promise<void> {
    const waiting = this.#admitOnce(attributes);
    return waiting ? waiting.then(() => this.#admitAgain(attributes)) : this.#admitAgain(attributes);
  }

  #admitOnce(attributes: AdmissionAttributes): void | Promise<void> {
    return run(this.#handlers(attributes).mutating, { attributes, call: (plugin) => plugin.admit!(attributes) });
  }

  #admitAgain(attributes: AdmissionAttributes): void | Promise<void> {
    const { reinvocation } = attributes;
    if (!reinvocation?.wanted || reinvocation.isSecondRound) return;
    reinvocation.isSecondRound = true;
    return this.#admitOnce(attributes);
  }

  validate(attributes: AdmissionAttributes): void | Promise<void> {
    return run(this.#handlers(attributes).validating, { attributes, call: (plugin) => plugin.validate!(attributes) });
  }

  /** The write that validate() let pass did not happen. */
  async undo(attributes: AdmissionAttributes): Promise<void> {
    for (const plugin of this.#handlers(attributes).validating) await plugin.undo?.(attributes);
  }

  #handlers({ operation, gvr, subresource }: AdmissionAttributes): Handlers {
    if (this.plugins.length === 0) return NONE;
    let ofResource = this.#remembered.get(gvr);
    if (!ofResource) {
      // Custom resources come and go.
      if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear();
      this.#remembered.set(gvr, (ofResource = new Map()));
    }
    const key = subresource === '' ? operation : `${operation} ${subresource}`;
    let found = ofResource.get(key);
    if (!found) ofResource.set(key, (found = this.#select(operation, { group: gvr.group, resource: gvr.resource, subresource })));
    return found;
  }

  #select(operation: AdmissionOperation, target: { readonly group: string; readonly resource: string; readonly subresource: string }): Handlers {
    const handling = this.plugins.filter((plugin) => plugin.handles(operation, target));
    return { mutating: handling.filter((plugin) => plugin.admit), validating: handling.filter((plugin) => plugin.validate) };
  }
}

interface Run { readonly attributes: AdmissionAttributes; readonly call: (plugin: AdmissionPlugin) => void | Promise<void> }

function run(plugins: readonly AdmissionPlugin[], step: Run): void | Promise<void> {
  for (let i = 0; i < plugins.length; i++) {
    const waiting = step.call(plugins[i]!);
    if (waiting) return runOn(plugins, { ...step, from: i + 1, waiting });
  }
}

async function runOn(plugins: readonly AdmissionPlugin[], { call, from, waiting }: Run & { readonly from: number; readonly waiting: Promise<void> }): Promise<void> {
  await waiting;
  for (let i = from; i < plugins.length; i++) await call(plugins[i]!);
}

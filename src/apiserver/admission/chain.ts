/** Runs admission plugins in their list's order: mutating first, validating after the object's own validation; gives back on failure. */
import type { GroupVersionResource } from '#machinery/object.ts';
import type { Distribution, Histogram } from '#stdx/instruments.ts';
import type { Metrics } from '../nonresource/metrics.ts';
import type { AdmissionAttributes, AdmissionOperation, AdmissionPlugin, AdmissionStart } from './plugin.ts';

/** Histograms of a step's duration: for admitted and for rejected requests. */
interface Seconds {
  readonly passed: Distribution;
  readonly refused: Distribution;
}
interface Step {
  readonly plugin: AdmissionPlugin;
  readonly seconds: Seconds | undefined;
}
interface Steps {
  readonly steps: readonly Step[];
  readonly seconds: Seconds | undefined;
}
interface Handlers {
  readonly mutating: Steps;
  readonly validating: Steps;
}

const MAX_REMEMBERED = 2048;
const NO_STEPS: Steps = { steps: [], seconds: undefined };
const NONE: Handlers = { mutating: NO_STEPS, validating: NO_STEPS };

export class AdmissionChain {
  readonly plugins: readonly AdmissionPlugin[];
  /** By resource, then by operation and subresource. */
  #metrics: Metrics | undefined;
  readonly #remembered = new Map<GroupVersionResource, Map<string, Handlers>>();

  constructor(plugins: readonly AdmissionPlugin[]) {
    this.plugins = plugins;
  }

  /** Called once, before the first request. Returns the function that stops the plugins. */
  start(context: Omit<AdmissionStart, 'handlesChanged'>): () => void {
    this.#metrics = context.metrics;
    const stops = this.plugins.map((plugin) =>
      plugin.start?.({ ...context, handlesChanged: () => this.#remembered.clear() }),
    );
    return () => stops.forEach((stop) => stop?.());
  }

  /** False: admit() does not mutate the object. */
  mayChange(attributes: AdmissionAttributes): boolean {
    return this.#handlers(attributes).mutating.steps.length > 0;
  }

  /** Undefined when nothing has to be waited for. */
  admit(attributes: AdmissionAttributes): void | Promise<void> {
    const waiting = this.#admitOnce(attributes);
    return waiting ? waiting.then(() => this.#admitAgain(attributes)) : this.#admitAgain(attributes);
  }

  #admitOnce(attributes: AdmissionAttributes): void | Promise<void> {
    return run(this.#handlers(attributes).mutating, {
      attributes,
      call: (plugin) => plugin.admit!(attributes),
    });
  }

  #admitAgain(attributes: AdmissionAttributes): void | Promise<void> {
    const { reinvocation } = attributes;
    if (!reinvocation?.wanted || reinvocation.isSecondRound) return;
    reinvocation.isSecondRound = true;
    return this.#admitOnce(attributes);
  }

  validate(attributes: AdmissionAttributes): void | Promise<void> {
    const waiting = run(this.#handlers(attributes).validating, {
      attributes,
      call: (plugin) => plugin.validate!(attributes),
    });
    // Plugins that take something are asynchronous: without a promise nothing was taken.
    return waiting?.catch(async (error: unknown) => {
      await this.undo(attributes);
      throw error;
    });
  }

  /** The write that validate() let pass did not happen. */
  async undo(attributes: AdmissionAttributes): Promise<void> {
    for (const { plugin } of this.#handlers(attributes).validating.steps) await plugin.undo?.(attributes);
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
    if (!found)
      ofResource.set(
        key,
        (found = this.#select(operation, { group: gvr.group, resource: gvr.resource, subresource })),
      );
    return found;
  }

  #select(
    operation: AdmissionOperation,
    target: { readonly group: string; readonly resource: string; readonly subresource: string },
  ): Handlers {
    const handling = this.plugins.filter((plugin) => plugin.handles(operation, target));
    return {
      mutating: this.#steps(
        handling.filter((plugin) => plugin.admit),
        { operation, type: 'admit' },
      ),
      validating: this.#steps(
        handling.filter((plugin) => plugin.validate),
        { operation, type: 'validate' },
      ),
    };
  }

  #steps(
    plugins: readonly AdmissionPlugin[],
    { operation, type }: { readonly operation: AdmissionOperation; readonly type: string },
  ): Steps {
    const metrics = this.#metrics;
    if (!metrics)
      return { steps: plugins.map((plugin) => ({ plugin, seconds: undefined })), seconds: undefined };
    const of = (histogram: Histogram, name = ''): Seconds => {
      const [passed, refused] = [false, true].map((rejected) =>
        histogram.of(`${name}operation="${operation}",rejected="${rejected}",type="${type}"`),
      );
      return { passed: passed!, refused: refused! };
    };
    return {
      steps: plugins.map((plugin) => ({
        plugin,
        seconds: of(metrics.pluginSeconds, `name="${plugin.name}",`),
      })),
      seconds: of(metrics.admissionSeconds),
    };
  }
}

interface Run {
  readonly attributes: AdmissionAttributes;
  readonly call: (plugin: AdmissionPlugin) => void | Promise<void>;
}

/** The end of one plugin's time is the beginning of the next one's. */
function run({ steps, seconds }: Steps, { call }: Run): void | Promise<void> {
  const begunMs = performance.now();
  let sinceMs = begunMs;
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i]!;
    let waiting;
    try {
      waiting = call(step.plugin);
    } catch (error) {
      refused([step.seconds, sinceMs], [seconds, begunMs]);
      throw error;
    }
    if (waiting) return runOn({ steps, seconds }, { call, from: i, waiting, begunMs, sinceMs });
    sinceMs = passed(step.seconds, sinceMs);
  }
  passed(seconds, begunMs);
}

interface RunOn {
  readonly call: Run['call'];
  readonly from: number;
  readonly waiting: Promise<void>;
  readonly begunMs: number;
  readonly sinceMs: number;
}

async function runOn(
  { steps, seconds }: Steps,
  { call, from, waiting, begunMs, sinceMs: since }: RunOn,
): Promise<void> {
  let sinceMs = since;
  for (let i = from; i < steps.length; i++) {
    const step = steps[i]!;
    try {
      await (i === from ? waiting : call(step.plugin));
    } catch (error) {
      refused([step.seconds, sinceMs], [seconds, begunMs]);
      throw error;
    }
    sinceMs = passed(step.seconds, sinceMs);
  }
  passed(seconds, begunMs);
}

/** Returns the current time. */
function passed(seconds: Seconds | undefined, sinceMs: number): number {
  const nowMs = performance.now();
  seconds?.passed.observe((nowMs - sinceMs) / 1000);
  return nowMs;
}

function refused(...counted: readonly (readonly [seconds: Seconds | undefined, sinceMs: number])[]): void {
  const nowMs = performance.now();
  for (const [seconds, sinceMs] of counted) seconds?.refused.observe((nowMs - sinceMs) / 1000);
}

/** Syncs that were put off because a cache had not seen the controller's own writes: upstream's <subsystem>_stale_sync_skips_total. */
import { Counter, label } from '#stdx/instruments.ts';
import type { ResourceRef } from '#client/client.ts';
import type { ControllerDefinition } from './controller.ts';

export class StaleSyncs {
  readonly #counters: ReadonlyMap<string, Counter>;

  constructor(definitions: readonly ControllerDefinition[]) {
    this.#counters = new Map(
      definitions.flatMap(({ name, seesOwnWrites }) =>
        seesOwnWrites
          ? [
              [
                name,
                new Counter(
                  `${seesOwnWrites.subsystem}_stale_sync_skips_total`,
                  'Syncs that were put off since a watch cache was stale, by group and resource.',
                ),
              ] as const,
            ]
          : [],
      ),
    );
  }

  count({ name }: ControllerDefinition, { group, plural }: ResourceRef): void {
    this.#counters.get(name)?.add([label('group', group), label('resource', plural)].join(','));
  }

  render(): string[] {
    return [...this.#counters.values()].flatMap((counter) => counter.render());
  }
}

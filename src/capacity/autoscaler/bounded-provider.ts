/**
 * A provider none of whose calls takes longer than a limit, so that one that hangs does not stop the autoscaler; and that is not asked to change anything once the lease of leader election may be over, as
 * client/fenced-client.ts does it for the API.
 */
import type { Clock } from '#stdx/clock.ts';
import { ProviderError, type NodeProvider } from './provider.ts';

interface Bounds {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** No other instance can lead. */
  readonly mayWrite: () => boolean;
}

export function boundedProvider(
  provider: NodeProvider,
  { clock, timeoutMs, mayWrite }: Bounds,
): NodeProvider {
  const within = <T>(what: string, call: Promise<T>): Promise<T> => {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const timer = clock.after(timeoutMs, () =>
      reject(
        new ProviderError(
          'timeout',
          `${provider.name}: ${what} did not answer within ${timeoutMs / 1_000} s`,
        ),
      ),
    );
    call.then(resolve, reject).finally(() => timer.cancel());
    return promise;
  };
  const change = <T>(what: string, call: () => Promise<T>): Promise<T> =>
    mayWrite()
      ? within(what, call())
      : Promise.reject(
          new ProviderError('failed', `${what} was not sent: the lease of leader election may be over`),
        );
  return {
    name: provider.name,
    refresh: () => within('refresh', provider.refresh()),
    groups: () => within('groups', provider.groups()),
    groupOf: (node) => within('groupOf', provider.groupOf(node)),
    targetSize: (group) => within('targetSize', provider.targetSize(group)),
    instances: (group) => within('instances', provider.instances(group)),
    template: (group) => within('template', provider.template(group)),
    increase: (group, delta) => change('increase', () => provider.increase(group, delta)),
    deleteNodes: (group, nodes) => change('deleteNodes', () => provider.deleteNodes(group, nodes)),
    decreaseTarget: (group, delta) => change('decreaseTarget', () => provider.decreaseTarget(group, delta)),
    ...(provider.price
      ? { price: (group, template) => within('price', provider.price!(group, template)) }
      : {}),
    ...(provider.options
      ? { options: (group, defaults) => within('options', provider.options!(group, defaults)) }
      : {}),
    close: () => within('close', provider.close()),
  };
}

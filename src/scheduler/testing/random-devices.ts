/** Random devices and requests for them: models, slots, memory, counters, taints, alternatives, shares. */
import type { Device, DeviceRequest } from '#api/generated/types/resource-v1.ts';
import type { Random } from '#stdx/random.ts';
import { cel, DRIVER } from './devices.ts';

const MODELS = ['a', 'b'];
const chance = (random: Random, share: number): boolean => random() < share;
const below = (random: Random, most: number): number => Math.floor(random() * most);
const pick = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)]!;

export function randomDevice(random: Random, index: number): Device {
  const isShared = chance(random, 0.25);
  return {
    name: `d${index}`,
    attributes: { model: { string: pick(random, MODELS) }, slot: { int: below(random, 3) } },
    ...(isShared ? { allowMultipleAllocations: true } : {}),
    capacity: {
      memory: {
        value: `${2 + below(random, 4)}Gi`,
        ...(isShared ? { requestPolicy: { default: '1Gi' } } : {}),
      },
    },
    ...(chance(random, 0.3)
      ? {
          consumesCounters: [
            { counterSet: 'set', counters: { memory: { value: `${1 + below(random, 3)}Gi` } } },
          ],
        }
      : {}),
    ...(chance(random, 0.15) ? { taints: [{ key: 'broken', effect: 'NoSchedule' }] } : {}),
  };
}

export function randomRequest(
  random: Random,
  { name, mayTakeAll }: { readonly name: string; readonly mayTakeAll: boolean },
): DeviceRequest {
  const one = () => ({
    deviceClassName: 'gpus',
    ...(mayTakeAll && chance(random, 0.15)
      ? { allocationMode: 'All' }
      : { allocationMode: 'ExactCount', count: 1 + below(random, 2) }),
    ...(chance(random, 0.4)
      ? { selectors: [cel(`device.attributes["${DRIVER}"].model == "${pick(random, MODELS)}"`)] }
      : {}),
    ...(chance(random, 0.3) ? { tolerations: [{ operator: 'Exists' }] } : {}),
    ...(chance(random, 0.3) ? { capacity: { requests: { memory: `${1 + below(random, 4)}Gi` } } } : {}),
  });
  return chance(random, 0.3)
    ? {
        name,
        firstAvailable: [
          { name: 'x', ...one() },
          { name: 'y', ...one() },
        ],
      }
    : { name, exactly: { ...one(), ...(chance(random, 0.1) ? { adminAccess: true } : {}) } };
}

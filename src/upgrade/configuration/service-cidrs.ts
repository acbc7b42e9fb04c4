/** ServiceCIDRs of a configuration: further ranges for Services, as objects of the API. They are added and, of one family, get a second; ranges never change. */
import type { ServiceCIDR } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { serviceCIDRs } from '#client/refs.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { UserError } from '#deploy/data-dir.ts';
import { isServiceCIDR } from '#machinery/service-cidr.ts';
import type { Clock } from '#stdx/clock.ts';
import { isSame } from './differences.ts';
import { rangesOverlap } from './networking.ts';

interface ServiceCIDRPlan {
  readonly changes: readonly string[];
  readonly refused: readonly string[];
  readonly created: readonly ServiceCIDR[];
}

interface Around {
  readonly existing: readonly ServiceCIDR[];
  readonly podSubnet: string;
}

const OF_THE_CLUSTER = 'kubernetes';

export function planServiceCIDRs(
  given: readonly ServiceCIDR[],
  { existing, podSubnet }: Around,
): ServiceCIDRPlan {
  const changes: string[] = [];
  const refused: string[] = [];
  const created: ServiceCIDR[] = [];
  for (const one of given) {
    const name = one.metadata?.name ?? '';
    const cidrs = one.spec?.cidrs ?? [];
    const found = existing.find(({ metadata }) => metadata?.name === name);
    if (found && isSame(found.spec?.cidrs, cidrs)) continue;
    const problem = found ? changedProblem(name) : problemOf(name, { cidrs, podSubnet });
    if (problem !== undefined) {
      refused.push(`ServiceCIDR ${name} cannot be ${found ? 'changed' : 'added'}: ${problem}`);
      continue;
    }
    changes.push(`ServiceCIDR ${name}: (none) -> ${cidrs.join()}`);
    created.push(one);
  }
  return { changes, refused, created };
}

function changedProblem(name: string): string {
  return name === OF_THE_CLUSTER
    ? 'it follows networking.serviceSubnet'
    : 'its ranges are fixed. Add another with a new name; the old one goes by kubectl delete once no Service has an address of it';
}

function problemOf(
  name: string,
  { cidrs, podSubnet }: { readonly cidrs: readonly string[]; readonly podSubnet: string },
): string | undefined {
  if (name === '') return 'metadata.name is missing';
  if (cidrs.length === 0 || cidrs.length > 2) return 'spec.cidrs should be one range, or one of each family';
  const wrong = cidrs.find((range) => !isServiceCIDR(range));
  if (wrong !== undefined)
    return `spec.cidrs has ${JSON.stringify(wrong)}; it should be a range like 10.112.0.0/16`;
  const pods = podSubnet.split(',').find((range) => cidrs.some((one) => rangesOverlap(one, range)));
  return pods === undefined ? undefined : `${cidrs.join()} overlaps with the addresses of pods, ${pods}`;
}

const READY_TIMEOUT_MS = 30_000;
const LOOK_EVERY_MS = 500;

/** Resolves when API servers allocate from it. Throws a UserError. */
export async function createServiceCIDR(
  api: Client,
  { object, clock }: { readonly object: ServiceCIDR; readonly clock: Clock },
): Promise<void> {
  const name = object.metadata?.name ?? '';
  await api.create(serviceCIDRs, object);
  for (const begin = clock.monotonic(); ; await clock.sleep(LOOK_EVERY_MS)) {
    const { status } = await api.get(serviceCIDRs, { name });
    if (isConditionTrue(status?.conditions, 'Ready')) return;
    if (clock.monotonic() - begin > READY_TIMEOUT_MS)
      throw new UserError(`ServiceCIDR ${name} is not ready after ${READY_TIMEOUT_MS / 1000} s.`);
  }
}

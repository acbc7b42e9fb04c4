/**
 * What an upgrade changes of one machine: which checkout of Capstan runs each service, and which version API server, controller manager and scheduler
 * behave as. Pure: cmd/upgrade/node.ts reads and writes the record. Every step may be done again; etcd is never touched.
 *
 *   old ─ control-plane ─► new program, behaves as old ─ raise ─► behaves as new ─ node ─► every service is new
 *    ▲──────── rollback ◄────────────┘◄─────────────────────────────┘◄────────────────────────┘
 */
import type { ServiceSpec } from '#deploy/machine/services.ts';

export type MachineStep = 'control-plane' | 'raise' | 'node' | 'rollback' | 'rollback-node' | 'hold';

const CONTROL_PLANE: readonly string[] = ['apiserver', 'controller-manager', 'scheduler', 'dns'];
const NODE: readonly string[] = ['balancer', 'node', 'proxy'];
const EMULATING: readonly string[] = ['apiserver', 'controller-manager', 'scheduler'];
const FLAG = '--emulated-version';

/** /var/lib/capstan/upgrade.json: what a rollback of this machine goes back to, until the next upgrade begins. */
export interface MachineUpgrade {
  readonly format: 1;
  /** Directory of the new program. */
  readonly checkout: string;
  /** 'v1.37.0+capstan.0.2.0' */
  readonly version: string;
  /** The services as they were. */
  readonly before: readonly ServiceSpec[];
  /** Directory of the program whose supervisor ran then. Undefined: none ran. */
  readonly supervisor?: string | undefined;
  readonly step: MachineStep;
}

interface StepOptions {
  readonly step: MachineStep;
  readonly services: readonly ServiceSpec[];
  readonly upgrade: Pick<MachineUpgrade, 'before' | 'checkout'>;
  /** '1.36': of the step control-plane. */
  readonly emulated?: string | undefined;
}

/** The services of the machine after the step. */
export function servicesAfter({ step, services, upgrade, emulated }: StepOptions): ServiceSpec[] {
  const { before, checkout } = upgrade;
  const original = (service: ServiceSpec): ServiceSpec =>
    before.find(({ name }) => name === service.name) ?? service;
  switch (step) {
    case 'control-plane':
      return change(services, CONTROL_PLANE, (one) => emulating({ ...original(one), checkout }, emulated));
    case 'raise':
      return change(services, CONTROL_PLANE, (one) => ({ ...original(one), checkout }));
    case 'node':
      return change(services, NODE, (one) => ({ ...original(one), checkout }));
    case 'rollback':
      return [...before];
    case 'rollback-node':
      return change(services, NODE, original);
    // Nothing writes to etcd while a backup is restored into it.
    case 'hold':
      return before.filter(({ name }) => name !== 'apiserver');
  }
}

function change(
  services: readonly ServiceSpec[],
  names: readonly string[],
  by: (service: ServiceSpec) => ServiceSpec,
): ServiceSpec[] {
  return services.map((service) => (names.includes(service.name) ? by(service) : service));
}

function emulating(service: ServiceSpec, emulated: string | undefined): ServiceSpec {
  if (emulated === undefined || !EMULATING.includes(service.name) || !('capstan' in service.run))
    return service;
  const words = service.run.capstan.filter((word) => !word.startsWith(`${FLAG}=`));
  return { ...service, run: { capstan: [...words, `${FLAG}=${emulated}`] } };
}

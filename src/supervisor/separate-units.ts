/**
 * A unit of systemd for each service of a machine, in place of capstan.service: `init` and `join` with --separate-units. Each runs a supervisor of that
 * one service. capstan.target has all of them; a service that leaves the record loses its unit.
 *
 *   multi-user.target ─► capstan.target ─► capstan-certificates ─► capstan-etcd, capstan-balancer ─► capstan-apiserver ─► the others
 *                                          (renewed before anything starts)                  stopped in reverse
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { CERTIFICATES, PARTS, partsOf, type Part } from './only.ts';
import { FIRST } from './supervisor.ts';
import { renderSupervisorUnit, systemctl, UNIT_DIR, WRITTEN_BY, writeUnit } from './unit.ts';

const TARGET = 'capstan.target';

interface SeparateUnits {
  readonly services: readonly ServiceSpec[];
  /** `capstan supervise --only PART`. */
  command(part: Part): readonly string[];
  /** That its containers are in. */
  readonly scope: string;
}

function unitOf(part: Part): string {
  return `capstan-${part}.service`;
}

/** Text by name; empty without services. */
export function renderSeparateUnits({ services, command, scope }: SeparateUnits): Map<string, string> {
  const parts = partsOf(services);
  const units = new Map(
    parts.map((part) => [
      unitOf(part),
      renderSupervisorUnit({
        description: `Capstan: ${DESCRIPTIONS[part]} of a Kubernetes machine`,
        unit: [`PartOf=${TARGET}`, ...orderOf(part, scope)],
        mounts: part === 'etcd' ? '/var/lib/capstan /var/lib/etcd' : '/var/lib/capstan',
        command: command(part),
        wantedBy: TARGET,
      }),
    ]),
  );
  return parts.length === 0 ? units : units.set(TARGET, renderTarget());
}

const DESCRIPTIONS: Readonly<Record<Part, string>> = {
  certificates: 'the renewal of certificates',
  balancer: 'the balancer to the API servers',
  etcd: 'etcd',
  apiserver: 'the API server',
  'controller-manager': 'the controllers',
  scheduler: 'the scheduler',
  node: 'the node agent',
  proxy: 'the service proxy',
  dns: 'the DNS server',
};

/** After= orders only what is started or stopped together: a unit that is restarted takes no other along. */
function orderOf(part: Part, scope: string): readonly string[] {
  if (part === CERTIFICATES) return [];
  const before = PARTS.slice(0, PARTS.indexOf(part)).filter(
    (other) => other === CERTIFICATES || FIRST.includes(other),
  );
  return [
    `Wants=${unitOf(CERTIFICATES)}`,
    `After=${[...before.map(unitOf), ...(part === 'node' ? [scope] : [])].join(' ')}`,
  ];
}

function renderTarget(): string {
  return [
    `${WRITTEN_BY}`,
    '[Unit]',
    'Description=Capstan: the services of a Kubernetes machine',
    'Documentation=https://kubernetes.io/docs/',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ].join('\n');
}

/** Writes, enables and starts the units of these services, and stops and removes those of others. Does not wait until they are ready. */
export function installSeparateUnits(options: SeparateUnits): void {
  const units = renderSeparateUnits(options);
  remove(installed().filter((name) => !units.has(name)));
  const changed = [...units].filter(([name, text]) => writeUnit(name, text));
  if (units.size === 0) return;
  if (changed.length > 0) systemctl(['daemon-reload']);
  systemctl(['enable', '--quiet', ...units.keys()]);
  systemctl(['start', '--no-block', TARGET, ...[...units.keys()].filter((name) => name !== TARGET)]);
}

/** Stops and removes all of them, in the order that they ask for. Does nothing where there are none. */
export function removeSeparateUnits(): void {
  remove(installed());
}

function remove(names: readonly string[]): void {
  if (names.length === 0) return;
  systemctl(['disable', '--now', '--quiet', ...names]);
  for (const name of names) rmSync(join(UNIT_DIR, name), { force: true });
  systemctl(['daemon-reload']);
}

/** Whether this machine has separate units. */
export function hasSeparateUnits(): boolean {
  return installed().length > 0;
}

/** A unit of the same name that somebody else wrote is none of ours. */
function installed(): string[] {
  return [TARGET, ...PARTS.map(unitOf)].filter((name) => {
    try {
      return readFileSync(join(UNIT_DIR, name), 'utf8').startsWith(WRITTEN_BY);
    } catch {
      return false;
    }
  });
}

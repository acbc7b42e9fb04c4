/** Counts of volumes and claims, as upstream's pv_collector_* of the volume binder. Pure. */
import type { PersistentVolume, PersistentVolumeClaim } from '#api/types.ts';
import { classOfClaim, classOfVolume } from '#component-helpers/persistent-volumes.ts';
import { label } from '#stdx/instruments.ts';

interface Inventory {
  readonly volumes: readonly PersistentVolume[];
  readonly claims: readonly PersistentVolumeClaim[];
}

/** Names of upstream's plugins for the kinds that have one. */
const PLUGINS: Readonly<Record<string, string>> = {
  fc: 'kubernetes.io/fc',
  flexVolume: 'kubernetes.io/flexvolume',
  hostPath: 'kubernetes.io/host-path',
  iscsi: 'kubernetes.io/iscsi',
  local: 'kubernetes.io/local-volume',
  nfs: 'kubernetes.io/nfs',
};

export function volumeLines({ volumes, claims }: Inventory): string[] {
  const [bound, unbound] = halves(volumes, ({ status }) => status?.phase === 'Bound');
  const [boundClaims, unboundClaims] = halves(claims, ({ status }) => status?.phase === 'Bound');
  return [
    ...family('pv_collector_total_pv_count', 'Number of persistent volumes.', {
      objects: volumes,
      labels: ({ spec }) => [
        label('plugin_name', pluginOf(spec)),
        label('volume_mode', spec?.volumeMode ?? 'Filesystem'),
      ],
    }),
    ...family('pv_collector_bound_pv_count', 'Number of bound persistent volumes.', {
      objects: bound,
      labels: (volume) => [label('storage_class', classOfVolume(volume))],
    }),
    ...family('pv_collector_unbound_pv_count', 'Number of unbound persistent volumes.', {
      objects: unbound,
      labels: (volume) => [label('storage_class', classOfVolume(volume))],
    }),
    ...family('pv_collector_bound_pvc_count', 'Number of bound persistent volume claims.', {
      objects: boundClaims,
      labels: claimLabels,
    }),
    ...family('pv_collector_unbound_pvc_count', 'Number of unbound persistent volume claims.', {
      objects: unboundClaims,
      labels: claimLabels,
    }),
  ];
}

function halves<T>(all: readonly T[], test: (one: T) => boolean): [T[], T[]] {
  return [all.filter(test), all.filter((one) => !test(one))];
}

function family<T>(
  name: string,
  help: string,
  { objects, labels }: { readonly objects: readonly T[]; readonly labels: (object: T) => string[] },
): string[] {
  const counts = new Map<string, number>();
  for (const object of objects) {
    const key = labels(object).join();
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} gauge`,
    ...[...counts].map(([key, count]) => `${name}{${key}} ${count}`),
  ];
}

function claimLabels(claim: PersistentVolumeClaim): string[] {
  return [
    label('namespace', claim.metadata?.namespace ?? ''),
    label('storage_class', classOfClaim(claim)),
    label('volume_attributes_class', claim.spec?.volumeAttributesClassName ?? ''),
  ];
}

function pluginOf(spec: PersistentVolume['spec']): string {
  if (spec?.csi) return `kubernetes.io/csi:${spec.csi.driver}`;
  const kind = Object.keys(PLUGINS).find((name) => (spec as Record<string, unknown> | undefined)?.[name]);
  return kind === undefined ? 'N/A' : PLUGINS[kind]!;
}

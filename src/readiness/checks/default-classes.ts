/** Check default-classes: no default StorageClass though claims wait for one, or several defaults of a kind. */
import { ingressClasses, persistentVolumeClaims, storageClasses } from '#client/refs.ts';
import type { Stored } from '#machinery/object.ts';
import { listAll } from '../list-all.ts';
import type { Finding, ReadinessCheck } from '../check.ts';

const STORAGE = 'storageclass.kubernetes.io/is-default-class';
const INGRESS = 'ingressclass.kubernetes.io/is-default-class';

export const defaultClasses: ReadinessCheck = {
  name: 'default-classes',
  short: 'there is one default class where one is needed',
  async run({ api }) {
    const storage = defaultsOf((await api.list(storageClasses)).items, STORAGE);
    const ingress = defaultsOf((await api.list(ingressClasses)).items, INGRESS);
    const { items } = await listAll(api, persistentVolumeClaims);
    const waiting = items.filter(
      ({ spec, status }) => spec?.storageClassName === undefined && status?.phase === 'Pending',
    );
    return [
      ...several('StorageClass', storage, STORAGE),
      ...several('IngressClass', ingress, INGRESS),
      ...(storage.length === 0 && waiting.length > 0
        ? [
            {
              severity: 'error' as const,
              object: `PersistentVolumeClaim ${waiting[0]!.metadata.namespace}/${waiting[0]!.metadata.name}`,
              evidence: `${waiting.length} claims name no StorageClass, and none is the default`,
              remedy: `kubectl annotate storageclass NAME ${STORAGE}=true`,
            },
          ]
        : []),
    ];
  },
};

function defaultsOf(items: readonly Stored[], annotation: string): string[] {
  return items
    .filter(({ metadata }) => metadata.annotations?.[annotation] === 'true')
    .map(({ metadata }) => metadata.name);
}

function several(kind: string, names: readonly string[], annotation: string): Finding[] {
  return names.length < 2
    ? []
    : [
        {
          severity: 'warning',
          object: kind,
          evidence: `${names.join(', ')} are all the default; the newest is taken`,
          remedy: `kubectl annotate ${kind.toLowerCase()} NAME ${annotation}-`,
        },
      ];
}

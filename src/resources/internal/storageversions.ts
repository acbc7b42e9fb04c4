/** StorageVersion: the version in which each API server stores a resource. */
import type { KubeObject } from '#machinery/object.ts';
import { defineResource } from '../define.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const SHOWN_MAX = 3;

interface Status {
  commonEncodingVersion?: string;
  storageVersions?: { apiServerID?: string; encodingVersion?: string }[];
}

export const storageversions = defineResource({
  group: 'internal.apiserver.k8s.io',
  plural: 'storageversions',
  written: { status: { without: ['spec', 'metadata'] } },
  nameRule: 'path-segment',
  allowUnconditionalUpdate: false,
  table: {
    columns: columns('Name', 'CommonEncodingVersion', 'StorageVersions', 'Age'),
    row: (object, context) => [
      nameOf(object),
      statusOf(object).commonEncodingVersion ?? '<unset>',
      formatVersions(object),
      formatAge(object, context),
    ],
  },
});

function statusOf(object: KubeObject): Status {
  return (object['status'] ?? {}) as Status;
}

function formatVersions(object: KubeObject): string {
  const versions = (statusOf(object).storageVersions ?? []).map(
    ({ apiServerID, encodingVersion }) => `${apiServerID}=${encodingVersion}`,
  );
  if (versions.length === 0) return '<unset>';
  return versions.length > SHOWN_MAX
    ? `${versions.slice(0, SHOWN_MAX).join(',')} + ${versions.length - SHOWN_MAX} more...`
    : versions.join(',');
}

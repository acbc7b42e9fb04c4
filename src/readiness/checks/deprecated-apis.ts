/**
 * Check deprecated-apis: API versions that are gone, or going, and who writes in them: managers of stored objects (managedFields), custom resources'
 * stored versions, requests that the API server counted (apiserver_requested_deprecated_apis), and the audit log of this machine. Deprecated ones that
 * stay, such as Endpoints v1, are no finding.
 */
import { builtinResources, enabledByDefault } from '#api/resources.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { customResourceDefinitions } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatApiVersion, type Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { compareMajorMinor, formatMajorMinor, type MajorMinor } from '#machinery/effective-version.ts';
import { findDeprecation } from '#resources/deprecations.ts';
import { removedIn } from '#resources/lifecycle.ts';
import { scanAuditLogs } from '../audit-log.ts';
import { listAll, listAllMetadata } from '../list-all.ts';
import type { CheckContext, Finding, ReadinessCheck } from '../check.ts';

/** Managers that are named of one API version. */
const SHOWN = 5;

export const deprecatedApis: ReadinessCheck = {
  name: 'deprecated-apis',
  short: 'nobody uses an API version that is going',
  async run(context) {
    return [
      ...(await managers(context)),
      ...(await storedVersions(context)),
      ...(await requested(context)),
      ...(await audited(context)),
    ];
  },
};

interface Use {
  readonly kind: string;
  readonly objects: Set<string>;
  readonly managers: Set<string>;
}

async function managers({ api, target }: CheckContext): Promise<Finding[]> {
  const uses = new Map<string, Use>();
  for (const ref of watchedKinds())
    for (const object of await listServed(api, ref))
      for (const { apiVersion = '', manager = '' } of object.metadata.managedFields ?? [])
        if (removedIn(apiVersion, ref.kind) !== undefined)
          noteUse(uses, { name: `${apiVersion} ${ref.kind}`, kind: ref.kind, object, manager });
  return Array.from(uses, ([name, { kind, objects, managers: by }]) => {
    const [apiVersion = ''] = name.split(' ');
    return {
      severity: severityOf(removedIn(apiVersion, kind), target),
      object: `${kind} ${[...objects].slice(0, SHOWN).join(', ')}${objects.size > SHOWN ? ', …' : ''}`,
      evidence: `${objects.size} objects were written by ${[...by].slice(0, SHOWN).join(', ')} as ${findDeprecation(apiVersion, kind)}`,
      remedy: 'change the manifests or the program that writes them to the newer version',
    };
  });
}

function noteUse(
  uses: Map<string, Use>,
  {
    name,
    kind,
    object: { metadata },
    manager,
  }: { readonly name: string; readonly kind: string; readonly object: Stored; readonly manager: string },
): void {
  const use = uses.get(name) ?? { kind, objects: new Set(), managers: new Set() };
  use.objects.add(metadata.namespace ? `${metadata.namespace}/${metadata.name}` : metadata.name);
  use.managers.add(manager);
  uses.set(name, use);
}

/** A reference that is not served any more has no objects to look at. */
async function listServed(api: Client, ref: ResourceRef): Promise<readonly Stored[]> {
  try {
    return (await listAllMetadata(api, ref)).items;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return [];
    throw error;
  }
}

/** Kinds of which some version is deprecated, by a version that is served. */
function watchedKinds(): ResourceRef[] {
  const deprecated = new Set(
    builtinResources
      .filter((facts) => removedIn(formatApiVersion(facts), facts.kind) !== undefined)
      .map(({ group, plural }) => `${group}/${plural}`),
  );
  return builtinResources.filter(
    ({ group, plural, version }) => deprecated.has(`${group}/${plural}`) && enabledByDefault(version),
  );
}

/** apiserver_requested_deprecated_apis{group="storage.k8s.io",removed_release="1.37",…,version="v1beta1"} 1 */
async function requested({ api, target }: CheckContext): Promise<Finding[]> {
  const response = await api.transport.request({ method: 'GET', path: '/metrics' });
  const text = (await response.bytes()).toString();
  return text
    .split('\n')
    .filter((line) => line.startsWith('apiserver_requested_deprecated_apis{'))
    .flatMap((line) => {
      const field = (name: string): string => new RegExp(`[{,]${name}="([^"]*)"`).exec(line)?.[1] ?? '';
      const [major = 0, minor = 0] = field('removed_release').split('.').map(Number);
      if (major === 0) return [];
      const removed = { major, minor };
      return {
        severity: severityOf(removed, target),
        object: `${field('group')}/${field('version')} ${field('resource')}`,
        evidence: `it was requested since this API server started, and is gone in ${formatMajorMinor(removed)}`,
        remedy:
          'change what requests it to the newer version; an audit log names who: --audit-log-path and --audit-policy-file of the API servers',
      };
    });
}

/** Versions of custom resources that objects may still be stored in, though they are deprecated or not served. */
async function storedVersions({ api }: CheckContext): Promise<Finding[]> {
  const { items } = await listAll(api, customResourceDefinitions);
  return items.flatMap(({ metadata, spec, status }) =>
    (status?.storedVersions ?? []).flatMap((name) => {
      const version = spec?.versions?.find((one) => one.name === name);
      if (version?.storage || (version?.served && !version.deprecated)) return [];
      return {
        severity: 'warning' as const,
        object: `CustomResourceDefinition ${metadata.name}`,
        evidence: `objects of it may be stored as ${name}, which is ${version?.served ? 'deprecated' : 'not served'}`,
        remedy: `write them anew (a StorageVersionMigration, or kubectl get | kubectl replace), then take ${name} out of status.storedVersions`,
      };
    }),
  );
}

/** Requests that long ago are worth a look, but may have ended. */
const RECENT_MS = 24 * 3_600_000;

/** Of the API server of this machine: others have logs of their own. */
async function audited({ machine, target, nowMs }: CheckContext): Promise<Finding[]> {
  const paths = machine?.auditLogs?.() ?? [];
  if (paths.length === 0) return [];
  const { uses, unread } = await scanAuditLogs(paths);
  const found = uses
    .filter(({ removedRelease }) => removedRelease !== '')
    .map(({ name, removedRelease, requests, users, lastMs }): Finding => {
      const [major = 0, minor = 0] = removedRelease.split('.').map(Number);
      const isRecent = nowMs - lastMs < RECENT_MS;
      return {
        severity: isRecent ? severityOf({ major, minor }, target) : 'warning',
        object: name,
        evidence: `the audit log of this machine has ${requests} requests by ${[...users].slice(0, SHOWN).join(', ')}${users.size > SHOWN ? ', …' : ''}, the last at ${formatTime(lastMs)}; it is gone in ${removedRelease}`,
        remedy:
          'change these programs to the newer version; the other control planes have audit logs of their own: run capstan doctor --check deprecated-apis there',
      };
    });
  if (unread.length === 0) return found;
  const evidence = `not all of the audit log was read: ${unread.slice(0, SHOWN).join('; ')}${unread.length > SHOWN ? `; and ${unread.length - SHOWN} more` : ''}`;
  const remedy =
    'search the rest yourself for the annotation k8s.io/deprecated, or keep shorter logs: --audit-log-maxsize';
  return [...found, { severity: 'info', object: 'audit log', evidence, remedy }];
}

/** Gone in the version that the cluster is upgraded to: an error. */
function severityOf(removed: MajorMinor | undefined, target: MajorMinor | undefined): Finding['severity'] {
  return removed && target && compareMajorMinor(removed, target) <= 0 ? 'error' : 'warning';
}

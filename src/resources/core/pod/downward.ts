/** References to a pod's own fields and resources, in environment variables and downward API volumes. */
import type { ObjectFieldSelector, ResourceFieldSelector } from '#api/types.ts';
import { checkQualifiedName } from '../../checks.ts';
import { parseResourceQuantity } from '../../resource-list.ts';
import type { Errors, Path } from '../../field-path.ts';

export const VOLUME_FIELD_PATHS = [
  'metadata.annotations',
  'metadata.labels',
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
];
export const ENV_FIELD_PATHS = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
];
/** Every field path of v1; others are not valid field labels at all. */
const KNOWN_FIELD_PATHS = new Set([
  ...VOLUME_FIELD_PATHS,
  ...ENV_FIELD_PATHS,
  'spec.host',
  'spec.restartPolicy',
  'spec.schedulerName',
  'status.phase',
  'status.nominatedNodeName',
]);

/** "metadata.labels['app']" → field and subscript. */
function splitSubscript(text: string): { readonly field: string; readonly subscript?: string } {
  const start = text.endsWith("']") ? text.indexOf("['") : -1;
  return start < 1 ? { field: text } : { field: text.slice(0, start), subscript: text.slice(start + 2, -2) };
}

export function checkFieldRef(
  ref: ObjectFieldSelector,
  supported: readonly string[],
  path: Path,
  errors: Errors,
): void {
  if (!ref.apiVersion) {
    errors.required(path.child('apiVersion'));
    return;
  }
  if (!ref.fieldPath) {
    errors.required(path.child('fieldPath'));
    return;
  }
  const { field, subscript } = splitSubscript(ref.fieldPath);
  const problem =
    ref.apiVersion !== 'v1'
      ? `unsupported pod version: ${ref.apiVersion}`
      : KNOWN_FIELD_PATHS.has(field) &&
          (subscript === undefined || field === 'metadata.annotations' || field === 'metadata.labels')
        ? undefined
        : subscript !== undefined
          ? `field label does not support subscript: ${ref.fieldPath}`
          : `field label not supported: ${ref.fieldPath}`;
  if (problem !== undefined) {
    errors.invalid(path.child('fieldPath'), ref.fieldPath, `error converting fieldPath: ${problem}`);
    return;
  }
  if (subscript !== undefined)
    checkQualifiedName(field === 'metadata.annotations' ? subscript.toLowerCase() : subscript, path, errors);
  else if (!supported.includes(field)) errors.notSupported(path.child('fieldPath'), field, supported);
}

const RESOURCE_FIELDS = [
  'limits.cpu',
  'limits.ephemeral-storage',
  'limits.memory',
  'requests.cpu',
  'requests.ephemeral-storage',
  'requests.memory',
];
const BYTE_DIVISORS = ['1', '1k', '1M', '1G', '1T', '1P', '1E', '1Ki', '1Mi', '1Gi', '1Ti', '1Pi', '1Ei'];

export function checkResourceFieldRef(
  ref: ResourceFieldSelector,
  path: Path,
  errors: Errors,
  { inVolume }: { readonly inVolume: boolean },
): void {
  const hugePages = /^(requests|limits)\.hugepages-/.test(ref.resource ?? '');
  if (inVolume && !ref.containerName) errors.required(path.child('containerName'));
  else if (!ref.resource) errors.required(path.child('resource'));
  else if (!hugePages && !RESOURCE_FIELDS.includes(ref.resource))
    errors.notSupported(path.child('resource'), ref.resource, RESOURCE_FIELDS);
  if (ref.divisor === undefined || ref.divisor === '0') return;
  const divisor = parseResourceQuantity(ref.divisor);
  if (divisor.sign === 0) return;
  const field = ref.resource?.replace(/^(requests|limits)\./, '');
  if (field === 'cpu') {
    if (!['1m', '1'].includes(divisor.toString()))
      errors.invalid(
        path.child('divisor'),
        ref.resource,
        "only divisor's values 1m and 1 are supported with the cpu resource",
      );
    return;
  }
  const kind =
    field === 'memory'
      ? 'memory'
      : field === 'ephemeral-storage'
        ? 'local ephemeral storage'
        : hugePages
          ? 'hugepages'
          : undefined;
  if (kind !== undefined && !BYTE_DIVISORS.includes(divisor.toString())) {
    errors.invalid(
      path.child('divisor'),
      ref.resource,
      `only divisor's values ${BYTE_DIVISORS.join(', ')} are supported with the ${kind}${kind === 'local ephemeral storage' || kind === 'memory' || kind === 'hugepages' ? ' resource' : ''}`,
    );
  }
}

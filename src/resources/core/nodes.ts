/** Node. */
import type { Node, Taint } from '#api/types.ts';
import { DNS1123_SUBDOMAIN_MAX_LENGTH, validateLabelValue } from '#machinery/names.ts';
import { rangeWarnings } from '../address-warnings.ts';
import { checkCIDR, checkQualifiedName, isDualStack } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, METADATA, SPEC, STATUS, type Path } from '../field-path.ts';
import { checkQuantity } from '../resource-list.ts';
import { keepAllButStatus, keepField } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { roundUp } from './pod/defaults.ts';
import { TAINT_EFFECTS } from './pod/scheduling.ts';

const ROLE_PREFIX = 'node-role.kubernetes.io/';
const ROLE_LABEL = 'kubernetes.io/role';

export const nodes = defineResource<Node>({
  group: '',
  plural: 'nodes',
  applyDefaults: (node) => {
    node.spec ??= {};
    const { status, spec } = node;
    // Of the two fields, the deprecated one takes precedence.
    if (spec.podCIDR && spec.podCIDRs?.[0] !== spec.podCIDR) spec.podCIDRs = [spec.podCIDR];
    else if (!spec.podCIDR && spec.podCIDRs?.length) spec.podCIDR = spec.podCIDRs[0]!;
    if (!status) return;
    for (const image of status.images ?? [])
      if (!image.names?.length) image.names = null as unknown as string[];
    if (status.capacity && !status.allocatable) status.allocatable = { ...status.capacity };
    roundUp(status.capacity);
    roundUp(status.allocatable);
  },
  // A node may be created with its status, as kubelets do. Dynamic kubelet configuration is no longer part of the API.
  prepareForCreate: (node) => {
    delete node.spec?.configSource;
    delete node.status?.config;
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    if (!previous.spec?.configSource) delete next.spec?.configSource;
  },
  validate: (node) => {
    const errors = new Errors();
    checkNode(node, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkNode(next, errors);
    checkUpdate(next, previous, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous) => {
      keepAllButStatus(next, previous);
      if (!previous.status?.config) delete next.status?.config;
    },
    validateUpdate: (next, previous) => {
      const errors = new Errors();
      checkUpdate(next, previous, errors);
      return errors.list;
    },
  },
  fieldSelectors: { 'spec.unschedulable': (node) => String(node.spec?.unschedulable ?? false) },
  warnings: ({ spec = {} }) => [
    ...(spec.configSource ? ['spec.configSource: the feature is removed'] : []),
    ...(spec.externalID ? ['spec.externalID: this field is deprecated, and is unused by Kubernetes'] : []),
    ...(spec.podCIDRs ?? []).flatMap((range, i) => rangeWarnings(range, `spec.podCIDRs[${i}]`)),
  ],
  table: {
    columns: columns(
      'Name',
      'Status',
      'Roles',
      'Age',
      'Version',
      'Internal-IP:wide',
      'External-IP:wide',
      'OS-Image:wide',
      'Kernel-Version:wide',
      'Container-Runtime:wide',
    ),
    row: (node, context) => {
      const info = node.status?.nodeInfo;
      return [
        nameOf(node),
        statusOf(node),
        rolesOf(node),
        formatAge(node, context),
        info?.kubeletVersion ?? '',
        addressOf(node, 'InternalIP'),
        addressOf(node, 'ExternalIP'),
        info?.osImage || '<unknown>',
        info?.kernelVersion || '<unknown>',
        info?.containerRuntimeVersion || '<unknown>',
      ];
    },
  },
});

function statusOf(node: Node): string {
  const ready = node.status?.conditions?.find(({ type }) => type === 'Ready');
  const words = [ready === undefined ? 'Unknown' : ready.status === 'True' ? 'Ready' : 'NotReady'];
  if (node.spec?.unschedulable) words.push('SchedulingDisabled');
  return words.join(',');
}

function rolesOf(node: Node): string {
  const roles = new Set<string>();
  for (const [key, value] of Object.entries(node.metadata?.labels ?? {})) {
    if (key.startsWith(ROLE_PREFIX) && key.length > ROLE_PREFIX.length)
      roles.add(key.slice(ROLE_PREFIX.length));
    else if (key === ROLE_LABEL && value) roles.add(value);
  }
  return roles.size === 0 ? '<none>' : [...roles].sort().join(',');
}

function addressOf(node: Node, type: string): string {
  return node.status?.addresses?.find((address) => address.type === type)?.address ?? '<none>';
}

function checkNode(node: Node, errors: Errors): void {
  checkTaints(node.spec?.taints ?? [], METADATA.child('taints'), errors);
  checkAmounts(node, errors);
  checkFeatures(node.status?.declaredFeatures ?? [], STATUS.child('declaredFeatures'), errors);
  const ranges = node.spec?.podCIDRs ?? [],
    path = SPEC.child('podCIDRs');
  ranges.forEach((range, i) => checkCIDR(range, path.index(i), errors));
  if (ranges.length > 1 && (!isDualStack(ranges) || ranges.length > 2))
    errors.invalid(path, ranges, 'may specify no more than one CIDR for each IP family');
}

function checkTaints(taints: readonly Taint[], path: Path, errors: Errors): void {
  const seen = new Set<string>();
  taints.forEach((taint, i) => {
    const at = path.index(i);
    checkQualifiedName(taint.key, at.child('key'), errors);
    const problems = validateLabelValue(taint.value ?? '');
    if (problems.length > 0) errors.invalid(at.child('value'), taint.value, problems.join(';'));
    if (!taint.effect) errors.required(at.child('effect'));
    else if (!TAINT_EFFECTS.includes(taint.effect))
      errors.notSupported(at.child('effect'), taint.effect, TAINT_EFFECTS);
    const pair = `${taint.key}:${taint.effect}`;
    if (seen.has(pair))
      errors.list.push({
        type: 'FieldValueDuplicate',
        field: at.toString(),
        badValue: taint,
        detail: 'taints must be unique by key and effect pair',
      });
    seen.add(pair);
  });
}

function checkAmounts(node: Node, errors: Errors): void {
  for (const field of ['capacity', 'allocatable'] as const) {
    const amounts = node.status?.[field];
    for (const name in amounts) checkQuantity(name, amounts[name]!, STATUS.child(field).child(name), errors);
  }
}

const FEATURE_NAME = /^[A-Z][a-zA-Z0-9]*(\/[a-zA-Z][a-zA-Z0-9]*)*$/;

function checkFeatures(features: readonly string[], path: Path, errors: Errors): void {
  features.forEach((feature, i) => {
    const name = `invalid feature name ${JSON.stringify(feature)}`,
      next = features[i + 1];
    if (feature.length > DNS1123_SUBDOMAIN_MAX_LENGTH)
      errors.invalid(
        path.index(i),
        feature,
        `${name}: must be no more than ${DNS1123_SUBDOMAIN_MAX_LENGTH} characters`,
      );
    else if (!FEATURE_NAME.test(feature))
      errors.invalid(
        path.index(i),
        feature,
        `${name}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes`,
      );
    if (next === feature) errors.duplicate(path.index(i + 1), next);
    else if (next !== undefined && next < feature)
      errors.invalid(path.index(i + 1), next, 'list must be sorted alphabetically');
  });
}

function checkUpdate(next: Node, previous: Node, errors: Errors): void {
  checkAmounts(next, errors);
  checkFeatures(next.status?.declaredFeatures ?? [], STATUS.child('declaredFeatures'), errors);
  const addresses = new Set<string>();
  next.status?.addresses?.forEach((address, i) => {
    const key = `${address.type}/${address.address}`;
    if (addresses.has(key)) errors.duplicate(STATUS.child('addresses').index(i), address);
    addresses.add(key);
  });
  const before = previous.spec?.podCIDRs ?? [],
    after = next.spec?.podCIDRs ?? [];
  if (
    before.length > 0 &&
    (before.length !== after.length || before.some((range, i) => range !== after[i]))
  ) {
    errors.forbidden(SPEC.child('podCIDRs'), 'node updates may not change podCIDR except from "" to valid');
  }
  if (previous.spec?.providerID && previous.spec.providerID !== next.spec?.providerID)
    errors.forbidden(
      SPEC.child('providerID'),
      'node updates may not change providerID except from "" to valid',
    );
  checkTaints(next.spec?.taints ?? [], METADATA.child('taints'), errors);
  if ((next.spec?.externalID ?? '') !== (previous.spec?.externalID ?? ''))
    errors.forbidden(SPEC.child('externalID'), 'may not be updated');
}

/** NetworkPolicy. */
import type {
  IPBlock,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from '#api/types.ts';
import type { FieldError } from '#machinery/errors.ts';
import { cidrContains, parseCIDR } from '#machinery/ip.ts';
import { checkCIDR, checkLabelSelector, checkPortName, checkPortNumber } from '../checks.ts';
import { rangeWarnings } from '../address-warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, type Path, SPEC } from '../field-path.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { formatAge, columns, formatSelector, nameOf } from '../tables.ts';

/** In the order of upstream's messages. */
const TYPES = ['Ingress', 'Egress'];
const PORT_PROTOCOLS = ['TCP', 'UDP', 'SCTP'];

export const networkpolicies = defineResource<NetworkPolicy>({
  group: 'networking.k8s.io',
  plural: 'networkpolicies',
  applyDefaults: (policy) => {
    const spec = (policy.spec ??= {} as NetworkPolicySpec);
    spec.podSelector ??= {};
    if (!spec.policyTypes?.length)
      spec.policyTypes = spec.egress?.length ? ['Ingress', 'Egress'] : ['Ingress'];
    for (const rule of [...(spec.ingress ?? []), ...(spec.egress ?? [])])
      for (const port of rule.ports ?? []) port.protocol ??= 'TCP';
  },
  prepareForCreate: startGeneration,
  prepareForUpdate: (next, previous) => bumpGeneration(next, previous),
  validate: (policy) => check(policy, []),
  validateUpdate: (next, previous) => check(next, rangesOf(previous)),
  warnings: ({ spec }) => [
    ...(spec?.ingress ?? []).flatMap(({ from }, i) => peerWarnings(from, `spec.ingress[${i}].from`)),
    ...(spec?.egress ?? []).flatMap(({ to }, i) => peerWarnings(to, `spec.egress[${i}].to`)),
  ],
  table: {
    columns: columns('Name', 'Pod-Selector', 'Age'),
    row: (policy, context) => [
      nameOf(policy),
      formatSelector(policy.spec?.podSelector),
      formatAge(policy, context),
    ],
  },
});

/** kept: ranges of the stored policy. */
function check({ spec }: NetworkPolicy, kept: readonly string[]): FieldError[] {
  const errors = new Errors();
  checkLabelSelector(spec?.podSelector, SPEC.child('podSelector'), errors);
  spec?.ingress?.forEach((rule, i) =>
    checkRule(rule.ports, rule.from, SPEC.child('ingress').index(i), errors, { direction: 'from', kept }),
  );
  spec?.egress?.forEach((rule, i) =>
    checkRule(rule.ports, rule.to, SPEC.child('egress').index(i), errors, { direction: 'to', kept }),
  );
  const types = spec?.policyTypes ?? [];
  if (types.length > 2)
    errors.invalid(SPEC.child('policyTypes'), types, 'may not specify more than two policyTypes');
  else
    types.forEach((type, i) => {
      if (!TYPES.includes(type)) errors.notSupported(SPEC.child('policyTypes').index(i), type, TYPES);
    });
  return errors.list;
}

function rangesOf({ spec }: NetworkPolicy): string[] {
  const peers = [
    ...(spec?.ingress ?? []).flatMap(({ from = [] }) => from),
    ...(spec?.egress ?? []).flatMap(({ to = [] }) => to),
  ];
  return peers.flatMap(({ ipBlock }) => (ipBlock ? [ipBlock.cidr, ...(ipBlock.except ?? [])] : []));
}

function peerWarnings(peers: readonly NetworkPolicyPeer[] | undefined, path: string): string[] {
  return (peers ?? []).flatMap(({ ipBlock }, i) => {
    if (!ipBlock) return [];
    const at = `${path}[${i}].ipBlock`;
    return [
      ...rangeWarnings(ipBlock.cidr ?? '', `${at}.cidr`),
      ...(ipBlock.except ?? []).flatMap((range, j) => rangeWarnings(range, `${at}.except[${j}]`)),
    ];
  });
}

function checkRule(
  ports: readonly NetworkPolicyPort[] | undefined,
  peers: readonly NetworkPolicyPeer[] | undefined,
  path: Path,
  errors: Errors,
  { direction, kept }: { readonly direction: 'from' | 'to'; readonly kept: readonly string[] },
): void {
  ports?.forEach((port, i) => checkPort(port, path.child('ports').index(i), errors));
  peers?.forEach((peer, i) => checkPeer(peer, path.child(direction).index(i), errors, kept));
}

function checkPort(port: NetworkPolicyPort, path: Path, errors: Errors): void {
  if (port.protocol !== undefined && !PORT_PROTOCOLS.includes(port.protocol))
    errors.notSupported(path.child('protocol'), port.protocol, PORT_PROTOCOLS);
  if (port.port === undefined) {
    if (port.endPort !== undefined)
      errors.invalid(
        path.child('endPort'),
        port.endPort,
        'may not be specified when `port` is not specified',
      );
    return;
  }
  if (typeof port.port === 'string') {
    if (port.endPort !== undefined)
      errors.invalid(path.child('endPort'), port.endPort, 'may not be specified when `port` is non-numeric');
    checkPortName(port.port, path, 'port', errors);
    return;
  }
  checkPortNumber(port.port, path, 'port', errors);
  if (port.endPort === undefined) return;
  if (port.endPort < port.port)
    errors.invalid(path.child('endPort'), port.port, 'must be greater than or equal to `port`');
  checkPortNumber(port.endPort, path, 'endPort', errors);
}

function checkPeer(peer: NetworkPolicyPeer, path: Path, errors: Errors, kept: readonly string[]): void {
  checkLabelSelector(peer.podSelector, path.child('podSelector'), errors);
  checkLabelSelector(peer.namespaceSelector, path.child('namespaceSelector'), errors);
  if (peer.ipBlock) checkBlock(peer.ipBlock, path.child('ipBlock'), errors, kept);
  if (!peer.podSelector && !peer.namespaceSelector && !peer.ipBlock)
    errors.required(path, 'must specify a peer');
  else if (peer.ipBlock && (peer.podSelector || peer.namespaceSelector))
    errors.forbidden(path, 'may not specify both ipBlock and another peer');
}

function checkBlock(block: IPBlock, path: Path, errors: Errors, kept: readonly string[]): void {
  if (!block.cidr) {
    errors.required(path.child('cidr'));
    return;
  }
  checkCIDR(block.cidr, path.child('cidr'), errors, kept);
  const outer = parseCIDR(block.cidr);
  if (!outer) return;
  block.except?.forEach((except, i) => {
    const at = path.child('except').index(i),
      inner = parseCIDR(except);
    checkCIDR(except, at, errors, kept);
    if (inner && (!cidrContains(outer, inner.address) || outer.prefixLength >= inner.prefixLength))
      errors.invalid(at, except, 'must be a strict subset of `cidr`');
  });
}

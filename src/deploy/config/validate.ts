/** Validates configurations. Reports every problem with the path of its field. */
import { applyFields } from '#machinery/config/fields.ts';
import { KUBELET_FIELDS } from './kubelet.ts';
import { isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import { goDurationMs } from '#machinery/go-duration.ts';
import { KEY_ALGORITHMS, type KeyAlgorithm } from '#pki/keys.ts';
import { UserError } from '../data-dir.ts';
import { isDnsName, parseHostPort } from './endpoint.ts';
import { listNetworkingProblems } from './networking.ts';
import type { ConfigDocuments } from './read.ts';
import { isBootstrapToken } from './token.ts';
import type {
  APIEndpoint,
  Arg,
  BootstrapToken,
  ClusterConfiguration,
  ExternalEtcd,
  HostPathMount,
  KubeletConfiguration,
  NodeRegistration,
  Timeouts,
} from './types.ts';

/** Adds a problem: the path of the field, and the expected value. */
type Report = (path: string, problem: string) => void;

/** Flags of init and join by the fields that they set. */
const FLAGS: Readonly<Record<string, string>> = {
  'apiServer.certSANs': '--apiserver-cert-extra-sans',
  'bootstrapTokens[0].token': '--token',
  'bootstrapTokens[0].ttl': '--token-ttl',
  certificateKey: '--certificate-key',
  certificatesDir: '--cert-dir',
  controlPlaneEndpoint: '--control-plane-endpoint',
  'controlPlane.certificateKey': '--certificate-key',
  'controlPlane.localAPIEndpoint.advertiseAddress': '--apiserver-advertise-address',
  'discovery.bootstrapToken.apiServerEndpoint': 'HOST:PORT',
  'discovery.bootstrapToken.caCertHashes': '--discovery-token-ca-cert-hash',
  'discovery.bootstrapToken.token': '--token',
  kubernetesVersion: '--kubernetes-version',
  'localAPIEndpoint.advertiseAddress': '--apiserver-advertise-address',
  'networking.dnsDomain': '--service-dns-domain',
  'networking.podSubnet': '--pod-network-cidr',
  'networking.serviceSubnet': '--service-cidr',
  'nodeRegistration.name': '--node-name',
};

/** Of a configuration that was made of flags alone: the user knows nothing of its fields. Throws a UserError with the first problem. */
export function requireValidFlags(documents: ConfigDocuments): void {
  const [problem] = listProblems(documents);
  if (problem === undefined) return;
  const [, path = '', text = ''] = /^\w+: (\S+) ([^]*)$/.exec(problem) ?? [];
  const flag = FLAGS[path];
  throw new UserError(flag === undefined ? `the configuration is invalid: ${problem}` : `${flag} ${text}`);
}

/** Throws a UserError with one line a problem. */
export function requireValid(documents: ConfigDocuments): void {
  const problems = listProblems(documents);
  if (problems.length === 0) return;
  const lines = problems.map((problem) => (problems.length === 1 ? problem : `\n  ${problem}`));
  throw new UserError(`the configuration is invalid: ${lines.join('')}`);
}

export function listProblems({ init, cluster, join, kubelet }: ConfigDocuments): string[] {
  const problems: string[] = [];
  const reportOf =
    (kind: string): Report =>
    (path, problem) =>
      problems.push(`${kind}: ${path} ${problem}`);
  if (init) {
    const report = reportOf('InitConfiguration');
    init.bootstrapTokens?.forEach((token, index) => checkToken(token, `bootstrapTokens[${index}]`, report));
    checkRegistration(init.nodeRegistration, report);
    checkEndpoint(init.localAPIEndpoint, 'localAPIEndpoint', report);
    checkCertificateKey(init.certificateKey, 'certificateKey', report);
    checkPatches(init.patches, report);
    checkTimeouts(init.timeouts, report);
  }
  if (cluster) checkCluster(cluster, reportOf('ClusterConfiguration'));
  if (join) {
    const report = reportOf('JoinConfiguration');
    checkRegistration(join.nodeRegistration, report);
    checkEndpoint(join.controlPlane?.localAPIEndpoint, 'controlPlane.localAPIEndpoint', report);
    checkCertificateKey(join.controlPlane?.certificateKey, 'controlPlane.certificateKey', report);
    checkPatches(join.patches, report);
    checkTimeouts(join.timeouts, report);
    checkDiscovery(join.discovery, report);
  }
  if (kubelet) checkKubelet(kubelet, reportOf('KubeletConfiguration'));
  return problems;
}

function checkToken(given: BootstrapToken, path: string, report: Report): void {
  if (given.token && !isBootstrapToken(given.token))
    report(`${path}.token`, 'should be like abcdef.0123456789abcdef');
  if (given.expires !== undefined && given.ttl !== undefined)
    report(`${path}.expires`, 'excludes ttl: give one of them');
  if (given.expires !== undefined && Number.isNaN(Date.parse(given.expires)))
    report(`${path}.expires`, 'should be a time like 2030-01-02T03:04:05Z');
  checkDuration(given.ttl, `${path}.ttl`, report);
  for (const usage of given.usages ?? [])
    if (!['signing', 'authentication'].includes(usage))
      report(`${path}.usages`, `has ${JSON.stringify(usage)}; it can have signing and authentication`);
  for (const group of given.groups ?? [])
    if (!/^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/.test(group))
      report(`${path}.groups`, `has ${JSON.stringify(group)}; each should begin with system:bootstrappers:`);
}

function checkTimeouts(timeouts: Timeouts = {}, report: Report): void {
  for (const [name, text] of Object.entries(timeouts)) checkDuration(text, `timeouts.${name}`, report);
}

function checkDuration(text: string | undefined, path: string, report: Report): void {
  if (text === undefined || text === '') return;
  try {
    if (goDurationMs(text) < 0) report(path, 'should not be negative');
  } catch {
    report(path, `is ${JSON.stringify(text)}; it should be a duration like 24h, 90m or 1h30m`);
  }
}

function checkRegistration(given: NodeRegistration = {}, report: Report): void {
  if (given.name && !isDnsName(given.name.toLowerCase()))
    report('nodeRegistration.name', `is ${JSON.stringify(given.name)}; it should be a DNS name`);
  checkArgs(given.kubeletExtraArgs, 'nodeRegistration.kubeletExtraArgs', report);
  given.taints?.forEach(({ key, effect }, index) => {
    const path = `nodeRegistration.taints[${index}]`;
    if (!key) report(`${path}.key`, 'is missing');
    if (!['NoSchedule', 'PreferNoSchedule', 'NoExecute'].includes(effect))
      report(`${path}.effect`, 'should be NoSchedule, PreferNoSchedule or NoExecute');
  });
}

function checkEndpoint(given: APIEndpoint = {}, path: string, report: Report): void {
  const { advertiseAddress, bindPort } = given;
  if (
    advertiseAddress &&
    (isIP(advertiseAddress) === 0 || /^(0\.0\.0\.0|::|127\.|::1$)/.test(advertiseAddress))
  )
    report(
      `${path}.advertiseAddress`,
      `is ${JSON.stringify(advertiseAddress)}; it should be an IP address that other machines reach`,
    );
  if (bindPort !== undefined && (bindPort < 0 || bindPort > 65_535))
    report(`${path}.bindPort`, `is ${bindPort}; it should be a port number`);
}

function checkCertificateKey(key: string | undefined, path: string, report: Report): void {
  if (key && !/^[0-9a-fA-F]{64}$/.test(key))
    report(path, 'should be 64 hexadecimal digits: a key of 32 bytes');
}

function checkPatches(patches: { readonly directory?: string } | undefined, report: Report): void {
  if (patches?.directory)
    report('patches.directory', 'is refused: there are no manifests to patch; use extraArgs and extraEnvs');
}

function checkCluster(cluster: ClusterConfiguration, report: Report): void {
  const { etcd, networking, controlPlaneEndpoint, apiServer } = cluster;
  if (controlPlaneEndpoint && !parseHostPort(controlPlaneEndpoint))
    report(
      'controlPlaneEndpoint',
      `is ${JSON.stringify(controlPlaneEndpoint)}; it should be HOST or HOST:PORT`,
    );
  for (const [path, component] of Object.entries({ apiServer, ...componentsOf(cluster) })) {
    checkArgs(component?.extraArgs, `${path}.extraArgs`, report);
    checkArgs(component?.extraEnvs, `${path}.extraEnvs`, report);
    checkVolumes(component?.extraVolumes, `${path}.extraVolumes`, report);
  }
  for (const name of apiServer?.certSANs ?? [])
    if (isIP(name) === 0 && !isDnsName(name.replace(/^\*\./, '')))
      report('apiServer.certSANs', `has ${JSON.stringify(name)}; each should be a DNS name or an IP address`);
  if (etcd?.local && etcd.external) report('etcd.external', 'excludes local: give one of them');
  if (etcd?.external) checkExternal(etcd.external, report);
  if (etcd?.local?.dataDir !== undefined) checkAbsolute(etcd.local.dataDir, 'etcd.local.dataDir', report);
  checkArgs(etcd?.local?.extraArgs, 'etcd.local.extraArgs', report);
  for (const { field, problem } of listNetworkingProblems(cluster)) report(`networking.${field}`, problem);
  if (networking?.dnsDomain && !isDnsName(networking.dnsDomain))
    report('networking.dnsDomain', `is ${JSON.stringify(networking.dnsDomain)}; it should be a DNS name`);
  if (cluster.certificatesDir) checkAbsolute(cluster.certificatesDir, 'certificatesDir', report);
  for (const field of ['certificateValidityPeriod', 'caCertificateValidityPeriod'] as const)
    checkDuration(cluster[field], field, report);
  checkPromises(cluster, report);
}

function componentsOf({ controllerManager, scheduler }: ClusterConfiguration) {
  return { controllerManager, scheduler };
}

/** Features of kubeadm that are not supported here. */
function checkPromises(cluster: ClusterConfiguration, report: Report): void {
  const { encryptionAlgorithm, kubernetesVersion, featureGates = {} } = cluster;
  if (encryptionAlgorithm && !isKeyAlgorithm(encryptionAlgorithm))
    report(
      'encryptionAlgorithm',
      `is ${JSON.stringify(encryptionAlgorithm)}; it should be one of ${KEY_ALGORITHMS.join(', ')}`,
    );
  if (kubernetesVersion && !/^(v?1\.36(\.\d+)?|stable(-1(\.36)?)?)([-+].*)?$/.test(kubernetesVersion))
    report('kubernetesVersion', `is ${JSON.stringify(kubernetesVersion)}; this program is version 1.36`);
  for (const gate of Object.keys(featureGates))
    report(
      `featureGates.${gate}`,
      'is refused: gates of kubeadm have no counterpart; those of components go to extraArgs',
    );
}

function checkExternal(
  { endpoints = [], httpEndpoints, caFile, certFile, keyFile }: ExternalEtcd,
  report: Report,
): void {
  if (endpoints.length === 0) report('etcd.external.endpoints', 'is missing');
  for (const endpoint of endpoints)
    if (!/^https?:\/\/[^/]+$/.test(endpoint))
      report(
        'etcd.external.endpoints',
        `has ${JSON.stringify(endpoint)}; each should be like https://10.0.0.1:2379`,
      );
  if (httpEndpoints?.length) report('etcd.external.httpEndpoints', 'is refused: health is asked over gRPC');
  if ((certFile ?? '') === '' ? keyFile : !keyFile)
    report('etcd.external.certFile', 'and keyFile go together: give both or neither');
  for (const [name, path] of Object.entries({ caFile, certFile, keyFile }))
    if (path) checkAbsolute(path, `etcd.external.${name}`, report);
}

function checkDiscovery(discovery: NonNullable<ConfigDocuments['join']>['discovery'], report: Report): void {
  const { bootstrapToken, file } = discovery ?? {};
  if (bootstrapToken && file) report('discovery.file', 'excludes bootstrapToken: give one of them');
  if (bootstrapToken?.token && !isBootstrapToken(bootstrapToken.token))
    report('discovery.bootstrapToken.token', 'should be like abcdef.0123456789abcdef');
  if (bootstrapToken?.apiServerEndpoint && !parseHostPort(bootstrapToken.apiServerEndpoint)?.port)
    report(
      'discovery.bootstrapToken.apiServerEndpoint',
      `is ${JSON.stringify(bootstrapToken.apiServerEndpoint)}; it should be HOST:PORT`,
    );
  for (const hash of bootstrapToken?.caCertHashes ?? [])
    if (!/^sha256:[0-9a-f]{64}$/i.test(hash))
      report(
        'discovery.bootstrapToken.caCertHashes',
        `has ${JSON.stringify(hash)}; each should be sha256: and 64 hexadecimal digits`,
      );
}

/** What cannot be otherwise here. */
function checkKubelet(kubelet: KubeletConfiguration, report: Report): void {
  for (const { path, text } of applyFields(kubelet, KUBELET_FIELDS).problems) report(path, text);
  for (const address of kubelet.clusterDNS ?? [])
    if (isIP(address) === 0)
      report('clusterDNS', `has ${JSON.stringify(address)}; each should be an IP address`);
}

function isKeyAlgorithm(text: string): text is KeyAlgorithm {
  return KEY_ALGORITHMS.includes(text as KeyAlgorithm);
}

function checkArgs(args: readonly Arg[] = [], path: string, report: Report): void {
  args.forEach(({ name }, index) => {
    if (!name) report(`${path}[${index}].name`, 'is missing');
    else if (name.startsWith('-')) report(`${path}[${index}].name`, 'should have no leading dashes');
  });
}

const PATH_TYPES = [
  '',
  'DirectoryOrCreate',
  'Directory',
  'FileOrCreate',
  'File',
  'Socket',
  'CharDevice',
  'BlockDevice',
];

/** What a pod would be refused for: a manifest that is refused leaves the machine without the component. */
function checkVolumes(volumes: readonly HostPathMount[] = [], path: string, report: Report): void {
  volumes.forEach(({ name = '', hostPath = '', mountPath = '', pathType = '' }, index) => {
    const at = `${path}[${index}]`;
    if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name))
      report(`${at}.name`, `is ${JSON.stringify(name)}; it should be a DNS label: a-z, 0-9 and -`);
    checkAbsolute(hostPath, `${at}.hostPath`, report);
    if (hostPath.split('/').includes('..'))
      report(`${at}.hostPath`, `is ${JSON.stringify(hostPath)}; it should not contain '..'`);
    checkAbsolute(mountPath, `${at}.mountPath`, report);
    if (mountPath === '/' || mountPath.includes(':'))
      report(`${at}.mountPath`, `is ${JSON.stringify(mountPath)}; it should not be / nor contain ':'`);
    if (!PATH_TYPES.includes(pathType))
      report(
        `${at}.pathType`,
        `is ${JSON.stringify(pathType)}; it should be one of ${PATH_TYPES.filter(Boolean).join(', ')}`,
      );
    for (const [field, value] of Object.entries({ name, mountPath }))
      if (volumes.findIndex((other) => other[field as 'name' | 'mountPath'] === value) < index)
        report(`${at}.${field}`, `is ${JSON.stringify(value)} a second time; each should be another`);
  });
}

function checkAbsolute(path: string, field: string, report: Report): void {
  if (!isAbsolute(path)) report(field, `is ${JSON.stringify(path)}; it should be an absolute path`);
}

/**
 * Components of a control plane as static pods of its node agent: kubeadm's manifests, made of the services in the machine's record. The image is the one of
 * sandboxes, which every node has; the programs are the machine's, mounted where they are, with the files that their flags name.
 *
 *   machine.json ──update──► /etc/kubernetes/manifests/*.yaml ──► node agent ──► containers, mirror pods
 */
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Container, Pod, Probe, Volume, VolumeMount } from '#api/types.ts';
import { stringifyYaml } from '#machinery/yaml.ts';
import { MEMORY_ENV } from '../daemon.ts';
import { writeFileAtomic } from '../data-dir.ts';
import type { ClusterConfiguration } from '../config/types.ts';
import type { MachinePaths } from './paths.ts';
import { capstanCommand, PROGRAM_DIR } from './program.ts';
import type { ServiceSpec } from './services.ts';

/** Chosen by --static-pods: the program that runs components which name none, so that every command writes the same manifests. */
export interface StaticPodsChoice {
  /** Directory of a Capstan. */
  readonly checkout: string;
  /** Its Node.js, where the directory has none. */
  readonly node: string;
}

interface Machine {
  readonly services: readonly ServiceSpec[];
  readonly staticPods?: StaticPodsChoice | undefined;
  readonly advertiseAddress?: string | undefined;
}

type ManifestPaths = Pick<MachinePaths, 'manifests'>;

/** kubeadm's name and labels, CPU, and health endpoints of each. */
const COMPONENTS = {
  etcd: { pod: 'etcd', cpu: '100m', memory: '100Mi' },
  apiserver: { pod: 'kube-apiserver', cpu: '250m' },
  'controller-manager': { pod: 'kube-controller-manager', cpu: '200m' },
  scheduler: { pod: 'kube-scheduler', cpu: '100m' },
} as const satisfies Partial<Record<ServiceSpec['name'], object>>;
export type StaticComponent = keyof typeof COMPONENTS;

/** In the order of the record. */
export const STATIC_COMPONENTS = Object.keys(COMPONENTS) as readonly StaticComponent[];

/** Never pulled: the node agent imports it before its first pod (node/images/sandbox-image.ts). */
const IMAGE = 'localhost/capstan/pause:1';
/** In a manifest that was made here. */
const MADE_HERE = 'capstan.dev/service';
/** What programs of the machine need of it, beside their own directories. */
const SYSTEM = '/usr /bin /sbin /lib /lib32 /lib64 /etc/ssl /etc/ca-certificates /etc/nsswitch.conf'.split(
  ' ',
);
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Flags of directories and files that a component writes. */
const WRITTEN_DIRS = ['data-dir', 'wal-dir', 'backup-location', 'backup-pki-dir'];
const WRITTEN_FILES = ['audit-log-path'];
/** kubeadm's. */
const PROBE_TIMEOUT_SECONDS = 15;
const PROBE_PERIOD_SECONDS = 10;
const DEFAULT_START_SECONDS = 240;
const CRITICAL = { priorityClassName: 'system-node-critical', priority: 2_000_001_000 };

export function isStaticComponent(name: string): name is StaticComponent {
  return Object.hasOwn(COMPONENTS, name);
}

/** 'kube-apiserver'; the node's name follows in the API. */
export function staticPodName(name: StaticComponent): string {
  return COMPONENTS[name].pod;
}

/** What the machine's supervisor runs: the others are static pods. */
export function supervisedServices({ services, staticPods }: Machine): readonly ServiceSpec[] {
  return staticPods ? services.filter(({ name }) => !isStaticComponent(name)) : services;
}

export function staticServices({ services, staticPods }: Machine): readonly ServiceSpec[] {
  return staticPods ? services.filter(({ name }) => isStaticComponent(name)) : [];
}

function manifestPath({ manifests }: ManifestPaths, name: StaticComponent): string {
  return join(manifests, `${COMPONENTS[name].pod}.yaml`);
}

/** Whether a manifest of a control plane was written by init or join. */
export function isOwnManifest(path: string): boolean {
  return readFileSync(path, 'utf8').includes(`${MADE_HERE}:`);
}

/** Writes what the record wants and the directory has not, and removes what was made here before; a file of others stays. */
export function writeManifests(paths: ManifestPaths, machine: Machine): void {
  const wanted = new Map(staticServices(machine).map((service) => [service.name, service]));
  for (const name of STATIC_COMPONENTS) {
    const path = manifestPath(paths, name);
    const service = wanted.get(name);
    const before = existsSync(path) ? readFileSync(path, 'utf8') : undefined;
    if (!service) {
      if (before?.includes(`${MADE_HERE}:`)) rmSync(path);
      continue;
    }
    const text = stringifyYaml(manifestOf(service, machine));
    if (text === before) continue;
    mkdirSync(paths.manifests, { recursive: true, mode: 0o700 });
    writeFileAtomic(path, text);
  }
}

/** As kubeadm writes it. */
function manifestOf(service: ServiceSpec, machine: Machine): Pod {
  const name = service.name as StaticComponent;
  const { pod, cpu, ...rest } = COMPONENTS[name];
  const { checkout, node } = machine.staticPods ?? { checkout: PROGRAM_DIR, node: process.execPath };
  const program = service.checkout ?? checkout;
  const command =
    'capstan' in service.run
      ? capstanCommand(service.run.capstan, { checkout: program, node })
      : [service.run.program, ...service.run.args];
  const given = givenVolumes(service);
  const mounts = mountsFor(command, 'capstan' in service.run ? program : undefined)
    // What is asked for a path replaces what would be there.
    .filter(({ path }) => !given.some(({ mount }) => mount.mountPath === path))
    .map((mount, index) => volumeOf(mount, { index, taken: given }));
  const volumes = [...mounts, ...given].toSorted((a, b) => (a.mount.mountPath < b.mount.mountPath ? -1 : 1));
  const requests = { cpu, ...('memory' in rest ? { memory: rest.memory } : {}) };
  const container: Container = {
    name: pod,
    image: IMAGE,
    imagePullPolicy: 'Never',
    command: [...command],
    env: Object.entries({
      PATH,
      HOME: '/root',
      NODE_COMPILE_CACHE: join(program, '.cache/compile'),
      ...MEMORY_ENV,
      ...service.env,
    }).map(([key, value]) => ({ name: key, value })),
    resources: { requests },
    ...probesOf(service, machine),
    volumeMounts: volumes.map(({ mount }) => mount),
  };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: pod,
      namespace: 'kube-system',
      labels: { component: pod, tier: 'control-plane' },
      annotations: { [MADE_HERE]: name },
    },
    spec: {
      hostNetwork: true,
      ...CRITICAL,
      securityContext: { runAsUser: 0, runAsGroup: 0, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [container],
      volumes: volumes.map(({ volume }) => volume),
    },
  };
}

// ---------------------------------------------------------------------------------------------------------------- probes

type Probes = Pick<Container, 'livenessProbe' | 'readinessProbe' | 'startupProbe'>;
interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly scheme: 'HTTP' | 'HTTPS';
  readonly live: string;
  readonly ready: string;
  readonly start: string;
}

function probesOf(service: ServiceSpec, { advertiseAddress = '127.0.0.1' }: Machine): Probes {
  const at = endpointOf(service, advertiseAddress);
  if (!at) return {};
  const probe = (path: string, more: Partial<Probe>): Probe => ({
    httpGet: { host: at.host, path, port: at.port, scheme: at.scheme },
    timeoutSeconds: PROBE_TIMEOUT_SECONDS,
    ...more,
  });
  const startSeconds = service.health?.startSeconds ?? DEFAULT_START_SECONDS;
  return {
    livenessProbe: probe(at.live, {
      initialDelaySeconds: 10,
      periodSeconds: PROBE_PERIOD_SECONDS,
      failureThreshold: 8,
    }),
    readinessProbe: probe(at.ready, { periodSeconds: 1, failureThreshold: 3 }),
    startupProbe: probe(at.start, {
      // Sooner than kubeadm's 10 s: readiness is asked only after it.
      periodSeconds: 2,
      failureThreshold: Math.ceil(startSeconds / 2),
    }),
  };
}

/** Undefined: a flag turns its port off. */
function endpointOf(service: ServiceSpec, address: string): Endpoint | undefined {
  const own = { host: '127.0.0.1', scheme: 'HTTPS' } as const;
  const checks = { live: '/livez', ready: '/readyz', start: '/livez' };
  switch (service.name) {
    case 'etcd': {
      const { hostname, port } = new URL(service.health?.url ?? 'http://127.0.0.1:2381');
      return {
        host: hostname,
        port: Number(port),
        scheme: 'HTTP',
        live: '/health?exclude=NOSPACE&serializable=true',
        ready: '/health?serializable=true',
        start: '/health?serializable=true',
      };
    }
    case 'apiserver':
      return {
        ...checks,
        host: address,
        port: Number(flagOf(service, 'secure-port') ?? 6443),
        scheme: 'HTTPS',
      };
    case 'controller-manager':
      return withPort(Number(flagOf(service, 'secure-port') ?? 10_257), { ...own, ...checks });
    default:
      return withPort(Number(flagOf(service, 'secure-port') ?? 10_259), { ...own, ...checks });
  }
}

function withPort(port: number, rest: Omit<Endpoint, 'port'>): Endpoint | undefined {
  return port === 0 ? undefined : { ...rest, port };
}

function flagOf({ run }: ServiceSpec, name: string): string | undefined {
  const words = 'capstan' in run ? run.capstan : run.args;
  return words.findLast((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3);
}

// ---------------------------------------------------------------------------------------------------------------- mounts

interface Mount {
  readonly path: string;
  readonly readOnly: boolean;
  /** Made where it is missing. */
  readonly isMade: boolean;
}

interface PodVolume {
  readonly volume: Volume;
  readonly mount: VolumeMount;
}

function volumeOf(
  { path, readOnly, isMade }: Mount,
  { index, taken }: { readonly index: number; readonly taken: readonly PodVolume[] },
): PodVolume {
  let name = volumeName(path, index);
  while (taken.some(({ volume }) => volume.name === name)) name = `x${name}`;
  return {
    volume: { name, hostPath: { path, ...(isMade ? { type: 'DirectoryOrCreate' } : {}) } },
    mount: { name, mountPath: path, ...(readOnly ? { readOnly } : {}) },
  };
}

/** Of a machine whose components are services: one sentence for each component with extraVolumes. */
export function unusedVolumes(cluster: ClusterConfiguration = {}): string[] {
  const { apiServer, controllerManager, scheduler } = cluster;
  return Object.entries({ apiServer, controllerManager, scheduler }).flatMap(([name, component]) =>
    component?.extraVolumes?.length
      ? [
          `ClusterConfiguration: ${name}.extraVolumes is of --static-pods alone: the component of this machine sees its files where they are`,
        ]
      : [],
  );
}

/** The extraVolumes of the configuration. */
function givenVolumes({ volumes = [] }: ServiceSpec): readonly PodVolume[] {
  return volumes.map(({ name = '', hostPath = '', mountPath = '', readOnly, pathType }) => ({
    volume: { name, hostPath: { path: hostPath, ...(pathType ? { type: pathType } : {}) } },
    mount: { name, mountPath, ...(readOnly ? { readOnly } : {}) },
  }));
}

/** Each at its own path, parents first. program: directory of the Capstan that it is. */
function mountsFor(command: readonly string[], program: string | undefined): readonly Mount[] {
  const [file = ''] = command;
  const code = [
    ...(program === undefined ? [] : [program, join(program, 'node_modules')]),
    dirname(file),
    dirname(realOf(file)),
  ];
  const found: Mount[] = [];
  const add = (path: string, { readOnly = true, isMade = false } = {}): void => {
    const covered = found.some((one) => isBelow(path, one.path) && (readOnly || !one.readOnly));
    if (path !== '/' && !covered) found.push({ path, readOnly, isMade });
  };
  // First: what is only read is covered by them.
  const files = filesIn(command);
  for (const { path, isWritten } of files) if (isWritten) add(path, { readOnly: false, isMade: true });
  for (const path of SYSTEM) if (existsSync(path)) add(path);
  for (const path of code) for (const one of [path, realOf(path)]) add(one);
  for (const { path } of files) add(path);
  return found.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** The directories of files that flags name: a file that is replaced is seen only through its directory. */
function filesIn(command: readonly string[]): { readonly path: string; readonly isWritten: boolean }[] {
  return command.flatMap((word) => {
    const [, name = '', text = ''] = /^--([a-z0-9-]+)=(\/.*)$/s.exec(word) ?? [];
    return text
      .split(',')
      .filter((value) => value.startsWith('/'))
      .map((value) => {
        if (WRITTEN_DIRS.includes(name)) return { path: value, isWritten: true };
        const isDir = statSync(value, { throwIfNoEntry: false })?.isDirectory() ?? false;
        return { path: isDir ? value : dirname(value), isWritten: WRITTEN_FILES.includes(name) };
      });
  });
}

function realOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // not there yet
  }
}

function isBelow(path: string, dir: string): boolean {
  return path === dir || path.startsWith(`${dir}/`);
}

/** A DNS label; the index makes it the only one. */
function volumeName(path: string, index: number): string {
  const words = path
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
  return `${words.slice(-50).replace(/^-/, '')}-${index}`;
}

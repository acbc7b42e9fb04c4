/** Static pods of a machine's control plane as its containerd has them: whether they follow their manifests, and how they are. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '#deploy/data-dir.ts';
import type { MachinePaths } from '#deploy/machine/paths.ts';
import { machineFile, type MachineRecord } from '#deploy/machine/record.ts';
import {
  isStaticComponent,
  STATIC_COMPONENTS,
  staticPodName,
  staticServices,
  type StaticComponent,
} from '#deploy/machine/static-pods.ts';
import { formatTime } from '#machinery/time.ts';
import { readManifests } from '#node/agent/static-pods/manifests.ts';
import { LABELS } from '#node/agent/labels.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { createCriClient, type CriClient } from '#node/cri/client.ts';
import { isCriError } from '#node/cri/errors.ts';
import type { Container } from '#node/cri/types.ts';
import type { ChildStatus } from '#supervisor/child.ts';
import { containerdDir } from '../node/containerd-dir.ts';
import { decodeStaticPod } from '../node/decode-static-pod.ts';

const NAMESPACE = 'kube-system';
const LOOK_EVERY_MS = 200;
const START_TIMEOUT_MS = 60_000;
/** Longer than their grace periods. */
const STOP_TIMEOUT_MS = 120_000;

/**
 * Resolves when no container of an earlier manifest runs and those of the present ones do, or have not come up in a minute: whoever waits for a component says
 * why. A UserError where an earlier one does not stop.
 */
export async function settled(paths: MachinePaths): Promise<void> {
  const record = machineFile(paths).read();
  // Without a node agent nothing follows the manifests.
  if (!record.services.some(({ name }) => name === 'node')) return;
  const wanted = await wantedUids(paths, record);
  const begin = performance.now();
  for (;;) {
    const running = await runningUids(paths, record);
    const stale = running?.filter(({ name, uid }) => wanted.get(name) !== uid);
    const missing = [...wanted].filter(([name]) => !running?.some((one) => one.name === name));
    if (stale?.length === 0 && missing.length === 0) return;
    const tookMs = performance.now() - begin;
    if (stale?.length === 0 && tookMs > START_TIMEOUT_MS) return;
    if (tookMs > STOP_TIMEOUT_MS)
      throw new UserError(
        stale
          ? `The static pod ${staticPodName(stale[0]!.name)} does not stop within ${STOP_TIMEOUT_MS / 1000} s: nothing more was done; the node agent's words are in ${paths.logs}.`
          : `The containerd of this machine does not answer within ${STOP_TIMEOUT_MS / 1000} s: nothing more was done; the node agent's words are in ${paths.logs}.`,
      );
    await sleep(LOOK_EVERY_MS);
  }
}

/** Of the manifests, as the node agent names them. */
async function wantedUids(
  paths: MachinePaths,
  record: MachineRecord,
): Promise<ReadonlyMap<StaticComponent, string>> {
  const { nodeName = '' } = record;
  const { pods } = await readManifests(paths.manifests, { nodeName, decode: decodeStaticPod });
  return new Map(
    staticServices(record).flatMap(({ name }) => {
      if (!isStaticComponent(name)) return [];
      const pod = pods.find(({ metadata }) => metadata?.name === podNameOf(name, record));
      return pod ? [[name, pod.metadata?.uid ?? '']] : [];
    }),
  );
}

function podNameOf(name: StaticComponent, { nodeName = '' }: MachineRecord): string {
  return `${staticPodName(name)}-${nodeName}`;
}

interface Found {
  readonly name: StaticComponent;
  readonly uid: string;
}

/** Undefined: containerd cannot be asked, and there may be some. */
async function runningUids(
  paths: MachinePaths,
  record: MachineRecord,
): Promise<readonly Found[] | undefined> {
  const all = await containersOf(paths, record);
  return all?.flatMap(({ name, container: { state, labels } }) =>
    state === 'CONTAINER_RUNNING' ? [{ name, uid: labels[LABELS.podUID] ?? '' }] : [],
  );
}

interface Component {
  readonly name: StaticComponent;
  readonly container: Container;
}

async function containersOf(
  paths: MachinePaths,
  record: MachineRecord,
): Promise<readonly Component[] | undefined> {
  return withCri(paths, async (cri) => {
    const filter = { labelSelector: { [LABELS.podNamespace]: NAMESPACE } };
    const { containers } = await cri.listContainers({ filter });
    return containers.flatMap((container) => {
      const name = STATIC_COMPONENTS.find(
        (one) => podNameOf(one, record) === container.labels[LABELS.podName],
      );
      return name ? [{ name, container }] : [];
    });
  });
}

/** Empty before the node agent's first start. */
async function withCri<T>(
  paths: MachinePaths,
  work: (cri: CriClient) => Promise<readonly T[]>,
): Promise<readonly T[] | undefined> {
  const { socketPath, configPath } = containerdLayout({ dir: containerdDir(paths) });
  if (!existsSync(configPath)) return [];
  const cri = createCriClient({ socketPath });
  try {
    return await work(cri);
  } catch (error) {
    if (isCriError(error)) return undefined;
    throw error;
  } finally {
    cri.close();
  }
}

/** In the form of services that the supervisor runs. */
export async function statusOf(paths: MachinePaths): Promise<readonly ChildStatus[]> {
  const record = machineFile(paths).read();
  const all = await containersOf(paths, record);
  const newestOf = (name: string): Container | undefined =>
    all
      ?.filter((one) => one.name === name)
      .map(({ container }) => container)
      .toSorted((a, b) => b.createdAt - a.createdAt)[0];
  const found = await withCri(paths, (cri) =>
    Promise.all(
      staticServices(record).map(({ name }) =>
        statusOfContainer(cri, { name, newest: newestOf(name), paths }),
      ),
    ),
  );
  return found ?? [];
}

interface Newest {
  readonly name: string;
  /** Undefined: none was made yet. */
  readonly newest: Container | undefined;
  readonly paths: Pick<MachinePaths, 'logs'>;
}

async function statusOfContainer(cri: CriClient, { name, newest, paths }: Newest): Promise<ChildStatus> {
  const about = { name, services: [`${name} (static pod)`] };
  if (!newest) return { ...about, state: 'starting', restarts: 0, log: join(paths.logs, 'node.log') };
  const { status } = await cri.containerStatus({ containerId: newest.id });
  const isRunning = newest.state === 'CONTAINER_RUNNING';
  return {
    ...about,
    state: isRunning ? 'running' : 'waiting',
    restarts: newest.metadata?.attempt ?? 0,
    lastEnd: isRunning ? undefined : `exit code ${status?.exitCode ?? 'unknown'}`,
    startedAt: formatTime(Math.floor(newest.createdAt / 1e6)),
    log: status?.logPath ?? '',
  };
}

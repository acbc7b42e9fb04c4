/**
 * `capstan config plan` and `apply`: changes of the ClusterConfiguration of a running cluster, a control plane at a time behind the gates of an upgrade. The
 * ConfigMap kubeadm-config is written last, so it says what every machine has; a killed run is run again with the same file.
 */
import { readFileSync } from 'node:fs';
import { text as textOf } from 'node:stream/consumers';
import type { Client } from '#client/client.ts';
import { configMaps } from '#client/refs.ts';
import { defaultCluster, type DefaultedCluster } from '#deploy/config/defaults.ts';
import { parseClusterConfiguration, readConfigFile } from '#deploy/config/read.ts';
import { requireValid } from '#deploy/config/validate.ts';
import { UserError } from '#deploy/data-dir.ts';
import {
  apiServerService,
  controllerManagerService,
  schedulerService,
} from '#deploy/machine/component-services.ts';
import { machinePaths } from '#deploy/machine/paths.ts';
import { lockMachine, machineFile, type MachineRecord } from '#deploy/machine/record.ts';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { stringifyYaml } from '#machinery/yaml.ts';
import { errorMessage } from '#stdx/log.ts';
import { planConfiguration, type ConfigurationPlan } from '#upgrade/configuration.ts';
import { GateError } from '#upgrade/gates.ts';
import { CLUSTER_CONFIGURATION, KUBEADM_CONFIG } from '#upgrade/kubeadm-config.ts';
import { observeMachines, type ObservedMachine } from '#upgrade/observe.ts';
import { retrying } from '#upgrade/retry.ts';
import { componentCommand } from '../components.ts';
import { connectCluster, type ConnectFlags } from '../doctor/connect.ts';
import { ensureSupervised, isSupervised } from '../machine/supervise.ts';
import { parseWords } from '../flags/words.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { readUpgrade, writeUpgrade } from './node.ts';
import { onControlPlane, type Around, type Call, type ChangeFlags } from './upgrade.ts';

const SETTLE_MS = 5_000;

type Print = (line: string) => void;

/** Its exit code: 0 nothing would change, 1 something cannot be, 2 something would. */
export async function runConfigPlan(
  flags: ConnectFlags & { readonly config: string; readonly json?: boolean },
  print: Print,
): Promise<number> {
  const cluster = connectCluster(flags);
  try {
    const { changes, refused } = await planOf(cluster.api, flags.config);
    if (flags.json) print(JSON.stringify({ changes, refused }, undefined, 2));
    else for (const line of render({ changes, refused })) print(line);
    return refused.length > 0 ? 1 : changes.length > 0 ? 2 : 0;
  } finally {
    await cluster.close();
  }
}

function render({ changes, refused }: Pick<ConfigurationPlan, 'changes' | 'refused'>): string[] {
  if (changes.length === 0 && refused.length === 0) return ['The cluster is as the file says.'];
  return [...changes, ...refused.map((line) => `refused  ${line}`)];
}

async function planOf(api: Client, file: string): Promise<ConfigurationPlan> {
  const documents = readConfigFile(file);
  requireValid(documents);
  if (!documents.cluster) throw new UserError(`--config ${file} holds no ClusterConfiguration.`);
  const current = await storedConfiguration(api);
  const plan = planConfiguration(current, documents.cluster);
  await requireFlags(plan.wanted);
  return plan;
}

async function storedConfiguration(api: Client): Promise<DefaultedCluster> {
  const { data } = await api.get(configMaps, KUBEADM_CONFIG);
  return parsed(data?.[CLUSTER_CONFIGURATION] ?? '');
}

function parsed(content: string): DefaultedCluster {
  return defaultCluster(parseClusterConfiguration(content), {
    kubernetesVersion: KUBERNETES_VERSION.split('+', 1)[0] ?? '',
  });
}

function rendered(cluster: DefaultedCluster): string {
  return stringifyYaml({ apiVersion: 'kubeadm.k8s.io/v1beta4', kind: CLUSTER_CONFIGURATION, ...cluster });
}

/** Names that a component does not have are refused before any machine is changed. */
async function requireFlags({ apiServer, controllerManager, scheduler }: DefaultedCluster): Promise<void> {
  const all = { apiserver: apiServer, 'controller-manager': controllerManager, scheduler };
  for (const [command, section] of Object.entries(all)) {
    const words = (section?.extraArgs ?? []).map(({ name = '', value = '' }) => `--${name}=${value}`);
    parseWords(await componentCommand(command).flags(), { command, words });
  }
}

/** Its exit code: 0 every control plane has it, 1 it was taken back. */
export async function runConfigApply(
  flags: ChangeFlags & { readonly config: string },
  call: Call,
): Promise<number> {
  return onControlPlane(flags, call, async (around) => {
    const { print } = call;
    const { api, at, clock, gates, record } = around.tools;
    const state = await record.load();
    if (state && state.phase !== 'done' && state.phase !== 'rolled-back')
      throw new UserError('An upgrade is under way: let it end first (capstan upgrade status).');
    const plan = await planOf(api, flags.config);
    for (const line of render(plan)) print(line);
    if (plan.refused.length > 0) throw new UserError('Nothing was changed.');
    if (plan.changes.length === 0) return 0;
    const planes = (await observeMachines(api, at)).filter(({ role }) => role === 'control-plane');
    if (around.isManual && planes.length > 1)
      throw new UserError(
        'There are several control planes: give --inventory, or run on each, one after the other: capstan config apply --here --config FILE',
      );
    if (!flags.yes) await call.confirm(`change ${planes.length} control planes`);
    await gates.remember();
    const before = await storedConfiguration(api);
    if (!(await changeAll(planes, { around, call, before, wanted: plan.wanted }))) return 1;
    await retrying(clock, () => storeConfiguration(api, plan.wanted));
    print('Every control plane is as the file says.');
    return 0;
  });
}

interface Changing {
  readonly around: Around;
  readonly call: Call;
  readonly before: DefaultedCluster;
  readonly wanted: DefaultedCluster;
}

/** False: a gate stayed shut, and the machines that were changed are as before. */
async function changeAll(
  planes: readonly ObservedMachine[],
  { around: { tools }, call, before, wanted }: Changing,
): Promise<boolean> {
  const done: ObservedMachine[] = [];
  for (const machine of planes) {
    call.before?.(`configure ${machine.name}`);
    call.print(`[configure] ${machine.name}`);
    done.push(machine);
    try {
      await tools.driver.change(machine, { step: 'configure', configuration: rendered(wanted) });
      await tools.gates.hold(machine.name, SETTLE_MS);
    } catch (error) {
      if (!(error instanceof GateError)) throw error;
      call.print(`[configure] a gate stayed shut: ${errorMessage(error)}`);
      for (const one of done.toReversed()) {
        call.print(`[configure] ${one.name}: as before`);
        await tools.driver.change(one, { step: 'configure', configuration: rendered(before) });
      }
      return false;
    }
  }
  return true;
}

async function storeConfiguration(api: Client, cluster: DefaultedCluster): Promise<void> {
  const patch = { data: { [CLUSTER_CONFIGURATION]: rendered(cluster) } };
  await api.patch(configMaps, KUBEADM_CONFIG, { type: 'merge', patch });
}

/** This machine alone, from a file or standard input ('-'); the ConfigMap is not touched. */
export async function configureHere(
  { rootfs, config }: { readonly rootfs?: string | undefined; readonly config: string },
  print: Print,
): Promise<void> {
  const content = config === '-' ? await textOf(process.stdin) : readFileSync(config, 'utf8');
  await configureMachine({ rootfs, content }, print);
}

export async function configureMachine(
  { rootfs, content }: { readonly rootfs?: string | undefined; readonly content: string },
  print: Print,
): Promise<void> {
  const cluster = parsed(content);
  const paths = machinePaths({ rootfs, certificatesDir: cluster.certificatesDir });
  const lock = lockMachine(paths);
  try {
    const machine = machineFile(paths);
    const record = machine.read();
    const made = servicesFor(record, { paths, cluster });
    const services = replaced(record.services, made);
    const upgrade = readUpgrade(paths);
    // The way back of an earlier upgrade keeps the new configuration.
    if (upgrade) writeUpgrade(paths, { ...upgrade, before: replaced(upgrade.before, made) });
    if (JSON.stringify(services) === JSON.stringify(record.services))
      return print('[configure] this machine is so already');
    machine.update((current) => ({ ...current, services }));
    if (isSupervised(paths)) await ensureSupervised(paths);
    print('[configure] API server, controllers and scheduler run with the new flags');
  } finally {
    lock.release();
  }
}

function servicesFor(
  { role, advertiseAddress, bindPort }: MachineRecord,
  around: { readonly paths: ReturnType<typeof machinePaths>; readonly cluster: DefaultedCluster },
): readonly ServiceSpec[] {
  if (role !== 'control-plane' || advertiseAddress === undefined || bindPort === undefined)
    throw new UserError('This machine is no control plane.');
  return [
    apiServerService({ ...around, local: { advertiseAddress, bindPort } }),
    controllerManagerService(around),
    schedulerService(around),
  ];
}

/** What runs it and how its health is asked stays. */
function replaced(services: readonly ServiceSpec[], made: readonly ServiceSpec[]): ServiceSpec[] {
  return services.map((service) => {
    const next = made.find(({ name }) => name === service.name);
    return next ? { ...service, run: next.run, env: next.env } : service;
  });
}

/**
 * Drives the API servers of a cluster through the steps of encryption-keys.ts. A step begins once every API server reports the file of the one before, by the
 * hash in its metrics. Nothing is remembered but which files may be in use (ConfigMap kube-system/capstan-encryption), so a run that was killed at any
 * point is run again; the old keys go only after everything was written anew.
 */
import { createHash } from 'node:crypto';
import type { Client } from '#client/client.ts';
import { configMaps } from '#client/refs.ts';
import { UserError } from '#deploy/data-dir.ts';
import { removeUploadedCertificates } from '#deploy/phases/upload-certs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import { GateError } from '../gates.ts';
import { rewriteAll, storedKinds } from '../migrate.ts';
import type { ObservedMachine } from '../observe.ts';
import { retrying } from '../retry.ts';
import { observed, type UpgradeTools } from '../tools.ts';
import type { ChangingTools } from './change.ts';
import type { EncryptionPlan } from './encryption-keys.ts';

type Tools = ChangingTools & Pick<UpgradeTools, 'at'>;

interface Change {
  readonly plan: Pick<EncryptionPlan, 'read' | 'write' | 'target' | 'isRewritten'>;
  /** This machine's file. Undefined: nothing is encrypted yet. */
  readonly current: string | undefined;
  /** Documents of configuration for a machine, with this file. */
  configuration(file: string): string;
}

type Step = 'read' | 'write' | 'target';

const WHAT: Readonly<Record<Step, string>> = {
  read: 'can read with the new keys',
  write: 'writes with the new keys',
  target: 'has the new keys only',
};

/** After beginEncryptionChange. False: a gate stayed shut, and API servers have the file of the step before again. */
export async function changeEncryption(change: Change, tools: Tools): Promise<boolean> {
  const { plan, current } = change;
  if (!(await take(change, { step: 'read', back: current, tools }))) return false;
  if (!(await take(change, { step: 'write', back: plan.read, tools }))) return false;
  await rewrite(change, tools);
  if (!(await take(change, { step: 'target', back: plan.write, tools }))) return false;
  await remember([hashOf(plan.target)], tools);
  return true;
}

interface Taking {
  readonly step: Step;
  /** Undefined: there is no way back but by hand. */
  readonly back: string | undefined;
  readonly tools: Tools;
}

async function take(change: Change, { step, back, tools }: Taking): Promise<boolean> {
  const file = change.plan[step];
  try {
    for (const machine of await apiServers(tools)) {
      if ((await usedBy(machine, tools)) === hashOf(file)) continue;
      tools.before?.(`${step} ${machine.name}`);
      tools.print(`[encryption] ${machine.name} ${WHAT[step]}`);
      await give(change, { machine, file, tools });
      await untilUsed(machine, { file, tools });
    }
    // One that joined or came back meanwhile.
    for (const machine of await apiServers(tools)) await untilUsed(machine, { file, tools });
    return true;
  } catch (error) {
    if (!(error instanceof GateError)) throw error;
    tools.print(`[encryption] a gate stayed shut: ${errorMessage(error)}`);
    if (back === undefined) return false;
    for (const machine of await apiServers(tools)) {
      if ((await usedBy(machine, tools)) === hashOf(back)) continue;
      tools.print(`[encryption] ${machine.name}: as before`);
      await give(change, { machine, file: back, tools });
    }
    return false;
  }
}

function give(
  { configuration }: Change,
  {
    machine,
    file,
    tools,
  }: { readonly machine: ObservedMachine; readonly file: string; readonly tools: Tools },
): Promise<void> {
  return tools.driver.change(machine, { step: 'configure', configuration: configuration(file) });
}

async function rewrite({ plan }: Change, tools: Tools): Promise<void> {
  const { api, clock, print, before } = tools;
  for (const kind of (await retrying(clock, () => storedKinds(api))).values()) {
    const { group, plural } = kind.ref;
    if (!plan.isRewritten(kind.ref)) continue;
    const name = group === '' ? plural : `${plural}.${group}`;
    before?.(`rewrite ${name}`);
    const written = await rewriteAll(tools, kind);
    if (written > 0) print(`[encryption] ${name}: ${written} objects written anew`);
  }
}

// --------------------------------------------------------------------------------------------------------- what servers report

const USED_TIMEOUT_MS = 60_000;
const LOOK_EVERY_MS = 500;
const INFO =
  /^apiserver_encryption_config_controller_last_config_info\{(?:[^}]*,)?hash="(sha256:[0-9a-f]{64})"/m;

function hashOf(file: string): string {
  return `sha256:${createHash('sha256').update(file).digest('hex')}`;
}

async function apiServers(tools: Tools): Promise<readonly ObservedMachine[]> {
  return (await observed(tools)).filter(({ server }) => server !== undefined);
}

/** Names of machines whose API server has not that file. */
export async function withoutFile(
  machines: readonly ObservedMachine[],
  { file, at }: Pick<Tools, 'at'> & { readonly file: string },
): Promise<readonly string[]> {
  const servers = machines.filter(({ server }) => server !== undefined);
  const used = await Promise.all(servers.map((machine) => usedBy(machine, { at })));
  return servers.filter((_, index) => used[index] !== hashOf(file)).map(({ name }) => name);
}

/** Undefined: it encrypts nothing, or does not answer. */
async function usedBy(
  { server = '' }: ObservedMachine,
  { at }: Pick<Tools, 'at'>,
): Promise<string | undefined> {
  try {
    const response = await at(server).transport.request({ method: 'GET', path: '/metrics' });
    return INFO.exec((await response.bytes()).toString())?.[1];
  } catch {
    return undefined;
  }
}

async function untilUsed(
  machine: ObservedMachine,
  { file, tools }: { readonly file: string; readonly tools: Tools },
): Promise<void> {
  const { clock } = tools;
  for (const begin = clock.monotonic(); ; await clock.sleep(LOOK_EVERY_MS)) {
    const used = await usedBy(machine, tools);
    if (used === hashOf(file)) return;
    if (clock.monotonic() - begin > USED_TIMEOUT_MS)
      throw new GateError(
        `${machine.name}: its API server reports ${used === undefined ? 'no encryption configuration' : `the encryption configuration ${used}`} after ${USED_TIMEOUT_MS / 1000} s; it should be ${hashOf(file)}`,
      );
  }
}

// -------------------------------------------------------------------------------------------------------------- what may be in use

const RECORD = { name: 'capstan-encryption', namespace: 'kube-system' };
const FIELD = 'files';
/** Of runs that did not end; the oldest are forgotten, and refused where one is still in use. */
const KNOWN_FILES = 100;

/** A file that this change does not know may write with keys that the others cannot read: it is refused before anything is changed. */
export async function beginEncryptionChange({ plan, current }: Change, tools: Tools): Promise<void> {
  const { api, clock, print } = tools;
  const known = await retrying(clock, () => knownFiles(api));
  const files = [plan.read, plan.write, plan.target, ...(current === undefined ? [] : [current])];
  const expected = [...files.map(hashOf), ...known];
  for (const machine of await apiServers(tools)) {
    const used = await usedBy(machine, tools);
    if (used === undefined ? current !== undefined && known.length === 0 : !expected.includes(used))
      throw new UserError(
        `The API server of ${machine.name} has another encryption configuration (${used ?? 'none'}) than this machine: make the files the same first. Nothing was changed.`,
      );
  }
  await remember(expected, tools);
  // A control plane that joins with keys of before would write what others cannot read.
  if (await retrying(clock, () => removeUploadedCertificates(api)))
    print(
      '[encryption] Secret kubeadm-certs is removed: control planes join after capstan init phase upload-certs --upload-certs',
    );
}

/** By their hashes: those of earlier runs too, until one has ended. */
async function remember(hashes: readonly string[], { api, clock }: Tools): Promise<void> {
  const data = { [FIELD]: [...new Set(hashes)].slice(0, KNOWN_FILES).join('\n') };
  const patch = { apiVersion: 'v1', kind: 'ConfigMap', metadata: RECORD, data };
  const options = { type: 'apply', fieldManager: 'capstan-config', force: true, patch } as const;
  await retrying(clock, () => api.patch(configMaps, RECORD, options));
}

async function knownFiles(api: Client): Promise<readonly string[]> {
  try {
    return ((await api.get(configMaps, RECORD)).data?.[FIELD] ?? '')
      .split('\n')
      .filter((line) => line !== '');
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return [];
    throw error;
  }
}

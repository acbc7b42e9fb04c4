/** Maps the flags of `capstan node` to settings of the node agent. Starts nothing. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Taint } from '#api/types.ts';
import { UserError } from '#deploy/data-dir.ts';
import { Quantity, tryParseQuantity } from '#machinery/quantity.ts';
import { DEFAULT_HARD, evictionThresholds } from '#node/agent/eviction/thresholds.ts';
import {
  readCredentialProviders,
  type CredentialProviderSettings,
} from '#node/images/credential-providers/configuration.ts';
import { errorMessage } from '#stdx/log.ts';
import { kernelDefaultProblems } from '#node/agent/node/kernel-defaults.ts';
import { readFlags, collectSettings } from '../flags/define.ts';
import { tlsSettingsFrom } from '../tls-flags.ts';
import { NODE_FLAGS, PROBLEM_FLAGS, RESOURCE_FLAGS, type NodeFlags } from './flags.ts';
import { readMonitors } from './problem-monitors.ts';
import type { NodeSettings, ProblemSettings } from './settings.ts';

/** Throws a UserError for a wrong flag. */
export function nodeSettingsFrom(flags: NodeFlags): NodeSettings {
  const own = collectSettings<NodeSettings>(NODE_FLAGS, flags);
  const { highThresholdPercent = 0, lowThresholdPercent = 0 } = own.imageGarbage ?? {};
  if (lowThresholdPercent >= highThresholdPercent)
    throw new UserError(
      `--image-gc-low-threshold is ${lowThresholdPercent}; it should be less than --image-gc-high-threshold, which is ${highThresholdPercent}.`,
    );
  const { nodeLabels = '', registerWithTaints = '' } = flags;
  return {
    ...own,
    agent: {
      ...own.agent,
      labels: labelsFrom(nodeLabels),
      taints: taintsFrom(registerWithTaints),
      credentialProviders: credentialProvidersFrom(flags),
    },
    eviction: evictionFrom(own.eviction, flags),
    tls: tlsSettingsFrom(flags),
    reserved: reservedFrom(flags),
    problems: problemsFrom(flags),
  };
}

/** Checked here, so that a wrong one is named before anything starts. */
function evictionFrom(given: NodeSettings['eviction'], flags: NodeFlags): NodeSettings['eviction'] {
  const merges = readFlags(RESOURCE_FLAGS, flags).mergeDefaultEvictionSettings;
  const settings = merges ? { ...given, hard: { ...DEFAULT_HARD, ...given?.hard } } : given;
  try {
    evictionThresholds(settings);
    return settings;
  } catch (error) {
    throw new UserError(`--${errorMessage(error)}.`, error);
  }
}

function credentialProvidersFrom({
  imageCredentialProviderConfig: path,
  imageCredentialProviderBinDir: binDir,
}: NodeFlags): CredentialProviderSettings | undefined {
  if (path === undefined && binDir === undefined) return undefined;
  if (path === undefined || binDir === undefined)
    throw new UserError(
      '--image-credential-provider-config and --image-credential-provider-bin-dir should be given together.',
    );
  try {
    return readCredentialProviders({ path: resolve(path), binDir: resolve(binDir) });
  } catch (error) {
    throw new UserError(`--image-credential-provider-config ${path}: ${errorMessage(error)}.`, error);
  }
}

function problemsFrom(flags: NodeFlags): ProblemSettings {
  const values = readFlags(PROBLEM_FLAGS, flags);
  const { nodeProblemDetector: enabled, prometheusPort: port } = values;
  const settings = {
    enabled,
    logMonitors: values['config.systemLogMonitor'] ?? [],
    pluginMonitors: values['config.customPluginMonitor'] ?? [],
    metricsPort: port === 0 ? undefined : port,
    rebootCommand: values.rebootCommand,
  };
  // Wrong files are found now, not once the containers run.
  if (enabled) readMonitors(settings);
  return settings;
}

const RESERVABLE = ['cpu', 'memory', 'ephemeral-storage', 'pid'];

/** What both flags reserve, together. */
function reservedFrom({ systemReserved, kubeReserved }: NodeFlags): Record<string, string> {
  const sums: Record<string, string> = {};
  const flags = { 'system-reserved': systemReserved, 'kube-reserved': kubeReserved };
  for (const [flag, text] of Object.entries(flags))
    for (const [name, amount] of resourceAmounts(flag, text ?? ''))
      sums[name] = (tryParseQuantity(sums[name] ?? '0') ?? Quantity.zero).add(amount).toString();
  return sums;
}

function resourceAmounts(flag: string, text: string): [name: string, amount: Quantity][] {
  return wordsOf(text).map((part) => {
    const [name = '', value = ''] = part.split('=').map((word) => word.trim());
    const amount = tryParseQuantity(value);
    if (RESERVABLE.includes(name) && amount && amount.sign >= 0) return [name, amount];
    throw new UserError(
      `--${flag} has "${part}"; it should be ${RESERVABLE.join(', ')}, '=' and an amount, such as memory=1Gi.`,
    );
  });
}

/** What upstream lets a kubelet set of the prefixes that NodeRestriction guards. */
const OWN_LABELS =
  /^(kubernetes\.io\/(hostname|arch|os)|(beta|failure-domain\.beta|topology)\.kubernetes\.io\/.+|(kubelet|node)\.kubernetes\.io\/.+|([a-z0-9.-]+\.)?(kubelet|node)\.kubernetes\.io\/.+)$/;

function labelsFrom(text: string): Record<string, string> {
  return Object.fromEntries(
    wordsOf(text).map((part) => {
      const [, key = '', value = ''] = /^([^=]+)=(.*)$/.exec(part) ?? [];
      if (key === '')
        throw new UserError(`--node-labels has "${part}"; it should be KEY=VALUE, such as disk=ssd.`);
      const guarded = /(^|\.)(kubernetes|k8s)\.io\//.test(key);
      if (guarded && !OWN_LABELS.test(key))
        throw new UserError(`--node-labels has ${key}: a node may not set labels of kubernetes.io itself.`);
      return [key, value];
    }),
  );
}

const EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];

function taintsFrom(text: string): Taint[] {
  return wordsOf(text).map((part) => {
    const [, key = '', value, effect = ''] = /^([^=:]+)(?:=([^:]*))?:(\w+)$/.exec(part) ?? [];
    if (!EFFECTS.includes(effect))
      throw new UserError(
        `--register-with-taints has "${part}"; it should be KEY=VALUE:EFFECT with an effect of ${EFFECTS.join(', ')}.`,
      );
    return { key, ...(value ? { value } : {}), effect };
  });
}

function wordsOf(text: string): string[] {
  return text.split(',').filter((word) => word.trim() !== '');
}

/** Of the kernel: a header, then a line each. */
const SWAPS = '/proc/swaps';

/** Throws a UserError that names the swap areas. */
export function requireNoSwap(flags: NodeFlags, path = SWAPS): void {
  if (!readFlags(RESOURCE_FLAGS, flags).failSwapOn) return;
  const areas = readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s/)[0]);
  if (areas.length > 0)
    throw new UserError(
      `--fail-swap-on: swap is on (${areas.join(', ')}). Turn it off with swapoff -a and in /etc/fstab, or leave the flag out.`,
    );
}

/** Throws a UserError that names what differs. */
export async function requireKernelDefaults(flags: NodeFlags): Promise<void> {
  if (!readFlags(RESOURCE_FLAGS, flags).protectKernelDefaults) return;
  const problems = await kernelDefaultProblems();
  if (problems.length > 0)
    throw new UserError(
      `--protect-kernel-defaults: ${problems.join('; ')}. Set them with sysctl, or leave the flag out.`,
    );
}

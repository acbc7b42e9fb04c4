/** The node problem detector of a real node: its monitors from files, and what it asks of the parts that this node runs itself. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseLogMonitor, parsePluginMonitor } from '#addons/node-problem-detector/config.ts';
import { defaultMonitors, type Monitors } from '#addons/node-problem-detector/default-monitors.ts';
import { createNodeProblemDetector } from '#addons/node-problem-detector/node-problem-detector.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { CriClient } from '#node/cri/client.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { replaceFile } from '#stdx/atomic-file.ts';
import { errorMessage } from '#stdx/log.ts';
import { STARTS_FILE } from './node-dir.ts';
import type { ProblemSettings } from './settings.ts';

/** Starts that are remembered: more than a rule counts. */
const MAX_STARTS = 100;
const METRICS_PORT = 20_257;

interface DetectorPlan {
  readonly context: ComponentContext;
  readonly nodeName: string;
  /** The node's directory. */
  readonly dir: string;
  readonly cri: CriClient;
  readonly settings: ProblemSettings | undefined;
}

/** Undefined: it is turned off. */
export function createDetector({
  context,
  nodeName,
  dir,
  cri,
  settings,
}: DetectorPlan): Component | undefined {
  if (settings?.enabled === false) return undefined;
  const { api, clock, log, metrics } = context;
  const starts = noteStart(dir, clock.now());
  return createNodeProblemDetector({
    api,
    clock,
    log: log.with({ component: 'node-problem-detector' }),
    nodeName,
    monitors: settings ? readMonitors(settings) : defaultMonitors(),
    metricsPort: settings ? settings.metricsPort : metrics && METRICS_PORT,
    probes: { cri: () => cri.status({}) },
    starts: (component) => (component === 'kubelet' ? starts : []),
  });
}

/** Throws a UserError that names the file. */
export function readMonitors({ logMonitors, pluginMonitors }: ProblemSettings): Monitors {
  if (logMonitors.length === 0 && pluginMonitors.length === 0) return defaultMonitors();
  return {
    logs: logMonitors.map((file) =>
      readMonitor('--config.system-log-monitor', { file, parse: parseLogMonitor }),
    ),
    plugins: pluginMonitors.map((file) =>
      readMonitor('--config.custom-plugin-monitor', { file, parse: parsePluginMonitor }),
    ),
  };
}

function readMonitor<T>(
  flag: string,
  { file, parse }: { readonly file: string; readonly parse: (json: string) => T },
): T {
  try {
    return parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new UserError(`${flag} ${file}: ${errorMessage(error)}.`, error);
  }
}

/** Kept over restarts, which are what is counted. Returns all starts that are known. */
function noteStart(dir: string, nowMs: number): readonly number[] {
  const path = join(dir, STARTS_FILE);
  const starts = [...readStarts(path), nowMs].slice(-MAX_STARTS);
  mkdirSync(dir, { recursive: true });
  replaceFile(path, JSON.stringify(starts));
  return starts;
}

function readStarts(path: string): readonly number[] {
  try {
    const starts = JSON.parse(readFileSync(path, 'utf8')) as unknown;
    return Array.isArray(starts) ? starts.filter((time): time is number => typeof time === 'number') : [];
  } catch {
    // The first start, or a damaged file: counting begins anew.
    return [];
  }
}

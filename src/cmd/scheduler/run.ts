/** `capstan scheduler`: the scheduler as a program of its own. */
import { UserError } from '#deploy/data-dir.ts';
import { RESOURCES_PATH } from '#scheduler/resource-metrics.ts';
import { createScheduler } from '#scheduler/scheduler.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { featuresOn } from '../apiserver/flags/feature-gates.ts';
import { parseGates } from '../apiserver/flags/serving.ts';
import { electionFrom, loggerFrom } from '../flags/common.ts';
import { effectiveConfig, warnAll, withConfigFile } from '../flags/config-file.ts';
import { readFlags } from '../flags/define.ts';
import { listenAt } from '../flags/endpoints.ts';
import { versionsFrom } from '../flags/versions.ts';
import { runComponent } from '../run-component.ts';
import { SCHEDULER_FIELDS, SCHEDULER_KIND } from './config.ts';
import { extendersFrom } from './extenders.ts';
import { profilesFrom } from './profiles.ts';
import {
  PORT_FLAGS,
  PROFILE_FLAGS,
  SCHEDULER_FLAGS,
  type SchedulerFlags,
  type SchedulerSettings,
} from './flags.ts';

const NAME = 'kube-scheduler';

export function runScheduler(given: SchedulerFlags): Promise<void> {
  const { flags, warnings } = withConfigFile(SCHEDULER_FLAGS, given, {
    kind: SCHEDULER_KIND,
    fields: SCHEDULER_FIELDS,
  });
  const settings = schedulerSettingsFrom(flags);
  warnAll(warnings, loggerFrom(flags, NAME));
  const resourceMetrics = new MetricsRegistry();
  return runComponent({
    name: NAME,
    flags,
    endpoints: {
      table: SCHEDULER_FLAGS,
      access: flags,
      listen: listenAt(PORT_FLAGS, flags),
      effectiveVersion: versionsFrom(flags),
      config: { [SCHEDULER_KIND.group]: effectiveConfig(SCHEDULER_FLAGS, flags, SCHEDULER_FIELDS) },
      moreMetrics: { [RESOURCES_PATH]: resourceMetrics },
    },
    create: (context) => createScheduler({ ...context, ...settings, resourceMetrics }),
  });
}

/** Throws a UserError. */
export function schedulerSettingsFrom(flags: SchedulerFlags): SchedulerSettings {
  const { profiles, extenders, percentageOfNodesToScore, podInitialBackoff, podMaxBackoff } = readFlags(
    PROFILE_FLAGS,
    flags,
  );
  if (podInitialBackoff === 0 || podMaxBackoff < podInitialBackoff)
    throw new UserError(
      '--pod-initial-backoff should be more than 0, and --pod-max-backoff not less than it.',
    );
  const features = featuresOn(parseGates(flags.featureGates, versionsFrom(flags).emulated));
  const known = extendersFrom(extenders);
  const ignoredResources = new Set(known.flatMap((extender) => [...extender.ignoredResources]));
  return {
    leaderElect: electionFrom(flags, NAME),
    features,
    profiles: profilesFrom(profiles, { percentage: percentageOfNodesToScore, ignoredResources, features }),
    extenders: known,
    backoff: { initialMs: podInitialBackoff, maximumMs: podMaxBackoff },
  };
}

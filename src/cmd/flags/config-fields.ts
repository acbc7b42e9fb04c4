/** Groups of fields that upstream's configuration kinds share. */
import { group, sets, unused, type ConfigFields } from '#machinery/config/fields.ts';
import { duration, flag, integer, opaque, text } from '#machinery/config/schema.ts';

type Group = ConfigFields[string];

const NO_LIMIT = 'the API server limits requests by priority and fairness, clients do not';

export function clientConnectionFields(): Group {
  return group('ClientConnectionConfiguration', {
    kubeconfig: sets(text, 'kubeconfig'),
    acceptContentTypes: unused(text, 'components use JSON'),
    contentType: unused(text, 'components use JSON', 'application/json'),
    qps: unused(opaque, NO_LIMIT),
    burst: unused(integer, NO_LIMIT),
  });
}

export function leaderElectionFields(): Group {
  return group('LeaderElectionConfiguration', {
    leaderElect: sets(flag, 'leader-elect'),
    leaseDuration: sets(duration, 'leader-elect-lease-duration'),
    renewDeadline: sets(duration, 'leader-elect-renew-deadline'),
    retryPeriod: sets(duration, 'leader-elect-retry-period'),
    resourceLock: sets(text, 'leader-elect-resource-lock'),
    resourceName: sets(text, 'leader-elect-resource-name'),
    resourceNamespace: sets(text, 'leader-elect-resource-namespace'),
  });
}

export function loggingFields(): Group {
  return group('LoggingConfiguration', {
    format: sets(text, 'logging-format'),
    verbosity: sets(integer, 'v'),
    flushFrequency: unused(opaque, 'log lines are written at once'),
    vmodule: unused(opaque, 'levels are of the whole program'),
    options: unused(opaque, 'log lines are written at once', {
      json: { infoBufferSize: '0' },
      text: { infoBufferSize: '0' },
    }),
  });
}

/** Flags that several components have. */
import type { LeaderElectionOptions } from '#client/leader-election.ts';
import { UserError } from '#deploy/data-dir.ts';
import { createLogger, type Logger, type LogLevel } from '#stdx/log.ts';
import { fixed, flagKinds, readFlags, refusedFlags, type GivenFlags } from './define.ts';

const flag = flagKinds();

/** How a component finds the API server. */
const CLIENT_FLAGS = {
  kubeconfig: flag.file({
    help: 'kubeconfig with the address of the API server and the credentials of this component',
    defaultText: '$KUBECONFIG',
  }),
  context: flag.text({
    placeholder: '<name>',
    help: 'context of the kubeconfig to use',
    defaultText: 'its current one',
    own: true,
  }),
  'api-timeout-seconds': flag.number({
    max: 86_400,
    help: 'how long to wait for the API server to answer at startup',
    default: 30,
    own: true,
  }),
  ...refusedFlags('use --kubeconfig', ['master']),
  ...refusedFlags('the API server limits requests by priority and fairness, clients do not', [
    'kube-api-qps',
    'kube-api-burst',
  ]),
  ...refusedFlags('components use JSON', ['kube-api-content-type']),
};

export const LOGGING_FLAGS = {
  'logging-format': flag.choice(['text', 'json'], {
    placeholder: '<format>',
    help: 'log lines as text or JSON',
    default: 'text',
    decidedByUp: 'the log file has one format',
  }),
  'log-level': flag.choice(['debug', 'info', 'warn', 'error'] satisfies LogLevel[], {
    placeholder: '<level>',
    help: 'lowest level to log',
    defaultText: 'info',
    decidedByUp: 'the log file has one level',
    own: true,
  }),
  v: flag.number({
    help: 'verbosity as klog counts it, in place of --log-level: 4 and more is debug, less is info',
    decidedByUp: 'the log file has one level',
  }),
  ...refusedFlags('use --log-level and --logging-format', [
    'vmodule',
    'log-flush-frequency',
    'log-text-split-stream',
    'log-text-info-buffer-size',
    'log-json-split-stream',
    'log-json-info-buffer-size',
  ]),
};

/** klog's level of what upstream calls debugging. */
const DEBUG_VERBOSITY = 4;

export function loggerFrom(flags: GivenFlags<typeof LOGGING_FLAGS>, component: string): Logger {
  const { loggingFormat: format, logLevel, v } = readFlags(LOGGING_FLAGS, flags);
  const byVerbosity = v !== undefined && v >= DEBUG_VERBOSITY ? 'debug' : 'info';
  return createLogger({ format, level: logLevel ?? byVerbosity }).with({ component });
}

export const COMPONENT_FLAGS = { ...CLIENT_FLAGS, ...LOGGING_FLAGS };

export const ELECTION_FLAGS = {
  'leader-elect': flag.boolean({
    help: 'run leader election: of several instances one is active',
    default: true,
  }),
  'leader-elect-lease-duration': flag.duration({
    help: 'how long others wait after the last renewal that they saw',
    default: '15s',
  }),
  'leader-elect-renew-deadline': flag.duration({
    help: 'how long the leader tries to renew before it stops leading',
    default: '10s',
  }),
  'leader-elect-retry-period': flag.duration({ help: 'time between tries', default: '2s' }),
  'leader-elect-resource-name': flag.text({
    placeholder: '<name>',
    help: 'name of the Lease',
    defaultText: "the component's name",
  }),
  'leader-elect-resource-namespace': flag.text({
    placeholder: '<namespace>',
    help: 'namespace of the Lease',
    default: 'kube-system',
  }),
  'leader-elect-resource-lock': fixed('leases', 'leadership is held by a Lease'),
  identity: flag.text({
    placeholder: '<name>',
    help: 'identity in the leader election and in events',
    defaultText: 'HOST_UUID',
    own: true,
  }),
};

type Election = Partial<
  Pick<LeaderElectionOptions, 'lease' | 'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs'>
>;

/** Clocks of two candidates may run at slightly different speeds: upstream's JitterFactor. */
const JITTER = 1.2;

/** name: of the Lease, where no flag sets it. False: no election. Throws a UserError. */
export function electionFrom(flags: GivenFlags<typeof ELECTION_FLAGS>, name: string): Election | false {
  const values = readFlags(ELECTION_FLAGS, flags);
  if (!values.leaderElect) return false;
  const leaseDurationMs = values.leaderElectLeaseDuration;
  const renewDeadlineMs = values.leaderElectRenewDeadline;
  const retryPeriodMs = values.leaderElectRetryPeriod;
  if (leaseDurationMs <= renewDeadlineMs)
    throw new UserError('--leader-elect-lease-duration should be longer than --leader-elect-renew-deadline.');
  if (renewDeadlineMs <= retryPeriodMs * JITTER || retryPeriodMs === 0)
    throw new UserError(
      `--leader-elect-renew-deadline should be longer than ${JITTER} times --leader-elect-retry-period, which should be more than 0.`,
    );
  return {
    lease: {
      namespace: values.leaderElectResourceNamespace,
      name: values.leaderElectResourceName ?? name,
    },
    leaseDurationMs,
    renewDeadlineMs,
    retryPeriodMs,
  };
}

/** Of every server that listens with TLS. */
export const TLS_FLAGS = {
  'tls-min-version': flag.text({
    placeholder: '<version>',
    help: 'minimum TLS version: VersionTLS12 or VersionTLS13',
    defaultText: 'VersionTLS12',
  }),
  'tls-cipher-suites': flag.list({
    help: 'TLS 1.2 cipher suites to offer, by IANA name, comma separated',
    defaultText: 'the secure ones',
  }),
};

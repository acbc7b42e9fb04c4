/** Flags that several components have. */
import type { LogLevel } from '#stdx/log.ts';
import { flagKinds } from './define.ts';

const flag = flagKinds();

/** How a component finds the API server. */
export const CLIENT_FLAGS = {
  kubeconfig: flag.file({
    help: 'kubeconfig with the address of the API server and the credentials of this component',
    defaultText: '$KUBECONFIG',
  }),
  context: flag.text({
    placeholder: '<name>',
    help: 'context of the kubeconfig to use',
    defaultText: 'its current one',
  }),
  'api-timeout-seconds': flag.number({
    max: 86_400,
    help: 'how long to wait for the API server to answer at startup',
    default: 30,
  }),
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
    default: 'info',
    decidedByUp: 'the log file has one level',
  }),
};

export const ELECTION_FLAGS = {
  'leader-elect': flag.boolean({
    help: 'run leader election: of several instances one is active',
    default: true,
  }),
  identity: flag.text({
    placeholder: '<name>',
    help: 'identity in the leader election and in events',
    defaultText: 'HOST_UUID',
  }),
};

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

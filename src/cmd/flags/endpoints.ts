/** Flags of a component's port for health, metrics and configuration, with upstream's names. */
import { isIP } from 'node:net';
import { UserError } from '#deploy/data-dir.ts';
import { TLS_FLAGS } from './common.ts';
import { fixed, flagKinds, readFlags, refusedFlags, type GivenFlags } from './define.ts';

const flag = flagKinds();

/** Its address. port: upstream's. */
export function portFlags(port: number) {
  return {
    'bind-address': flag.text({
      placeholder: '<address>',
      help: 'address of the port with health, metrics and configuration',
      default: '0.0.0.0',
    }),
    'secure-port': flag.number({ max: 65_535, help: 'its port; 0 turns it off', default: port }),
  };
}

/** Undefined: --secure-port is 0. */
export function listenAt(
  table: ReturnType<typeof portFlags>,
  flags: GivenFlags<ReturnType<typeof portFlags>>,
): ListenAddress | undefined {
  const { bindAddress: address, securePort: port } = readFlags(table, flags);
  return port === 0 ? undefined : { address, port };
}

interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

/** '10.0.0.1:53', '[fd00::1]:53', and without a port where there is a default. Throws a UserError. */
export function parseAddress(
  flagName: string,
  text: string,
  { defaultPort, minimumPort = 1 }: { readonly defaultPort?: number; readonly minimumPort?: number } = {},
): ListenAddress {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  const plain = isIP(text) === 6 ? undefined : /^([^:]+)(?::(\d+))?$/.exec(text);
  const [, address = text, portText] = bracketed ?? plain ?? [];
  const port = portText === undefined ? defaultPort : Number(portText);
  if (isIP(address) === 0 || port === undefined || port < minimumPort || port > 65_535) {
    throw new UserError(
      `${flagName} is "${text}"; it should be ADDRESS:PORT with an IP address, for example 127.0.0.1:10053.`,
    );
  }
  return { address, port };
}

/** Of a flag that upstream turns off with an empty value or with port 0. Throws a UserError. */
export function optionalAddress(
  flagName: string,
  { text, defaultPort }: { readonly text: string; readonly defaultPort: number },
): ListenAddress | undefined {
  if (text === '') return undefined;
  const found = parseAddress(flagName, text, { defaultPort, minimumPort: 0 });
  return found.port === 0 ? undefined : found;
}

/** Its access control. */
export const ACCESS_FLAGS = {
  'tls-cert-file': flag.file({
    help: 'serving certificate of that port',
    defaultText: 'self-signed, in memory',
  }),
  'tls-private-key-file': flag.file({ help: 'private key of --tls-cert-file' }),
  ...TLS_FLAGS,
  'client-ca-file': flag.file({
    help: 'certificate authority of client certificates',
    defaultText: 'as the API server publishes it in kube-system/extension-apiserver-authentication',
  }),
  'authentication-kubeconfig': flag.file({
    help: 'kubeconfig for TokenReviews',
    defaultText: 'that of --kubeconfig',
  }),
  'authorization-kubeconfig': flag.file({
    help: 'kubeconfig for SubjectAccessReviews; the same file as --authentication-kubeconfig',
    defaultText: 'that of --kubeconfig',
  }),
  'authorization-always-allow-paths': flag.list({
    placeholder: '<paths>',
    help: 'paths that need no authorization',
    default: ['/healthz', '/readyz', '/livez'] as readonly string[],
  }),
  profiling: fixed('false', 'profiles are taken of the API server only'),
  'authentication-skip-lookup': fixed('false', 'use --client-ca-file'),
  'authentication-tolerate-lookup-failure': fixed(
    'true',
    'without the authority of client certificates, tokens are accepted alone',
  ),
  ...refusedFlags('without --tls-cert-file the certificate is in memory', ['cert-dir']),
  ...refusedFlags('answers are remembered for 10 seconds', [
    'authentication-token-webhook-cache-ttl',
    'authorization-webhook-cache-authorized-ttl',
    'authorization-webhook-cache-unauthorized-ttl',
  ]),
  ...refusedFlags('headers of front proxies are not trusted', [
    'requestheader-allowed-names',
    'requestheader-client-ca-file',
    'requestheader-extra-headers-prefix',
    'requestheader-group-headers',
    'requestheader-uid-headers',
    'requestheader-username-headers',
  ]),
  ...refusedFlags('it is not supported', [
    'tls-sni-cert-key',
    'http2-max-streams-per-connection',
    'disable-http2-serving',
    'permit-address-sharing',
    'permit-port-sharing',
    'contention-profiling',
    'show-hidden-metrics-for-version',
    'allow-metric-labels',
    'allow-metric-labels-manifest',
    'disabled-metrics',
  ]),
};

/** Of components that behave as their own version only, as upstream's do. */
export const OWN_VERSION_FLAGS = refusedFlags('it is not supported', [
  'emulated-version',
  'emulation-forward-compatible',
]);

export type AccessFlags = GivenFlags<typeof ACCESS_FLAGS>;

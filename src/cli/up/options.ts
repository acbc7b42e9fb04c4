/** The options of `capstan up`, and their validation, before anything is changed. */
import { isIP } from 'node:net';
import { UserError, type ClusterSettings, type DataDir, type RuntimeKind } from '#deploy/data-dir.ts';
import { requireNetworks, type NetworkOptions } from './networks.ts';
import { requireAdvertisable, requireSubjectNames } from '#cmd/apiserver/addresses.ts';

export interface UpOptions extends NetworkOptions {
  readonly dataDir?: string;
  readonly httpsPort?: number;
  readonly bindAddress?: string;
  readonly apiserverCertExtraSans?: readonly string[];
  readonly runtime?: RuntimeKind | 'auto';
  readonly nodes?: number;
  readonly detach?: boolean;
  /** undefined: as it was. */
  readonly service?: boolean;
  readonly apiserverArg?: readonly string[];
  /** undefined: as it was. */
  readonly componentEndpoints?: boolean;
  /** undefined: as it was. */
  readonly metrics?: boolean;
  readonly install: boolean;
}

const METRICS_ARG = 'resource-metrics';

/** --metrics and --no-metrics are a flag of the API server. stored: those that the cluster has. */
export function withMetricsArg(options: UpOptions, stored: readonly string[] = []): UpOptions {
  const { metrics, apiserverArg = stored } = options;
  if (metrics === undefined) return options;
  const others = apiserverArg.filter((arg) => arg.split('=', 1)[0] !== METRICS_ARG && arg !== 'none');
  const args = metrics ? others : [...others, `${METRICS_ARG}=false`];
  return { ...options, apiserverArg: args.length > 0 ? args : ['none'] };
}

export const DEFAULT_BIND_ADDRESS = '127.0.0.1';

export const DEFAULT_HTTPS_PORT = 6443;

/** Checks that need no access to the machine. */
export function checkOptions(
  options: UpOptions,
  { dir, stored }: { readonly dir: DataDir; readonly stored: ClusterSettings | undefined },
): void {
  const { bindAddress, advertiseAddress, apiserverCertExtraSans = [], runtime, nodes } = options;
  if (bindAddress !== undefined && isIP(bindAddress) === 0)
    throw new UserError(
      `--bind-address is "${bindAddress}"; it should be an IP address of this machine, for example 127.0.0.1 or 0.0.0.0.`,
    );
  if (advertiseAddress !== undefined) requireAdvertisable('--advertise-address', advertiseAddress);
  requireSubjectNames('--apiserver-cert-extra-sans', extraNames(apiserverCertExtraSans));
  requireNetworks(options, { dir, stored });
  if (stored && runtime && runtime !== 'auto' && runtime !== stored.runtime) {
    throw new UserError(
      `The cluster in ${dir.path} runs with --runtime ${stored.runtime}; that cannot be changed. Use another --data-dir, or 'capstan delete' first.`,
    );
  }
  if ((runtime ?? stored?.runtime) === 'cri') requireOneNode(nodes);
}

/** 'none' means no names. */
export function extraNames(names: readonly string[]): readonly string[] {
  return names.filter((name) => name !== 'none');
}

export function requireOneNode(nodes = 1): void {
  if (nodes !== 1)
    throw new UserError(
      `--nodes ${nodes} needs --runtime simulated: with real containers this machine is one node.`,
    );
}

/** A running cluster has fixed options: others are refused rather than ignored. Repeating its own is allowed. */
export function requireSameOptions(
  options: UpOptions,
  {
    dir,
    pid,
    stored,
  }: { readonly dir: DataDir; readonly pid: number; readonly stored: ClusterSettings | undefined },
): void {
  const asked: Readonly<
    Record<string, { readonly given: string | number | undefined; readonly has: string | number | undefined }>
  > = {
    '--https-port': { given: options.httpsPort, has: stored?.httpsPort },
    '--bind-address': { given: options.bindAddress, has: stored?.bindAddress },
    '--component-endpoints': {
      given: options.componentEndpoints === undefined ? undefined : String(options.componentEndpoints),
      has: String(stored?.componentEndpoints ?? false),
    },
    '--nodes': { given: options.nodes, has: stored?.nodes },
    '--advertise-address': { given: options.advertiseAddress, has: stored?.advertiseAddress },
    '--apiserver-cert-extra-sans': {
      given: options.apiserverCertExtraSans && extraNames(options.apiserverCertExtraSans).join(' '),
      has: (stored?.certExtraSANs ?? []).join(' '),
    },
    '--apiserver-arg': {
      given: options.apiserverArg?.filter((arg) => arg !== 'none').join(' '),
      has: (stored?.apiServerArgs ?? []).join(' '),
    },
  };
  const [other] = Object.entries(asked).filter(([, { given, has }]) => given !== undefined && given !== has);
  if (other)
    throw new UserError(
      `The cluster in ${dir.path} is running (process ${pid}) with another ${other[0]}: stop it with 'capstan down' before that is changed.`,
    );
}

/** `capstan proxy`: the service proxy of this machine as a program of its own. */
import { mkdirSync, rmSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { createLoadBalancerSpeaker } from '#addons/load-balancer/speaker/speaker.ts';
import { formatTime } from '#machinery/time.ts';
import { describeDiskError, shortHash, UserError } from '#deploy/data-dir.ts';
import { missingPrograms } from '#deploy/packages/debian.ts';
import { createChosenDns } from '#dns/chosen-dns.ts';
import { createClusterDns } from '#dns/cluster-dns.ts';
import { createServiceProxy, type ProxyHealth, type RunningProxy } from '#proxy/service-proxy.ts';
import type { Component } from '#runtime/component.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { acquireProcessLock, liveLockHolder, LockedError, type ProcessLock } from '#stdx/process-lock.ts';
import { readFlags } from '../flags/define.ts';
import { optionalAddress } from '../flags/endpoints.ts';
import { parseRanges } from '../flags/ranges.ts';
import { serveHealth } from '../component-endpoints.ts';
import { runComponent } from '../run-component.ts';
import { loggerFrom } from '../flags/common.ts';
import { effectiveConfig, warnAll, withConfigFile } from '../flags/config-file.ts';
import { PROXY_FIELDS, PROXY_KIND } from './config.ts';
import { PROXY_FLAGS, type ProxyFlags } from './flags.ts';

const NAME = 'kube-proxy';
const DNS_PORT = 53;

export async function runProxy(given: ProxyFlags): Promise<void> {
  const { flags, warnings } = withConfigFile(PROXY_FLAGS, given, { kind: PROXY_KIND, fields: PROXY_FIELDS });
  warnAll(warnings, loggerFrom(flags, NAME));
  if (process.platform !== 'linux')
    throw new UserError(
      `The service proxy writes nftables rules and needs Linux; this is ${process.platform}.`,
    );
  if (process.getuid?.() !== 0)
    throw new UserError('The service proxy writes nftables rules and needs root.');
  if (missingPrograms().some(({ program }) => program === 'nft'))
    throw new UserError('The program nft is missing: apt-get install --no-install-recommends nftables');
  const values = readFlags(PROXY_FLAGS, flags);
  const { clusterCidr, hostnameOverride, nodeName = hostname() } = values;
  const healthz = optionalAddress('--healthz-bind-address', {
    text: values.healthzBindAddress,
    defaultPort: 10_256,
  });
  let proxy: RunningProxy | undefined;
  const podCIDRs = parseRanges('--cluster-cidr', clusterCidr);
  if (flags.clusterId !== undefined && !/^[0-9a-f]{8}$/.test(flags.clusterId))
    throw new UserError(`--cluster-id is "${flags.clusterId}"; it should be 8 hexadecimal digits.`);
  let lock: ProcessLock | undefined;
  try {
    await runComponent({
      name: NAME,
      flags,
      endpoints: {
        config: { [PROXY_KIND.group]: effectiveConfig(PROXY_FLAGS, flags, PROXY_FIELDS) },
        table: PROXY_FLAGS,
        access: flags,
        listen: optionalAddress('--metrics-bind-address', {
          text: values.metricsBindAddress,
          defaultPort: 10_249,
        }),
        checks: [{ name: 'rules', check: () => unhealthyWhy(proxy?.health()) }],
        health: () =>
          serveHealth({ name: NAME, listen: healthz, answer: (path) => healthAnswer(path, proxy?.health()) }),
      },
      create: (context) => {
        const clusterId = flags.clusterId ?? computeProxyId(context.connection.options.server);
        lock = lockRules(clusterId);
        const name = (hostnameOverride ?? nodeName).toLowerCase();
        proxy = createServiceProxy({ ...context, nodeName: name, podCIDRs, clusterId });
        const speaker = createLoadBalancerSpeaker({ ...context, nodeName: name });
        const dnsMetrics = new LatestMetrics(context.metrics);
        const dns = createChosenDns({
          ...context,
          nodeName: name,
          port: DNS_PORT,
          create: ({ listen }) =>
            createClusterDns({
              ...context,
              metrics: dnsMetrics.begin(),
              listen,
              clusterDomain: values.clusterDomain,
            }),
        });
        return [speaker, dns].reduce<Component>(withCompanion, proxy);
      },
    });
  } finally {
    lock?.release();
  }
}

/** Metrics of a part that ends and begins again: those of the last one. */
class LatestMetrics {
  #latest: MetricsRegistry | undefined;

  constructor(registry: MetricsRegistry | undefined) {
    registry?.collect(() => this.#latest?.render().trimEnd().split('\n') ?? []);
  }

  begin(): MetricsRegistry {
    return (this.#latest = new MetricsRegistry());
  }
}

/** What it announces has rules already. */
function withCompanion(rules: Component, companion: Component): Component {
  return {
    name: rules.name,
    async start() {
      await rules.start();
      await companion.start();
    },
    async stop() {
      await companion.stop();
      await rules.stop();
    },
  };
}

function unhealthyWhy(health: ProxyHealth | undefined): string | undefined {
  return health?.isHealthy ? undefined : 'the service rules are behind the cluster';
}

/** As upstream's 10256: /healthz fails also for a node that load balancers should leave out, /livez does not. */
function healthAnswer(
  path: string,
  { isHealthy = false, isNodeEligible = true, syncedAtMs = 0 }: Partial<ProxyHealth> = {},
): { readonly status: number; readonly text: string; readonly type: string } | undefined {
  if (path !== '/healthz' && path !== '/livez') return undefined;
  const isWell = isHealthy && (path === '/livez' || isNodeEligible);
  const text = JSON.stringify({
    lastUpdated: formatTime(syncedAtMs),
    currentTime: formatTime(Date.now()),
    ...(path === '/healthz' ? { nodeEligible: isNodeEligible } : {}),
  });
  return { status: isWell ? 200 : 503, text, type: 'application/json' };
}

/** Key of the proxy's rules for the cluster of this API server: the address in its kubeconfig. */
export function computeProxyId(server: string): string {
  return shortHash(server);
}

/** The process of `capstan proxy` that writes this cluster's rules, if one does. */
export function proxyPid(clusterId: string): number | undefined {
  return liveLockHolder(rulesLock(clusterId))?.pid;
}

/** Two that write the same rules would undo each other's work. */
function lockRules(clusterId: string): ProcessLock {
  const path = rulesLock(clusterId);
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
    return acquireProcessLock(path);
  } catch (error) {
    if (error instanceof LockedError)
      throw new UserError(
        `The service rules of this cluster (--cluster-id ${clusterId}) are already written by process ${error.holder.pid}.`,
        error,
      );
    throw describeDiskError(path, error);
  }
}

/** Rules belong to a network namespace, so several may have such a proxy. */
function rulesLock(clusterId: string): string {
  return `/run/capstan/proxies/${clusterId}-${statSync('/proc/self/ns/net').ino}`;
}

/** Removes a stale lock of an ended proxy. */
export function removeRulesLock(clusterId: string): void {
  for (const path of [rulesLock(clusterId), `${rulesLock(clusterId)}.guard`]) rmSync(path, { force: true });
}

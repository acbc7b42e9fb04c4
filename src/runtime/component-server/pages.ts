/** Pages of every component's server besides health: /metrics, /metrics/slis, /configz, /statusz, /flagz. Pure except for the clock of /statusz. */
import { flagzPage, statuszPage, type ZPage } from '#machinery/z-pages.ts';
import { stringifyYaml } from '#machinery/yaml.ts';
import { label } from '#stdx/instruments.ts';
import { processLines } from '#stdx/process-metrics.ts';
import type { MetricsRegistry } from '#stdx/metrics-registry.ts';
import {
  DEFAULT_EFFECTIVE_VERSION,
  formatMajorMinor,
  type EffectiveVersion,
} from '#machinery/effective-version.ts';
import type { ComponentHealth } from './health.ts';

export interface ComponentPages {
  /** 'kube-scheduler' */
  readonly name: string;
  /** 'v1.36.0+…' */
  readonly version: string;
  /** Of a component that can behave as an older version. */
  readonly effectiveVersion?: EffectiveVersion | undefined;
  readonly metrics: MetricsRegistry;
  /** Further pages of metrics, by path: '/metrics/resources'. */
  readonly moreMetrics?: Readonly<Record<string, MetricsRegistry>> | undefined;
  /** As given or by default, without dashes. */
  readonly flags: Readonly<Record<string, string>>;
  /** Contents of /configz: the effective configuration, under its group. */
  readonly config: object;
}

interface PageAnswer {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const PATHS = ['/configz', '/flagz', '/metrics', '/metrics/slis', '/statusz'];
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Undefined: unknown page. Throws a StatusError for an Accept header that cannot be satisfied. */
export function renderPage(
  path: string,
  {
    pages,
    health,
    accept,
  }: {
    readonly pages: ComponentPages;
    readonly health: ComponentHealth;
    readonly accept: string | undefined;
  },
): PageAnswer | undefined {
  const more = pages.moreMetrics?.[path];
  switch (path) {
    case '/metrics':
      return metricsPage([...buildInfo(pages), ...processLines()], pages.metrics.render());
    case '/metrics/slis':
      return metricsPage(health.slis(), '');
    case '/configz':
      return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(pages.config) };
    case '/statusz':
      return zAnswer(
        statuszPage(accept, {
          name: pages.name,
          gitVersion: pages.version,
          emulationVersion: formatMajorMinor((pages.effectiveVersion ?? DEFAULT_EFFECTIVE_VERSION).emulated),
          paths: [...PATHS, ...Object.keys(pages.moreMetrics ?? {}), ...health.paths()].toSorted(),
        }),
      );
    case '/flagz':
      return zAnswer(flagzPage(accept, { name: pages.name, flags: pages.flags }));
    default:
      return more && metricsPage([], more.render());
  }
}

function metricsPage(lines: readonly string[], more: string): PageAnswer {
  return { headers: { 'content-type': METRICS_TYPE }, body: `${lines.join('\n')}\n${more.trimStart()}` };
}

function zAnswer({ headers, text, object, encoding }: ZPage): PageAnswer {
  if (!object) return { headers, body: text };
  return { headers, body: encoding === 'yaml' ? stringifyYaml(object) : JSON.stringify(object) };
}

function buildInfo({ version, effectiveVersion }: ComponentPages): string[] {
  const [, major = '', minor = ''] = /^v?(\d+)\.(\d+)/.exec(version) ?? [];
  const labels = [
    label('git_version', version),
    label('go_version', `node ${process.version}`),
    label('major', major),
    label('minor', minor),
    label('platform', `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`),
  ];
  return [
    '# HELP kubernetes_build_info Version of this program; the value is 1.',
    '# TYPE kubernetes_build_info gauge',
    `kubernetes_build_info{${labels.join(',')}} 1`,
    ...(effectiveVersion ? versionLines(version, effectiveVersion) : []),
  ];
}

function versionLines(version: string, { emulated, minCompatibility }: EffectiveVersion): string[] {
  const labels = [
    label('binary', version.replace(/^v/, '')),
    label('component', 'kube'),
    label('emulation', formatMajorMinor(emulated)),
    label('min_compat', formatMajorMinor(minCompatibility)),
  ];
  return [
    '# HELP version_info Which version of Kubernetes it behaves as; the value is 1.',
    '# TYPE version_info gauge',
    `version_info{${labels.join(',')}} 1`,
  ];
}

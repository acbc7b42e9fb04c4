/** HTTP extenders of a KubeSchedulerConfiguration: schema, upstream's defaults and validation. */
import { readFileSync } from 'node:fs';
import { goDurationMs } from '#machinery/go-duration.ts';
import { duration, flag, integer64, listOf, struct, text } from '#machinery/config/schema.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { ExtenderConfig } from '#scheduler/extenders/extender.ts';
import { FieldProblems } from './field-problems.ts';

export const EXTENDER_SCHEMA = struct('Extender', {
  urlPrefix: text,
  filterVerb: text,
  preemptVerb: text,
  prioritizeVerb: text,
  weight: integer64,
  bindVerb: text,
  enableHTTPS: flag,
  tlsConfig: struct('ExtenderTLSConfig', {
    insecure: flag,
    serverName: text,
    certFile: text,
    keyFile: text,
    caFile: text,
    certData: text,
    keyData: text,
    caData: text,
  }),
  httpTimeout: duration,
  nodeCacheCapable: flag,
  managedResources: listOf(struct('ExtenderManagedResource', { name: text, ignoredByScheduler: flag })),
  ignorable: flag,
});

interface ConfiguredExtender {
  readonly urlPrefix?: string;
  readonly filterVerb?: string;
  readonly preemptVerb?: string;
  readonly prioritizeVerb?: string;
  readonly weight?: number | string;
  readonly bindVerb?: string;
  readonly enableHTTPS?: boolean;
  readonly tlsConfig?: TLSConfig;
  readonly httpTimeout?: string;
  readonly nodeCacheCapable?: boolean;
  readonly managedResources?: readonly { readonly name?: string; readonly ignoredByScheduler?: boolean }[];
  readonly ignorable?: boolean;
}

interface TLSConfig {
  readonly insecure?: boolean;
  readonly serverName?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly caFile?: string;
  readonly certData?: string;
  readonly keyData?: string;
  readonly caData?: string;
}

/** Upstream's DefaultExtenderTimeout. */
const TIMEOUT_MS = 5_000;
const QUALIFIED = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)\/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

/** text: the extenders of a file as JSON. Throws a UserError that names the field. */
export function extendersFrom(text: string | undefined): readonly ExtenderConfig[] {
  const extenders = text === undefined ? [] : (JSON.parse(text) as readonly ConfiguredExtender[]);
  const problems = new FieldProblems('extenders');
  const managed = new Set<string>();
  const made = extenders.map((one, index) =>
    extenderFrom(one, { problems: problems.at(`[${index}]`), managed }),
  );
  const binders = made.filter(({ bindVerb }) => bindVerb !== '').length;
  if (binders > 1)
    problems.add(
      `Invalid value: "found ${binders} extenders implementing bind": only one extender can implement bind`,
    );
  problems.throwFirst();
  return made;
}

function extenderFrom(
  { urlPrefix = '', managedResources = [], tlsConfig = {}, enableHTTPS = false, ...rest }: ConfiguredExtender,
  { problems, managed }: { readonly problems: FieldProblems; readonly managed: Set<string> },
): ExtenderConfig {
  const { filterVerb = '', preemptVerb = '', prioritizeVerb = '', bindVerb = '' } = rest;
  const weight = Number(rest.weight ?? 0);
  if (!URL.canParse(urlPrefix) || !/^https?:$/.test(new URL(urlPrefix).protocol))
    problems.invalid('urlPrefix', urlPrefix, 'should be the URL of a server');
  if (prioritizeVerb !== '' && weight <= 0)
    problems.invalid('weight', weight, 'must have a positive weight applied to it');
  for (const [index, { name = '' }] of managedResources.entries()) {
    const at = `managedResources[${index}].name`;
    if (!QUALIFIED.test(name) || /(^|\.)kubernetes\.io\//.test(name))
      problems.invalid(at, name, 'is an invalid extended resource name');
    if (managed.has(name)) problems.invalid(at, name, 'duplicate extender managed resource name');
    managed.add(name);
  }
  const timeoutMs = rest.httpTimeout === undefined ? 0 : goDurationMs(rest.httpTimeout);
  return {
    urlPrefix,
    filterVerb,
    preemptVerb,
    prioritizeVerb,
    bindVerb,
    weight,
    timeoutMs: timeoutMs || TIMEOUT_MS,
    nodeCacheCapable: rest.nodeCacheCapable ?? false,
    ignorable: rest.ignorable ?? false,
    managedResources: new Set(managedResources.map(({ name = '' }) => name)),
    ignoredResources: new Set(
      managedResources.flatMap(({ name = '', ignoredByScheduler }) => (ignoredByScheduler ? [name] : [])),
    ),
    tls: tlsFrom(tlsConfig, enableHTTPS),
  };
}

function tlsFrom(config: TLSConfig, enableHTTPS: boolean): ExtenderConfig['tls'] {
  const { insecure = false, serverName } = config;
  const ca = pemOf(config.caData, config.caFile);
  const cert = pemOf(config.certData, config.certFile);
  const key = pemOf(config.keyData, config.keyFile);
  // As upstream: HTTPS without a CA is not verified.
  const verifies = !insecure && !(enableHTTPS && ca === undefined);
  return { verifies, serverName, ca, cert, key };
}

/** Data takes precedence, in base64. */
function pemOf(data: string | undefined, file: string | undefined): string | undefined {
  if (data) return Buffer.from(data, 'base64').toString('utf8');
  if (!file) return undefined;
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(
      `--config: extenders: cannot read ${file}: ${error instanceof Error ? error.message : String(error)}.`,
    );
  }
}

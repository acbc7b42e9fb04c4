/**
 * The file of --config: any of kubeadm's kinds, a KubeletConfiguration and Addons, as documents of one YAML text. Unknown fields are refused with their path; known
 * fields without effect are warned of. defaults.ts sets defaults, validate.ts validates.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { applyFields } from '#machinery/config/fields.ts';
import { ConfigError, decodeConfig, MAXIMUM_CONFIG_LENGTH } from '#machinery/config/read.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { parseYamlDocuments, type ParsedYaml } from '#machinery/yaml.ts';
import { errorMessage } from '#stdx/log.ts';
import { readAddons, type Addon } from '../addons/addon-files.ts';
import { UserError } from '../data-dir.ts';
import { ADDONS, CLUSTER, IGNORED, INIT, JOIN, RESET } from './kinds.ts';
import { KUBELET, KUBELET_FIELDS } from './kubelet.ts';
import type {
  AddonsConfiguration,
  ClusterConfiguration,
  InitConfiguration,
  JoinConfiguration,
  KubeletConfiguration,
  ResetConfiguration,
} from './types.ts';

export interface ConfigDocuments {
  readonly init?: InitConfiguration | undefined;
  readonly cluster?: ClusterConfiguration | undefined;
  readonly join?: JoinConfiguration | undefined;
  readonly reset?: ResetConfiguration | undefined;
  readonly kubelet?: KubeletConfiguration | undefined;
  readonly addons?: AddonsConfiguration | undefined;
  /** Documents of further kinds that the caller reads, as they are. */
  readonly others?: readonly JsonObject[] | undefined;
  /** One sentence each. */
  readonly warnings: readonly string[];
}

const KINDS = { init: INIT, cluster: CLUSTER, join: JOIN, reset: RESET, kubelet: KUBELET, addons: ADDONS };
/** Of upstream's addons, whose settings are not of ours. */
const PASSED_OVER = ['KubeProxyConfiguration', 'UpgradeConfiguration'];

interface ReadOptions {
  /** Kinds that the caller reads. Default: none. */
  readonly others?: readonly string[] | undefined;
}

/** Throws a UserError that names the file. */
export function readConfigFile(path: string, options: ReadOptions = {}): ConfigDocuments {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`--config ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
  try {
    return parseConfigDocuments(content, options);
  } catch (error) {
    if (error instanceof ConfigError) throw new UserError(`--config ${path}: ${error.message}.`, error);
    throw error;
  }
}

/** The manifests of its addons, relative to the file; undefined: it has no such section. Throws a UserError that names the file. */
export function readConfigAddons(path: string, { addons }: ConfigDocuments): readonly Addon[] | undefined {
  try {
    return addons && readAddons(addons.addons ?? [], dirname(resolve(path)));
  } catch (error) {
    if (error instanceof ConfigError) throw new UserError(`--config ${path}: ${error.message}.`, error);
    throw error;
  }
}

/** Throws a ConfigError. */
export function parseConfigDocuments(content: string, { others = [] }: ReadOptions = {}): ConfigDocuments {
  const found: Record<string, object> = {};
  const ofCaller: JsonObject[] = [];
  const warnings: string[] = [];
  for (const { value, problems } of documentsOf(content)) {
    const kind = isJsonObject(value) ? String(value['kind']) : '';
    if (PASSED_OVER.includes(kind)) {
      warnings.push(`${kind} is ignored: no component here takes it`);
      continue;
    }
    if (isJsonObject(value) && others.includes(kind)) {
      if (problems.length > 0) throw new ConfigError(`${kind}: ${problems.join(', ')}`);
      ofCaller.push(value);
      continue;
    }
    const decoded = decodeConfig<{ kind: string }>(value, Object.values(KINDS), problems);
    const [name = ''] = Object.entries(KINDS).find(([, known]) => known.kind === decoded.kind) ?? [];
    if (found[name]) throw new ConfigError(`it holds ${decoded.kind} twice`);
    warnings.push(...ignoredFields(decoded.kind, decoded));
    if (decoded.kind === KUBELET.kind)
      warnings.push(
        ...applyFields(decoded, KUBELET_FIELDS).warnings.map((text) => `${KUBELET.kind}: ${text}`),
      );
    found[name] = decoded;
  }
  return { ...found, ...(ofCaller.length > 0 ? { others: ofCaller } : {}), warnings };
}

/** Of a ConfigMap's value, which the cluster's own init wrote. Throws a ConfigError. */
export function parseClusterConfiguration(content: string): ClusterConfiguration {
  const { cluster } = parseConfigDocuments(content);
  if (!cluster) throw new ConfigError('it holds no ClusterConfiguration');
  return cluster;
}

function documentsOf(content: string): readonly ParsedYaml[] {
  if (content.length > MAXIMUM_CONFIG_LENGTH)
    throw new ConfigError(
      `it has ${content.length} characters; it should have at most ${MAXIMUM_CONFIG_LENGTH}`,
    );
  let documents: readonly ParsedYaml[];
  try {
    documents = parseYamlDocuments(content);
  } catch (error) {
    throw new ConfigError(`it is not valid YAML: ${errorMessage(error).split('\n')[0] ?? ''}`, {
      cause: error,
    });
  }
  if (documents.length === 0) throw new ConfigError('the file is empty');
  return documents;
}

function ignoredFields(kind: string, document: object): string[] {
  return Object.entries(IGNORED[kind] ?? {})
    .filter(([path]) => valueAt(document, path.split('.')) !== undefined)
    .map(([path, why]) => `${kind}: ${path} is ignored: ${why}`);
}

function valueAt(value: unknown, [name, ...rest]: readonly string[]): unknown {
  if (name === undefined) return value;
  return isJsonObject(value) ? valueAt(value[name], rest) : undefined;
}

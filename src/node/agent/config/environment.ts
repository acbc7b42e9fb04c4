/** A container's environment: envFrom, then env with its references, then service variables; a later source wins. ConfigMaps, Secrets and files are read through the caller. */
import type { ConfigMap, EnvVar, FileKeySelector, Secret, Service } from '#api/types.ts';
import type { AnyContainer } from '../pod/restart-policy.ts';
import { ConfigError, fieldValue, resourceFieldValue, type DownwardContext } from './downward.ts';
import { parseEnvFile } from './env-file.ts';
import { expand } from './expand.ts';
import { serviceEnvironment, type EnvironmentVariable } from './service-environment.ts';

/** Upstream's maximum lengths of a file's key and value. */
const MAXIMUM_KEY = 128;
const MAXIMUM_VALUE_BYTES = 32 * 1024;

/** undefined: it does not exist. */
export interface ObjectReader {
  configMap(namespace: string, name: string): Promise<ConfigMap | undefined>;
  secret(namespace: string, name: string): Promise<Secret | undefined>;
}

/** The text of a file in a volume of the pod; undefined: it does not exist. Throws ConfigError. */
type VolumeFileReader = (file: {
  readonly volumeName: string;
  readonly path: string;
}) => Promise<string | undefined>;

interface EnvironmentOptions {
  readonly container: AnyContainer;
  readonly context: DownwardContext;
  readonly objects: ObjectReader;
  readonly services: readonly Service[];
  readonly volumeFile: VolumeFileReader;
}

export interface ContainerEnvironment {
  readonly variables: readonly EnvironmentVariable[];
  /** Keys of envFrom that are not valid variable names: skipped and reported in an event. */
  readonly invalid: readonly {
    readonly kind: string;
    readonly name: string;
    readonly keys: readonly string[];
  }[];
}

/** Throws ConfigError. */
export async function containerEnvironment(options: EnvironmentOptions): Promise<ContainerEnvironment> {
  const { container, context, services } = options;
  const { pod } = context;
  const result = new Map<string, string>();
  const invalid = await addFromSources(options, result);
  const links = serviceEnvironment(services, {
    namespace: pod.metadata?.namespace ?? '',
    enableServiceLinks: pod.spec?.enableServiceLinks ?? true,
  });
  const linked = new Map(links.map(({ name, value }) => [name, value]));
  for (const variable of container.env ?? []) {
    const value = variable.valueFrom
      ? await referencedValue(variable, options)
      : expand(variable.value ?? '', (name) => result.get(name) ?? linked.get(name));
    if (value !== undefined) result.set(variable.name, value);
  }
  for (const [name, value] of linked) if (!result.has(name)) result.set(name, value);
  return { variables: [...result].map(([name, value]) => ({ name, value })), invalid };
}

async function addFromSources(
  { container, context, objects }: EnvironmentOptions,
  result: Map<string, string>,
): Promise<ContainerEnvironment['invalid']> {
  const namespace = context.pod.metadata?.namespace ?? '';
  const invalid: { kind: string; name: string; keys: string[] }[] = [];
  for (const { prefix = '', configMapRef, secretRef } of container.envFrom ?? []) {
    const reference = configMapRef ?? secretRef;
    if (!reference) continue;
    const name = reference.name ?? '';
    const object = configMapRef
      ? await objects.configMap(namespace, name)
      : await objects.secret(namespace, name);
    const data = configMapRef
      ? (object as ConfigMap | undefined)?.data
      : decodeSecret(object as Secret | undefined);
    if (!object) {
      if (reference.optional) continue;
      throw new ConfigError(`${configMapRef ? 'configmap' : 'secret'} "${name}" not found`);
    }
    const bad: string[] = [];
    for (const key of Object.keys(data ?? {}).sort()) {
      if (isVariableName(prefix + key)) result.set(prefix + key, data?.[key] ?? '');
      else bad.push(key);
    }
    if (bad.length > 0)
      invalid.push({ kind: configMapRef ? 'ConfigMap' : 'Secret', name: `${namespace}/${name}`, keys: bad });
  }
  return invalid;
}

/** Printable characters but '=' (upstream's relaxed rule). */
function isVariableName(name: string): boolean {
  return name !== '' && /^[ -<>-~]+$/.test(name);
}

async function referencedValue(
  { valueFrom }: EnvVar,
  { container, context, objects, volumeFile }: EnvironmentOptions,
): Promise<string | undefined> {
  const namespace = context.pod.metadata?.namespace ?? '';
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef } = valueFrom ?? {};
  if (fieldRef) return fieldValue(fieldRef, context);
  if (resourceFieldRef) return resourceFieldValue(resourceFieldRef, context, container.name);
  if (fileKeyRef) return fileKeyValue(fileKeyRef, volumeFile);
  const reference = configMapKeyRef ?? secretKeyRef;
  if (!reference) return '';
  const { name = '', key, optional } = reference;
  const kind = configMapKeyRef ? 'ConfigMap' : 'Secret';
  const object = configMapKeyRef
    ? await objects.configMap(namespace, name)
    : await objects.secret(namespace, name);
  const data = !object
    ? undefined
    : configMapKeyRef
      ? (object as ConfigMap).data
      : decodeSecret(object as Secret);
  if (!object && !optional) throw new ConfigError(`${kind.toLowerCase()} "${name}" not found`);
  const value = data?.[key];
  if (value === undefined && !optional)
    throw new ConfigError(`couldn't find key ${key} in ${kind} ${namespace}/${name}`);
  return value;
}

/** Upstream treats an empty value as a missing key. */
async function fileKeyValue(
  { volumeName, path, key, optional }: FileKeySelector,
  volumeFile: VolumeFileReader,
): Promise<string | undefined> {
  if (key.length > MAXIMUM_KEY)
    throw new ConfigError(
      `environment variable key ${JSON.stringify(key)} exceeds maximum length of ${MAXIMUM_KEY} characters`,
    );
  const text = await volumeFile({ volumeName, path });
  const value = text === undefined ? '' : parseEnvFile(text, key);
  if (Buffer.byteLength(value) > MAXIMUM_VALUE_BYTES)
    throw new ConfigError(
      `environment variable value for key ${JSON.stringify(key)} exceeds maximum size of 32KB`,
    );
  if (value !== '') return value;
  if (optional) return undefined;
  throw new ConfigError(
    text === undefined
      ? `failed to open environment variable file ${JSON.stringify(path)} of volume ${JSON.stringify(volumeName)}: no such file`
      : `environment variable key ${JSON.stringify(key)} not found in file ${JSON.stringify(path)}`,
  );
}

function decodeSecret(secret: Secret | undefined): Record<string, string> | undefined {
  return (
    secret &&
    Object.fromEntries(
      Object.entries(secret.data ?? {}).map(([key, text]) => [key, Buffer.from(text, 'base64').toString()]),
    )
  );
}

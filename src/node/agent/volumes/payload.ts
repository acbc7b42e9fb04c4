/** The files of a config map, secret, downward API or projected volume. Reads objects and tokens through the caller; writes nothing. */
import type {
  ConfigMap,
  DownwardAPIVolumeFile,
  KeyToPath,
  Pod,
  Secret,
  Volume,
  VolumeProjection,
} from '#api/types.ts';
import type { ObjectReader } from '../config/environment.ts';
import { fieldValue, resourceFieldValue, type DownwardContext } from '../config/downward.ts';
import type { VolumeFile } from './atomic-writer.ts';
import { VolumeError } from './errors.ts';
import type { ServiceAccountTokens } from './service-account-tokens.ts';

interface PayloadContext {
  readonly objects: ObjectReader;
  readonly tokens: Pick<ServiceAccountTokens, 'token'>;
  readonly downward: DownwardContext;
}

interface Payload {
  readonly files: ReadonlyMap<string, VolumeFile>;
  /** When it has to be made again although no object changed. */
  readonly renewAtMs: number | undefined;
}

const DEFAULT_MODE = 0o644;
const TOKEN_MODE = 0o600;

/** undefined for a volume without such files. Throws VolumeError, ConfigError, StatusError. */
export async function buildPayload(volume: Volume, context: PayloadContext): Promise<Payload | undefined> {
  const files = new Map<string, VolumeFile>();
  const namespace = context.downward.pod.metadata?.namespace ?? '';
  const { configMap, secret, downwardAPI, projected } = volume;
  let renewAtMs: number | undefined;
  if (configMap)
    addAll(files, await configMapFiles(context, { namespace, ...configMap, mode: configMap.defaultMode }));
  else if (secret)
    addAll(
      files,
      await secretFiles(context, { namespace, ...secret, name: secret.secretName, mode: secret.defaultMode }),
    );
  else if (downwardAPI)
    addAll(files, downwardFiles(downwardAPI.items ?? [], context.downward, downwardAPI.defaultMode));
  else if (projected) {
    for (const source of projected.sources ?? []) {
      const part = await projectedFiles(source, context, projected.defaultMode);
      addAll(files, part.files);
      if (part.renewAtMs !== undefined) renewAtMs = Math.min(renewAtMs ?? Infinity, part.renewAtMs);
    }
  } else return undefined;
  return { files, renewAtMs };
}

function addAll(into: Map<string, VolumeFile>, files: ReadonlyMap<string, VolumeFile>): void {
  for (const [path, file] of files) into.set(path, file);
}

async function projectedFiles(
  source: VolumeProjection,
  context: PayloadContext,
  mode: number | undefined,
): Promise<Payload> {
  const { pod } = context.downward;
  const namespace = pod.metadata?.namespace ?? '';
  const { configMap, secret, downwardAPI, serviceAccountToken, clusterTrustBundle, podCertificate } = source;
  const plain = (files: ReadonlyMap<string, VolumeFile>): Payload => ({ files, renewAtMs: undefined });
  if (configMap) return plain(await configMapFiles(context, { namespace, ...configMap, mode }));
  if (secret) return plain(await secretFiles(context, { namespace, ...secret, mode }));
  if (downwardAPI) return plain(downwardFiles(downwardAPI.items ?? [], context.downward, mode));
  if (clusterTrustBundle)
    throw new VolumeError('clusterTrustBundle projections are not supported by this node');
  if (podCertificate) throw new VolumeError('podCertificate projections are not supported by this node');
  if (!serviceAccountToken) return plain(new Map());
  const { token, renewAtMs } = await context.tokens.token(pod, serviceAccountToken);
  return {
    files: new Map([[serviceAccountToken.path, { data: Buffer.from(token), ...tokenAccess(pod, mode) }]]),
    renewAtMs,
  };
}

/** Readable by the common user of all containers and by the volume's group, where there are any; otherwise by everyone. */
function tokenAccess(
  pod: Pod,
  mode: number | undefined,
): { readonly mode: number; readonly uid?: number | undefined } {
  const uid = userOfAll(pod);
  const isOwned = uid !== undefined || pod.spec?.securityContext?.fsGroup !== undefined;
  return { mode: isOwned ? TOKEN_MODE : (mode ?? DEFAULT_MODE), uid };
}

function userOfAll({ spec }: Pod): number | undefined {
  const [uid, ...others] = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].map(
    ({ securityContext }) => securityContext?.runAsUser ?? spec?.securityContext?.runAsUser,
  );
  return others.every((other) => other === uid) ? uid : undefined;
}

interface Source {
  readonly namespace: string;
  readonly name?: string | undefined;
  readonly items?: KeyToPath[] | undefined;
  readonly optional?: boolean | undefined;
  readonly mode: number | undefined;
}

async function configMapFiles({ objects }: PayloadContext, source: Source): Promise<Map<string, VolumeFile>> {
  const object: ConfigMap | undefined = await objects.configMap(source.namespace, source.name ?? '');
  if (!object && !source.optional) throw new VolumeError(`configmap "${source.name}" not found`);
  const data = new Map<string, Buffer>(
    Object.entries(object?.data ?? {}).map(([key, text]) => [key, Buffer.from(text)]),
  );
  for (const [key, text] of Object.entries(object?.binaryData ?? {}))
    data.set(key, Buffer.from(text, 'base64'));
  return select(data, source, 'configmap references non-existent config key');
}

async function secretFiles({ objects }: PayloadContext, source: Source): Promise<Map<string, VolumeFile>> {
  const object: Secret | undefined = await objects.secret(source.namespace, source.name ?? '');
  if (!object && !source.optional) throw new VolumeError(`secret "${source.name}" not found`);
  const data = new Map<string, Buffer>(
    Object.entries(object?.data ?? {}).map(([key, text]) => [key, Buffer.from(text, 'base64')]),
  );
  return select(data, source, 'references non-existent secret key');
}

function select(
  data: ReadonlyMap<string, Buffer>,
  { items, optional, mode = DEFAULT_MODE }: Source,
  problem: string,
): Map<string, VolumeFile> {
  if (!items || items.length === 0)
    return new Map([...data].map(([key, bytes]) => [key, { data: bytes, mode }]));
  const files = new Map<string, VolumeFile>();
  for (const item of items) {
    const bytes = data.get(item.key);
    if (bytes) files.set(item.path, { data: bytes, mode: item.mode ?? mode });
    else if (!optional) throw new VolumeError(`${problem}: ${item.key}`);
  }
  return files;
}

function downwardFiles(
  items: readonly DownwardAPIVolumeFile[],
  context: DownwardContext,
  mode = DEFAULT_MODE,
): Map<string, VolumeFile> {
  return new Map(
    items.map((item) => {
      const text = item.fieldRef
        ? fieldValue(item.fieldRef, context)
        : item.resourceFieldRef
          ? resourceFieldValue(item.resourceFieldRef, context)
          : '';
      return [item.path, { data: Buffer.from(text), mode: item.mode ?? mode }];
    }),
  );
}

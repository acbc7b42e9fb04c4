/** Conversion by webhook: ConversionReview v1 out, objects of the wanted version back, checked to be the same objects. After upstream's webhook converter. */
import { randomUUID } from 'node:crypto';
import { errorMessage } from '#stdx/log.ts';
import { StatusError } from '#machinery/errors.ts';
import { deepEqual, isJsonObject } from '#machinery/json.ts';
import { parseApiVersion, type KubeObject, type ObjectMeta } from '#machinery/object.ts';
import type { CustomResourceDefinition } from '#api/types.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { callClientConfig } from '../webhooks/client-config.ts';

const TIMEOUT_MS = 30_000;

interface ConversionResponse {
  readonly uid?: string;
  readonly convertedObjects?: KubeObject[];
  readonly result?: { readonly status?: string; readonly message?: string };
}

type Convert = (objects: readonly KubeObject[], toApiVersion: string) => Promise<KubeObject[]>;

/** Rejects with a StatusError 500 in upstream's words, which give no reason. Objects that are of the version already are not sent. */
export function createConverter(
  { spec }: CustomResourceDefinition,
  { internal }: { readonly internal: InternalApi },
): Convert {
  const webhook = spec.conversion?.webhook;
  const reviewVersion =
    webhook?.conversionReviewVersions.find((version) => version === 'v1' || version === 'v1beta1') ?? 'v1';
  return async (objects, toApiVersion) => {
    const sent = objects.filter(({ apiVersion }) => apiVersion !== toApiVersion);
    if (sent.length === 0) return [...objects];
    try {
      const uid = randomUUID();
      const apiVersion = `apiextensions.k8s.io/${reviewVersion}`;
      const body = {
        kind: 'ConversionReview',
        apiVersion,
        request: { uid, desiredAPIVersion: toApiVersion, objects: sent },
      };
      const answer = await callClientConfig(webhook?.clientConfig ?? {}, {
        internal,
        body,
        timeoutMs: TIMEOUT_MS,
      });
      const converted = readAnswer(answer, { uid, apiVersion, sent, toApiVersion }).values();
      return objects.map((object) => (object.apiVersion === toApiVersion ? object : converted.next().value!));
    } catch (error) {
      const { group, version } = parseApiVersion(sent[0]?.apiVersion ?? '');
      throw new StatusError({
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        code: 500,
        message: `conversion webhook for ${group}/${version}, Kind=${sent[0]?.kind ?? ''} failed: ${errorMessage(error)}`,
      });
    }
  };
}

interface Expected {
  readonly uid: string;
  readonly apiVersion: string;
  readonly sent: readonly KubeObject[];
  readonly toApiVersion: string;
}

function readAnswer(answer: unknown, { uid, apiVersion, sent, toApiVersion }: Expected): KubeObject[] {
  if (!isJsonObject(answer) || answer['kind'] !== 'ConversionReview')
    throw new Error(`expected webhook response of ${apiVersion}, Kind=ConversionReview`);
  if (answer['apiVersion'] !== apiVersion)
    throw new Error(
      `expected webhook response of ${apiVersion}, Kind=ConversionReview, got ${String(answer['apiVersion'])}, Kind=ConversionReview`,
    );
  const response = answer['response'] as ConversionResponse | undefined;
  if (!response) throw new Error('no response provided');
  if (apiVersion.endsWith('/v1') && response.uid !== uid)
    throw new Error(
      `expected response.uid=${JSON.stringify(uid)}, got ${JSON.stringify(response.uid ?? '')}`,
    );
  if (response.result?.status !== 'Success')
    throw new Error(
      response.result?.message ||
        `response.result.status was '${response.result?.status ?? ''}', not 'Success'`,
    );
  const objects = response.convertedObjects ?? [];
  if (objects.length !== sent.length)
    throw new Error(`returned ${objects.length} objects, expected ${sent.length}`);
  return objects.map((object, i) => checked(object, { before: sent[i]!, toApiVersion, i }));
}

/** The same object in another version: of its metadata only labels and annotations may differ. */
function checked(
  object: KubeObject,
  {
    before,
    toApiVersion,
    i,
  }: { readonly before: KubeObject; readonly toApiVersion: string; readonly i: number },
): KubeObject {
  const refuse = (why: string): never => {
    throw new Error(`returned invalid converted object at index ${i}: ${why}`);
  };
  if (object.apiVersion !== toApiVersion)
    refuse(`invalid groupVersion (expected ${toApiVersion}, received ${object.apiVersion ?? ''})`);
  if (object.kind !== before.kind)
    refuse(`invalid kind (expected ${before.kind ?? ''}, received ${object.kind ?? ''})`);
  const original = before.metadata ?? {},
    given = object.metadata;
  if (!isJsonObject(given)) refuse('missing metadata in converted object');
  const meta = given as ObjectMeta;
  for (const field of ['name', 'namespace', 'uid'] as const) {
    if ((meta[field] ?? '') !== (original[field] ?? ''))
      refuse(
        `must have the same ${field.toUpperCase() === 'UID' ? 'UID' : field}: ${original[field] ?? ''} != ${meta[field] ?? ''}`,
      );
  }
  const metadata: ObjectMeta = { ...original };
  for (const field of ['labels', 'annotations'] as const) {
    delete metadata[field];
    const values = meta[field];
    if (values === undefined || values === null) continue;
    if (!isJsonObject(values) || !Object.values(values).every((value) => typeof value === 'string'))
      refuse(`invalid metadata of type ${typeof values} in converted object`);
    metadata[field] = values;
  }
  return deepEqual(metadata, meta) ? object : { ...object, metadata };
}

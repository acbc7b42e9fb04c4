/** AdmissionReview of admission.k8s.io/v1 and v1beta1: builds the request, checks the response. After upstream's webhook/request package. */
import { randomUUID } from 'node:crypto';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { admissionRequest } from '../admission-request.ts';
import type { Match } from '../matching.ts';
import type { AdmissionAttributes } from '../plugin.ts';

interface Review {
  readonly uid: string;
  readonly apiVersion: string;
  readonly body: JsonObject;
}

export interface SeenObjects {
  readonly object: KubeObject | undefined;
  readonly oldObject: KubeObject | undefined;
}

/** The first of the webhook's versions that is known; undefined when none is. */
export function reviewVersion(versions: readonly string[] | undefined): string | undefined {
  return versions?.find((version) => version === 'v1' || version === 'v1beta1');
}

export function createReview(
  attributes: AdmissionAttributes,
  {
    version,
    seen,
    objects: { object, oldObject },
  }: { readonly version: string; readonly seen: Match; readonly objects: SeenObjects },
): Review {
  const uid = randomUUID();
  const apiVersion = `admission.k8s.io/${version}`;
  const { dryRun, options, ...request } = admissionRequest(attributes, seen);
  return {
    uid,
    apiVersion,
    body: {
      kind: 'AdmissionReview',
      apiVersion,
      request: { uid, ...request, object: object ?? null, oldObject: oldObject ?? null, dryRun, options },
    },
  };
}

// --------------------------------------------------------------------------------------------------------------- response

export interface Response {
  readonly allowed: boolean;
  /** A metav1.Status, as far as the webhook filled it in. */
  readonly result: JsonObject | undefined;
  /** JSON text of a JSON patch, undefined when there is none. */
  readonly patch: string | undefined;
  readonly patchType: string;
  readonly auditAnnotations: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
}

/** Throws an Error that describes what is invalid in the response. */
export function readResponse(
  answer: unknown,
  { review: { uid, apiVersion }, mutating }: { readonly review: Review; readonly mutating: boolean },
): Response {
  if (!isJsonObject(answer))
    throw new Error(
      `the answer is no object but ${answer === null ? 'null' : Array.isArray(answer) ? 'an array' : typeof answer}`,
    );
  const response = answer['response'];
  if (response === undefined || response === null) throw new Error('webhook response was absent');
  if (!isJsonObject(response)) throw new Error('response is no object');
  const { patch, patchType } = response;
  const isV1 = apiVersion.endsWith('/v1');
  if (isV1) checkIdentity(answer, { response, uid, apiVersion });
  if (patch !== undefined && patch !== null && typeof patch !== 'string')
    throw new Error('response.patch is no text in base64');
  if (patchType !== undefined && patchType !== null && typeof patchType !== 'string')
    throw new Error('response.patchType is no text');
  const text = patch ? decodeBase64(patch) : undefined;
  if (isV1) checkPatch({ text, patchType: patchType ?? undefined, mutating });
  return {
    allowed: booleanOf(response['allowed'], 'allowed'),
    result: objectOf(response['status'], 'status'),
    patch: mutating ? text : undefined,
    patchType: isV1 ? (patchType ?? '') : 'JSONPatch',
    auditAnnotations: textsByKey(response['auditAnnotations']),
    warnings: texts(response['warnings']),
  };
}

function checkIdentity(
  answer: JsonObject,
  {
    response,
    uid,
    apiVersion,
  }: { readonly response: JsonObject; readonly uid: string; readonly apiVersion: string },
): void {
  if (response['uid'] !== uid)
    throw new Error(
      `expected response.uid=${JSON.stringify(uid)}, got ${JSON.stringify(response['uid'] ?? '')}`,
    );
  const { apiVersion: given = '', kind = '' } = answer as { apiVersion?: string; kind?: string };
  if (given === apiVersion && kind === 'AdmissionReview') return;
  // As Go prints a kind without group.
  const shown = given === '' ? '/' : given.includes('/') ? given : `/${given}`;
  throw new Error(
    `expected webhook response of ${apiVersion}, Kind=AdmissionReview, got ${shown}, Kind=${kind}`,
  );
}

function checkPatch({
  text,
  patchType,
  mutating,
}: {
  readonly text: string | undefined;
  readonly patchType: string | undefined;
  readonly mutating: boolean;
}): void {
  if (!mutating) {
    if (text !== undefined) throw new Error('validating webhook may not return response.patch');
    if (patchType !== undefined) throw new Error('validating webhook may not return response.patchType');
    return;
  }
  if (text !== undefined && patchType === undefined)
    throw new Error('webhook returned response.patch but not response.patchType');
  if (text === undefined && patchType !== undefined)
    throw new Error('webhook returned response.patchType but not response.patch');
  if (patchType === '') throw new Error('webhook returned invalid response.patchType of ""');
}

function decodeBase64(text: string): string {
  if (
    !/^[A-Za-z0-9+/]*={0,2}$/.test(text.replaceAll(/[\r\n]/g, '')) ||
    text.replaceAll(/[\r\n]/g, '').length % 4 !== 0
  )
    throw new Error('response.patch is no base64');
  return Buffer.from(text, 'base64').toString();
}

function booleanOf(value: unknown, field: string): boolean {
  if (value === undefined || value === null) return false;
  if (typeof value !== 'boolean') throw new Error(`response.${field} is no boolean`);
  return value;
}

function objectOf(value: unknown, field: string): JsonObject | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isJsonObject(value)) throw new Error(`response.${field} is no object`);
  return value;
}

function texts(value: unknown): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || !value.every((one) => typeof one === 'string'))
    throw new Error('response.warnings is no list of texts');
  return value;
}

function textsByKey(value: unknown): Readonly<Record<string, string>> {
  const object = objectOf(value, 'auditAnnotations') ?? {};
  if (!Object.values(object).every((one) => typeof one === 'string'))
    throw new Error('response.auditAnnotations is no map of texts');
  return object as Record<string, string>;
}

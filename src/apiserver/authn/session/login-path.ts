/**
 * POST /capstan/login: swaps a password or a Kerberos ticket, shown in the Authorization header of this very request, for a session token.
 *
 *   {"apiVersion":"authentication.capstan.dev/v1","kind":"LoginRequest","spec":{"expirationSeconds":3600}}
 *     ─► 201 {"apiVersion":…,"kind":"LoginRequest","spec":…,"status":{"token":…,"expirationTimestamp":…,"userInfo":{…}}}
 *
 * The body may be left out. Every other credential is refused: a session must not renew itself, nor a certificate or a service account's token gain
 * a life beyond its own. An impersonated user gets none either.
 */
import { statusErrors, fieldErrors } from '#machinery/errors.ts';
import { isJsonObject, parseJsonBytes, type JsonObject } from '#machinery/json.ts';
import type { RequestContext } from '../../context.ts';
import type { ApiResponse } from '../../http/request.ts';
import { jsonResponse } from '../../http/response.ts';
import type { SessionTokens } from './session-tokens.ts';

export const LOGIN_PATH = '/capstan/login';
export const LOGIN_API_VERSION = 'authentication.capstan.dev/v1';
const MAX_BODY_BYTES = 4096;
const METHODS: Readonly<Record<string, string>> = { basic: 'pwd', negotiate: 'kerberos' };

export function createLoginHandler(
  sessions: SessionTokens,
): (context: RequestContext) => Promise<ApiResponse> {
  return async (context) => {
    const { request, user } = context;
    if (request.method !== 'POST')
      throw statusErrors.methodNotAllowed({ group: '', resource: '' }, request.method);
    const method = methodOf(context);
    const spec = specOf(await request.body(MAX_BODY_BYTES));
    const { token, expirationTimestamp } = await issue();
    const userInfo = { username: user.name, ...(user.uid ? { uid: user.uid } : {}), groups: user.groups };
    const body = {
      apiVersion: LOGIN_API_VERSION,
      kind: 'LoginRequest',
      spec,
      status: { token, expirationTimestamp, userInfo },
    };
    const response = jsonResponse(201, Buffer.from(JSON.stringify(body)));
    response.headers['cache-control'] = 'no-store';
    return response;

    async function issue(): ReturnType<SessionTokens['issue']> {
      try {
        return await sessions.issue(user, {
          method,
          seconds: spec.expirationSeconds,
        });
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        throw invalid('spec.expirationSeconds', spec.expirationSeconds, error.message);
      }
    }
  };
}

function methodOf({ request }: RequestContext): string {
  const { headers, clientCertificate, frontProxyCertificate } = request;
  const scheme = headers['authorization']?.trim().split(' ')[0]?.toLowerCase() ?? '';
  const method = Object.hasOwn(METHODS, scheme) ? METHODS[scheme] : undefined;
  const refuse = (why: string): Error => statusErrors.forbidden({ group: '', resource: '', name: '' }, why);
  if (method === undefined)
    throw refuse(
      'a session is given for a password (Authorization: Basic) or a Kerberos ticket (Authorization: Negotiate) only',
    );
  // It would have been the certificate that authenticated the request.
  if (clientCertificate || frontProxyCertificate || request.user)
    throw refuse('a session is not given to holders of a client certificate');
  if (headers['impersonate-user'] !== undefined) throw refuse('a session is not given to impersonated users');
  return method;
}

interface LoginSpec {
  readonly expirationSeconds?: number;
}

function specOf(bytes: Buffer): LoginSpec {
  if (bytes.length === 0) return {};
  const body = parseJsonBytes(bytes);
  if (!isJsonObject(body)) throw statusErrors.badRequest('the body should be a LoginRequest');
  if (body['apiVersion'] !== LOGIN_API_VERSION || body['kind'] !== 'LoginRequest')
    throw statusErrors.badRequest(`the body should be of apiVersion ${LOGIN_API_VERSION}, kind LoginRequest`);
  const spec: JsonObject =
    body['spec'] === undefined
      ? {}
      : isJsonObject(body['spec'])
        ? body['spec']
        : fail('spec', body['spec'], 'must be an object');
  const unknown = [
    ...Object.keys(body).filter((key) => !['apiVersion', 'kind', 'spec'].includes(key)),
    ...Object.keys(spec)
      .filter((key) => key !== 'expirationSeconds')
      .map((key) => `spec.${key}`),
  ];
  if (unknown.length > 0)
    throw statusErrors.badRequest(
      `strict decoding error: unknown field ${unknown.map((field) => `"${field}"`).join(', ')}`,
    );
  const seconds = spec['expirationSeconds'];
  if (seconds === undefined) return {};
  return typeof seconds === 'number' && Number.isInteger(seconds)
    ? { expirationSeconds: seconds }
    : fail('spec.expirationSeconds', seconds, 'must be a whole number');
}

function fail(field: string, value: unknown, detail: string): never {
  throw invalid(field, value, detail);
}

function invalid(field: string, value: unknown, detail: string): Error {
  return statusErrors.invalid({ group: 'authentication.capstan.dev', kind: 'LoginRequest', name: '' }, [
    fieldErrors.invalid(field, value, detail),
  ]);
}

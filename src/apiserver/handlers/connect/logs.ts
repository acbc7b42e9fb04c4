/** pods/log: a GET to the kubelet whose response is streamed. Options, checks and errors are upstream's. */
import { fieldErrors, StatusError, statusErrors } from '#machinery/errors.ts';
import type { FieldError } from '#machinery/errors.ts';
import { parseTime, TimeError } from '#machinery/time.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import type { ApiResponse } from '../../http/request.ts';
import type { ConnectCall } from './connect.ts';
import { isTrue } from '../../http/request-info.ts';
import { requestBackend } from './backend.ts';
import type { BackendAgents, BackendAnswer } from './backend.ts';
import { describe, plainError } from './errors.ts';
import { streamBody } from './http-proxy.ts';
import { chooseContainer, kubeletEndpoint } from './locations.ts';
import type { PodObject } from './locations.ts';

/** Of an error's text, as upstream reads it. */
const MAX_ERROR_BYTES = 2048;
const FLAGS = ['follow', 'previous', 'timestamps'] as const;
const NUMBERS = ['sinceSeconds', 'tailLines', 'limitBytes'] as const;
/** How upstream writes a path of no name. */
const NOWHERE = '[]';

export async function streamLogs(call: ConnectCall, agents: BackendAgents): Promise<ApiResponse> {
  const { info, internal } = call;
  const pod = call.object as PodObject | undefined;
  if (!pod) throw statusErrors.notFound({ group: '', resource: 'pods', name: info.name });
  const query = kubeletLogQuery(call);
  const container = chooseContainer(pod, info.query['container'] ?? '');
  // A pod without a node has no logs yet.
  if (!pod.spec?.nodeName) return { status: 204, headers: {}, body: Buffer.alloc(0) };
  const { host, port } = kubeletEndpoint(internal, pod.spec.nodeName);
  const path = ['containerLogs', info.namespace, info.name, container].map(encodeURIComponent).join('/');
  const url = new URL(`https://${formatHostPort(host, port)}/${path}${query.size === 0 ? '' : `?${query}`}`);
  const agent = agents.kubelet(isTrue(info.query['insecureSkipTLSVerifyBackend']));
  const answer = await requestBackend({ url, method: 'GET', headers: {}, agent }).catch((error: unknown) => {
    throw plainError(`Get "${url}": ${describe(error)}`, error);
  });
  call.request.onAbort(answer.abort);
  const status = answer.response.statusCode ?? 500;
  if (status < 200 || status > 206) throw await kubeletError(answer, { status, name: info.name });
  const type = answer.response.headers['content-type'] ?? 'text/plain';
  return { status: 200, headers: { 'content-type': type }, body: streamBody(answer) };
}

/** Validates PodLogOptions and returns the kubelet's query parameters. Throws Invalid and BadRequest. */
function kubeletLogQuery({ info }: Pick<ConnectCall, 'info'>): URLSearchParams {
  const { query } = info;
  const result = new URLSearchParams();
  for (const name of FLAGS) if (query[name] !== undefined && isTrue(query[name])) result.set(name, 'true');
  const numbers = Object.fromEntries(NUMBERS.map((name) => [name, parseNumber(name, query[name])])) as Record<
    (typeof NUMBERS)[number],
    number | undefined
  >;
  const { sinceTime, stream } = query;
  if (sinceTime) requireTime(sinceTime);
  const errors: FieldError[] = [];
  if (numbers.tailLines !== undefined && numbers.tailLines < 0)
    errors.push(fieldErrors.invalid('tailLines', numbers.tailLines, 'must be greater than or equal to 0'));
  if (numbers.limitBytes !== undefined && numbers.limitBytes < 1)
    errors.push(fieldErrors.invalid('limitBytes', numbers.limitBytes, 'must be greater than 0'));
  if (numbers.sinceSeconds !== undefined && sinceTime)
    errors.push(
      fieldErrors.forbidden(NOWHERE, 'at most one of `sinceTime` or `sinceSeconds` may be specified'),
    );
  else if (numbers.sinceSeconds !== undefined && numbers.sinceSeconds < 1)
    errors.push(fieldErrors.invalid('sinceSeconds', numbers.sinceSeconds, 'must be greater than 0'));
  // Behind the feature PodLogsQuerySplitStreams, which is off.
  if (stream !== undefined) errors.push(fieldErrors.forbidden('stream', 'may not be specified'));
  if (errors.length > 0)
    throw statusErrors.invalid({ group: '', kind: 'PodLogOptions', name: info.name }, errors);
  for (const name of NUMBERS) if (numbers[name] !== undefined) result.set(name, String(numbers[name]));
  if (sinceTime) result.set('sinceTime', sinceTime);
  return result;
}

function requireTime(text: string): void {
  try {
    parseTime(text);
  } catch (error) {
    throw error instanceof TimeError ? statusErrors.badRequest(error.message) : error;
  }
}

function parseNumber(name: string, text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  if (!/^[+-]?\d+$/.test(text))
    throw statusErrors.badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  const value = Number(text);
  if (!Number.isSafeInteger(value))
    throw statusErrors.badRequest(`the value ${text} of ${name} is out of range`);
  return value;
}

async function kubeletError(
  answer: BackendAnswer,
  { status, name }: { readonly status: number; readonly name: string },
): Promise<StatusError> {
  const parts: Buffer[] = [];
  for await (const part of answer.response as AsyncIterable<Buffer>) parts.push(part);
  const text = Buffer.concat(parts).subarray(0, MAX_ERROR_BYTES).toString();
  if (status === 500) return statusErrors.internal(text);
  if (status === 400) return statusErrors.badRequest(text);
  const details = { name, kind: 'pods/log', causes: [{ reason: 'UnexpectedServerResponse', message: text }] };
  const known: Readonly<Record<number, readonly [reason: string, message: string]>> = {
    401: ['Unauthorized', 'the server has asked for the client to provide credentials'],
    403: ['Forbidden', 'the server was unable to complete the request because access was denied'],
    404: ['NotFound', 'the server could not find the requested resource'],
    503: ['ServiceUnavailable', 'the server is currently unable to handle the request'],
  };
  const [reason, message] = known[status] ?? [
    status >= 500 ? 'InternalError' : '',
    `the server responded with the status code ${status} but did not return more information`,
  ];
  return new StatusError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: `${message} ( pods/log ${name})`,
    ...(reason ? { reason } : {}),
    details,
    code: status,
  });
}

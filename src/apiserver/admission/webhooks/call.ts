/** One call of one webhook for one request, and its outcome: rejected, failed or admitted. After upstream's webhook dispatchers. */
import { errorMessage } from '#stdx/log.ts';
import {
  isStatusError,
  statusErrors,
  StatusError,
  type Status,
  type StatusDetails,
} from '#machinery/errors.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { callClientConfig, ClientConfigError } from '../../webhooks/client-config.ts';
import type { Match } from '../matching.ts';
import type { AdmissionAttributes, AdmissionStart } from '../plugin.ts';
import type { Hook } from './configurations.ts';
import type { WebhookCallLabels, WebhookMetrics, WebhookType } from './metrics.ts';
import { createReview, readResponse, reviewVersion, type Response, type SeenObjects } from './review.ts';

/** The call failed, or the response is invalid: the failurePolicy decides. */
export class CallingWebhookError extends Error {
  override readonly name = 'CallingWebhookError';
  /** Of the outcome, for metrics. */
  readonly code: number;

  constructor(
    hook: string,
    why: string,
    { code, cause }: { readonly code: number; readonly cause?: unknown },
  ) {
    super(`failed calling webhook ${JSON.stringify(hook)}: ${why}`, { cause });
    this.code = code;
  }
}

/** The webhook rejected the request. */
class WebhookRejection extends Error {
  override readonly name = 'WebhookRejection';
  readonly refusal: StatusError;

  constructor(refusal: StatusError) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/** Upstream's bound on requests that are not watches. */
const REQUEST_TIMEOUT_MS = 34_000;
const DEFAULT_TIMEOUT_SECONDS = 10;

/** Remaining time of each request; counted from its first webhook. */
const deadlines = new WeakMap<AdmissionAttributes, number>();

function remainingMs(attributes: AdmissionAttributes, { clock }: Pick<AdmissionStart, 'clock'>): number {
  let deadline = deadlines.get(attributes);
  if (deadline === undefined)
    deadlines.set(
      attributes,
      (deadline =
        clock.monotonic() + Math.min(REQUEST_TIMEOUT_MS, attributes.timeoutMs ?? REQUEST_TIMEOUT_MS)),
    );
  return deadline - clock.monotonic();
}

/** A timer may fire a fraction of a millisecond early: a call that was bounded by the end of the request fails just before it. */
const EARLY_TIMER_MS = 1;

export function isRequestOver(
  attributes: AdmissionAttributes,
  context: Pick<AdmissionStart, 'clock'>,
): boolean {
  return remainingMs(attributes, context) <= EARLY_TIMER_MS;
}

/** Of the client, by request. */
const signals = new WeakMap<AdmissionAttributes, AbortSignal>();

function signalOf(attributes: AdmissionAttributes): AbortSignal | undefined {
  let signal = signals.get(attributes);
  if (!signal && attributes.onAbort) {
    const controller = new AbortController();
    attributes.onAbort(() => controller.abort());
    signals.set(attributes, (signal = controller.signal));
  }
  return signal;
}

export function requestTimedOut(): StatusError {
  return statusErrors.timeout(
    'request did not complete within requested timeout - context deadline exceeded',
  );
}

export interface Invocation {
  readonly hook: Hook;
  readonly seen: Match;
  readonly objects: SeenObjects;
}

/** Resolves with the response of an allowing webhook. Rejects with CallingWebhookError, WebhookRejection or StatusError. */
export async function callHook(
  attributes: AdmissionAttributes,
  { hook: { spec }, seen, objects }: Invocation,
  { context, type }: { readonly context: AdmissionStart; readonly type: WebhookType },
): Promise<Response> {
  const fail = (why: string, code: number, cause?: unknown): CallingWebhookError =>
    new CallingWebhookError(spec.name, why, { code, cause });
  if (attributes.dryRun && spec.sideEffects !== 'None' && spec.sideEffects !== 'NoneOnDryRun')
    throw statusErrors.badRequest(`admission webhook ${JSON.stringify(spec.name)} does not support dry run`);
  const version = reviewVersion(spec.admissionReviewVersions);
  if (version === undefined)
    throw fail(
      'could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)',
      400,
    );
  const review = createReview(attributes, { version, seen, objects });
  const timeoutMs = Math.min(
    (spec.timeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS) * 1000,
    remainingMs(attributes, context),
  );
  let answer: unknown;
  try {
    answer = await callClientConfig(spec.clientConfig, {
      internal: context.internal,
      body: review.body,
      timeoutMs,
      signal: signalOf(attributes),
    });
  } catch (error) {
    // The client is gone, and nothing must be written.
    if (error instanceof ClientConfigError && error.isCanceled) throw requestTimedOut();
    throw fail(
      `failed to call webhook: ${errorMessage(error)}`,
      error instanceof ClientConfigError && error.status > 0 ? error.status : 503,
      error,
    );
  }
  let response: Response;
  try {
    response = readResponse(answer, { review, mutating: type === 'admit' });
  } catch (error) {
    throw fail(`received invalid webhook response: ${errorMessage(error)}`, 503, error);
  }
  for (const [key, value] of Object.entries(response.auditAnnotations))
    attributes.annotate?.(`${spec.name}/${key}`, value);
  for (const warning of response.warnings) attributes.warn(warning);
  if (!response.allowed) throw new WebhookRejection(refusalOf(spec.name, response.result));
  return response;
}

/** The status of a rejecting webhook, changed to a failure whatever it contains. */
function refusalOf(name: string, result: JsonObject = {}): StatusError {
  const { code, reason, message, details } = result;
  const deniedBy = `admission webhook ${JSON.stringify(name)} denied the request`;
  const said =
    typeof message === 'string' && message !== ''
      ? message
      : typeof reason === 'string' && reason !== ''
        ? reason
        : undefined;
  const status: Status = {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: said === undefined ? `${deniedBy} without explanation` : `${deniedBy}: ${said}`,
    ...(typeof reason === 'string' && reason !== '' ? { reason } : {}),
    ...(isJsonObject(details) ? { details: details as StatusDetails } : {}),
    code: refusalCode(code),
  };
  return new StatusError(status);
}

function refusalCode(code: unknown): number {
  if (typeof code !== 'number' || !Number.isInteger(code) || code < 400) return 400;
  return code > 599 ? 500 : code;
}

/** The result of a counted call: the error to throw, or undefined when the request continues. */
export function settle(
  error: unknown,
  {
    invocation: { hook },
    labels,
    metrics,
    context,
    startedMs,
  }: {
    readonly invocation: Invocation;
    readonly labels: WebhookCallLabels;
    readonly metrics: WebhookMetrics;
    readonly context: AdmissionStart;
    readonly startedMs: number;
  },
): { readonly thrown?: StatusError; readonly failedOpen?: boolean } {
  const seconds = (context.clock.monotonic() - startedMs) / 1000;
  if (error === undefined) {
    metrics.called(labels, { seconds, rejected: false, code: 200 });
    return {};
  }
  if (error instanceof CallingWebhookError) {
    metrics.called(labels, { seconds, rejected: !hook.failsOpen, code: error.code });
    context.log.warn(`calling a webhook failed: the request ${hook.failsOpen ? 'goes on' : 'is refused'}`, {
      webhook: labels.name,
      error: error.message,
    });
    if (hook.failsOpen) {
      metrics.failedOpen(labels);
      return { failedOpen: true };
    }
    metrics.rejected(labels, { error: 'calling_webhook_error', code: error.code });
    return { thrown: statusErrors.internal(error.message) };
  }
  const isRejection = error instanceof WebhookRejection;
  const code = isRejection ? error.refusal.code : 0;
  metrics.called(labels, { seconds, rejected: true, code });
  // Of a request that is over it is no webhook's doing.
  if (!isStatusError(error, 'Timeout'))
    metrics.rejected(labels, { error: isRejection ? 'no_error' : 'apiserver_internal_error', code });
  return {
    thrown: isRejection
      ? error.refusal
      : isStatusError(error)
        ? error
        : statusErrors.internal(errorMessage(error)),
  };
}

/**
 * The webhook authorizer: calls a server with a SubjectAccessReview and caches its responses. After upstream's plugin/pkg/authorizer/webhook.
 *
 *   request ─► match conditions ─► cached response ─► POST, retried up to 5 times ─► allow | deny | no opinion
 *                 └ one is false: no opinion             └ failed: failurePolicy decides, with the error
 *
 * The cache is bounded; identical concurrent requests share one call. An unavailable webhook delays only the requests that need it.
 */
import type { UserInfo } from '#machinery/object.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Lru } from '#stdx/lru.ts';
import { WebhookCallError, withRetries, type KubeconfigClient } from '../webhooks/kubeconfig-client.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '#machinery/authorization.ts';
import type { Authorizer, UserRules } from './authorizer.ts';
import type { MatchConditions } from './match-conditions.ts';
import { label } from '#stdx/instruments.ts';
import type { AuthorizationMetrics, EvaluationResult } from './metrics.ts';
import { createReviewSpec, type AccessReviewSpec } from './review-spec.ts';

const CACHE_ENTRIES = 8192;
/** Requests whose own words are longer are not remembered: they may be meant to fill the cache. */
const MAX_CACHED_BYTES = 10_000;

export interface WebhookOptions {
  readonly name: string;
  readonly client: Pick<KubeconfigClient, 'post' | 'close'>;
  readonly version: 'v1' | 'v1beta1';
  /** 0 = not remembered. */
  readonly authorizedTtlMs: number;
  readonly unauthorizedTtlMs: number;
  readonly timeoutMs: number;
  readonly failurePolicy: 'NoOpinion' | 'Deny';
  readonly matchConditions?: MatchConditions | undefined;
  readonly metrics: AuthorizationMetrics;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Default 500 ms. */
  readonly retryMs?: number;
}

interface ReviewStatus {
  readonly allowed?: boolean;
  readonly denied?: boolean;
  readonly reason?: string;
}

export class WebhookAuthorizer implements Authorizer {
  readonly #options: WebhookOptions;
  readonly #clock: Clock;
  readonly #answers: Lru<string, AuthorizationDecision>;
  readonly #asking = new Map<string, Promise<AuthorizationDecision>>();

  constructor(options: WebhookOptions) {
    this.#options = options;
    this.#clock = options.clock ?? realClock;
    this.#answers = new Lru({ maximum: CACHE_ENTRIES, clock: this.#clock });
  }

  authorize(request: AuthorizationAttributes): AuthorizationDecision | Promise<AuthorizationDecision> {
    const spec = createReviewSpec(request);
    const skipped = this.#skipped(spec);
    if (skipped) return skipped;
    const key = JSON.stringify(spec);
    const known = this.#answers.get(key);
    if (known) return known;
    const asking = this.#asking.get(key);
    if (asking) return asking;
    const asked = this.#ask(spec, { key, mayCache: controlledBytes(request) < MAX_CACHED_BYTES }).finally(
      () => this.#asking.delete(key),
    );
    this.#asking.set(key, asked);
    return asked;
  }

  rulesFor(_user: UserInfo, _namespace: string): UserRules {
    return {
      resourceRules: [],
      nonResourceRules: [],
      incomplete: true,
      evaluationError: 'webhook authorizer does not support user rule resolution',
    };
  }

  close(): void {
    this.#options.client.close();
  }

  /** undefined = call the webhook. */
  #skipped(spec: AccessReviewSpec): AuthorizationDecision | undefined {
    const { matchConditions, name, metrics } = this.#options;
    if (!matchConditions) return undefined;
    const labels = `${label('name', name)},type="Webhook"`;
    const startedMs = this.#clock.monotonic();
    const { outcome, error } = matchConditions.evaluate(spec);
    metrics.matchSeconds.observe(labels, (this.#clock.monotonic() - startedMs) / 1000);
    if (outcome === 'match') return undefined;
    if (outcome === 'error') {
      metrics.matchErrors.add(labels);
      return this.#failed(error ?? '');
    }
    metrics.matchExclusions.add(labels);
    return { decision: 'no-opinion', reason: '' };
  }

  #failed(error: string): AuthorizationDecision {
    return { decision: this.#options.failurePolicy === 'Deny' ? 'deny' : 'no-opinion', reason: '', error };
  }

  async #ask(
    spec: AccessReviewSpec,
    { key, mayCache }: { readonly key: string; readonly mayCache: boolean },
  ): Promise<AuthorizationDecision> {
    const { name, metrics, log, retryMs, authorizedTtlMs, unauthorizedTtlMs, failurePolicy } = this.#options;
    let result: EvaluationResult = 'error';
    try {
      const status = await withRetries(
        async () => {
          const startedMs = this.#clock.monotonic();
          try {
            const answer = await this.#post(spec);
            result = 'success';
            return answer;
          } catch (error) {
            result = resultOf(error);
            throw error;
          } finally {
            const labels = `${label('name', name)},${label('result', result)}`;
            metrics.webhookEvaluations.add(labels);
            metrics.webhookSeconds.observe(labels, (this.#clock.monotonic() - startedMs) / 1000);
          }
        },
        { clock: this.#clock, initialMs: retryMs },
      );
      const decision = decisionOf(status);
      const ttlMs = status.allowed === true ? authorizedTtlMs : unauthorizedTtlMs;
      if (mayCache && ttlMs > 0) this.#answers.set(key, decision, ttlMs);
      return decision;
    } catch (error) {
      log.warn('an authorization webhook failed', { name, error: errorMessage(error) });
      if (failurePolicy === 'NoOpinion')
        metrics.webhookFailOpen.add(`${label('name', name)},${label('result', result)}`);
      return this.#failed(errorMessage(error));
    }
  }

  async #post(spec: AccessReviewSpec): Promise<ReviewStatus> {
    const { client, version, timeoutMs } = this.#options;
    const body = {
      kind: 'SubjectAccessReview',
      apiVersion: `authorization.k8s.io/${version}`,
      metadata: {},
      spec: version === 'v1' ? spec : olderSpec(spec),
      status: { allowed: false },
    };
    return statusOf(await client.post(body, { timeoutMs }), version);
  }
}

/** v1beta1 has group where v1 has groups, and no selectors. */
function olderSpec({ groups, resourceAttributes, ...rest }: AccessReviewSpec): Record<string, unknown> {
  const { fieldSelector: _field, labelSelector: _label, ...attributes } = resourceAttributes ?? {};
  return {
    ...(resourceAttributes ? { resourceAttributes: attributes } : {}),
    ...rest,
    ...(groups ? { group: groups } : {}),
  };
}

/** Throws a WebhookCallError for an invalid review. */
function statusOf(answer: unknown, version: string): ReviewStatus {
  const malformed = (why: string): Error =>
    new WebhookCallError(`the webhook's answer is not a SubjectAccessReview: ${why}`, {
      failure: 'malformed',
    });
  if (typeof answer !== 'object' || answer === null || Array.isArray(answer))
    throw malformed('it is not an object');
  const { apiVersion, kind, status } = answer as {
    readonly apiVersion?: unknown;
    readonly kind?: unknown;
    readonly status?: unknown;
  };
  if (kind !== 'SubjectAccessReview' || apiVersion !== `authorization.k8s.io/${version}`)
    throw malformed(
      `it is ${JSON.stringify(kind ?? '')} of ${JSON.stringify(apiVersion ?? '')}, not of "authorization.k8s.io/${version}"`,
    );
  const fields = (typeof status === 'object' && status !== null ? status : {}) as Record<string, unknown>;
  for (const name of ['allowed', 'denied'])
    if (fields[name] !== undefined && typeof fields[name] !== 'boolean')
      throw malformed(`status.${name} is ${JSON.stringify(fields[name])}`);
  if (fields['reason'] !== undefined && typeof fields['reason'] !== 'string')
    throw malformed('status.reason is no text');
  return fields as ReviewStatus;
}

function decisionOf({ allowed = false, denied = false, reason = '' }: ReviewStatus): AuthorizationDecision {
  if (allowed && denied)
    return {
      decision: 'deny',
      reason,
      error: 'webhook subject access review returned both allow and deny response',
    };
  return { decision: denied ? 'deny' : allowed ? 'allow' : 'no-opinion', reason };
}

function resultOf(error: unknown): EvaluationResult {
  if (!(error instanceof WebhookCallError)) return 'error';
  if (error.failure === 'canceled') return 'canceled';
  return error.failure === 'timeout' || error.status === 504 ? 'timeout' : 'error';
}

function controlledBytes({
  namespace,
  verb,
  group,
  version,
  resource,
  subresource,
  name,
  path,
  fieldSelector = [],
  labelSelector = [],
}: AuthorizationAttributes): number {
  let bytes =
    namespace.length +
    verb.length +
    group.length +
    version.length +
    resource.length +
    subresource.length +
    name.length +
    path.length;
  for (const { key, operator, values } of [...fieldSelector, ...labelSelector])
    bytes += key.length + operator.length + values.reduce((sum, value) => sum + value.length, 0);
  return bytes;
}

/**
 * ImagePolicyWebhook: sends a pod's images to a server for approval, as ImageReview (imagepolicy.k8s.io/v1alpha1). A kubeconfig file names the server.
 * Responses are cached; without one, defaultAllow decides.
 */
import { createRequire } from 'node:module';
import { assert } from '#stdx/assert.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import type { Pod } from '#api/types.ts';
import type { KubeconfigClient } from '../../webhooks/kubeconfig-client.ts';
import { forbid } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

const require = createRequire(import.meta.url);

export interface ImagePolicyOptions {
  readonly kubeConfigFile: string;
  /** Cache TTL of responses. Default 5 minutes. */
  readonly allowTtlMs?: number | undefined;
  /** Default 30 seconds. */
  readonly denyTtlMs?: number | undefined;
  /** Before the first further try; default half a second. */
  readonly retryBackoffMs?: number | undefined;
  /** Whether pods are admitted when the server does not respond. */
  readonly defaultAllow: boolean;
}

interface Verdict {
  readonly allowed: boolean;
  readonly reason: string;
  readonly auditAnnotations: Readonly<Record<string, string>>;
}
interface Remembered {
  readonly verdict: Verdict;
  readonly untilMs: number;
}

const CACHE_SIZE = 1024;
const TIMEOUT_MS = 10_000;
const ANNOTATION = /^[^/]*\.image-policy\.k8s\.io\//;
const AUDIT_PREFIX = 'imagepolicywebhook.image-policy.k8s.io/';

export function imagePolicyWebhook(options: ImagePolicyOptions): AdmissionPlugin {
  const { createKubeconfigClient, withRetries } =
    require('../../webhooks/kubeconfig-client.ts') as typeof import('../../webhooks/kubeconfig-client.ts');
  const client: KubeconfigClient = createKubeconfigClient({ file: options.kubeConfigFile });
  const remembered = new Map<string, Remembered>();
  let clock: Clock = realClock;

  const ask = async (spec: JsonObject): Promise<Verdict> => {
    const key = JSON.stringify(spec);
    const known = remembered.get(key);
    if (known && known.untilMs > clock.monotonic()) return known.verdict;
    const review = {
      apiVersion: 'imagepolicy.k8s.io/v1alpha1',
      kind: 'ImageReview',
      metadata: {},
      spec,
      status: { allowed: false },
    };
    const answer = await withRetries(() => client.post(review, { timeoutMs: TIMEOUT_MS }), {
      clock,
      initialMs: options.retryBackoffMs,
    });
    const verdict = verdictOf(answer);
    remembered.delete(key);
    remembered.set(key, {
      verdict,
      untilMs:
        clock.monotonic() +
        (verdict.allowed ? (options.allowTtlMs ?? 300_000) : (options.denyTtlMs ?? 30_000)),
    });
    if (remembered.size > CACHE_SIZE) remembered.delete(remembered.keys().next().value!);
    return verdict;
  };

  return {
    name: 'ImagePolicyWebhook',
    start(context) {
      clock = context.clock;
      return () => client.close();
    },
    handles: (operation, { group, resource, subresource }) =>
      (operation === 'CREATE' || operation === 'UPDATE') &&
      group === '' &&
      resource === 'pods' &&
      (subresource === '' || subresource === 'ephemeralcontainers'),
    async validate(attributes) {
      let verdict: Verdict;
      try {
        verdict = await ask(specOf(attributes));
      } catch (error) {
        if (!options.defaultAllow) throw forbid(attributes, errorMessage(error));
        attributes.annotate?.(`${AUDIT_PREFIX}failed-open`, 'true');
        return;
      }
      for (const [key, value] of Object.entries(verdict.auditAnnotations))
        attributes.annotate?.(`${AUDIT_PREFIX}${key}`, value);
      if (!verdict.allowed)
        throw forbid(
          attributes,
          verdict.reason === ''
            ? 'one or more images rejected by webhook backend'
            : `image policy webhook backend denied one or more images: ${verdict.reason}`,
        );
    },
  };
}

function specOf({ object, namespace, subresource }: AdmissionAttributes): JsonObject {
  const { metadata, spec } = object as Pod;
  assert(spec, 'pods have a spec');
  const lists =
    subresource === 'ephemeralcontainers'
      ? [spec.ephemeralContainers]
      : [spec.containers, spec.initContainers, spec.ephemeralContainers];
  const annotations = Object.fromEntries(
    Object.entries(metadata?.annotations ?? {}).filter(([name]) => ANNOTATION.test(name)),
  );
  return {
    containers: lists.flatMap((list) => (list ?? []).map(({ image = '' }) => ({ image }))),
    ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
    namespace,
  };
}

function verdictOf(answer: unknown): Verdict {
  const status = isJsonObject(answer) ? answer['status'] : undefined;
  if (!isJsonObject(status) || typeof status['allowed'] !== 'boolean')
    throw new Error('the image policy webhook answered no ImageReview with a status');
  const { allowed, reason, auditAnnotations } = status;
  const texts = isJsonObject(auditAnnotations)
    ? Object.entries(auditAnnotations).filter(
        (entry): entry is [string, string] => typeof entry[1] === 'string',
      )
    : [];
  return {
    allowed,
    reason: typeof reason === 'string' ? reason : '',
    auditAnnotations: Object.fromEntries(texts),
  };
}

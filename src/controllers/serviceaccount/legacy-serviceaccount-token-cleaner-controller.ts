/**
 * Cleans up unused auto-generated token secrets: they are first marked as invalid, and deleted after another period
 * without use. Secrets created manually, or mounted by a pod, are ignored. After upstream's legacy service account token cleaner.
 *
 *   created and unused for a period ─► marked invalid (rejected from now on) ─► unused, mark still set after a period ─► deleted
 */
import { isoDay } from '#stdx/dates.ts';
import type { Pod, Secret } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { configMaps, pods, secrets, serviceAccounts } from '#client/refs.ts';
import {
  defineController,
  watch,
  type ControllerDefinition,
  type ReconcileContext,
} from '#runtime/controller.ts';
import { ACCOUNT_NAME, INVALID_SINCE, LAST_USED, watchTokenSecrets } from './token-secrets.ts';

const DAY_MS = 86_400_000;
const TRACKING = { namespace: 'kube-system', name: 'kube-apiserver-legacy-service-account-token-tracking' };

export interface LegacyTokenCleanerOptions {
  /** Default a year: upstream's --legacy-service-account-token-clean-up-period. */
  readonly legacyTokenCleanUpMs?: number | undefined;
}

export function legacyServiceAccountTokenCleanerController({
  legacyTokenCleanUpMs = 365 * DAY_MS,
}: LegacyTokenCleanerOptions): ControllerDefinition {
  return defineController({
    name: 'legacy-serviceaccount-token-cleaner-controller',
    serviceAccount: 'legacy-service-account-token-cleaner',
    watches: [
      watchTokenSecrets(() => []),
      watch(serviceAccounts, { keys: () => [] }),
      watch(pods, { keys: () => [] }),
    ],
    resyncEveryMs: DAY_MS,
    async reconcile(context) {
      const trackedMs = await trackedSince(context);
      if (trackedMs === undefined) return;
      const preserveMs = context.clock.now() - legacyTokenCleanUpMs;
      const mounted = mountedSecrets(context.informer(pods).list());
      const outcomes = await Promise.allSettled(
        context
          .informer(secrets)
          .list()
          .filter((secret) => mayGo(secret, context, { preserveMs, mounted }))
          .map((secret) => putAway(secret, context, { preserveMs, trackedMs })),
      );
      const failed = outcomes.find((outcome) => outcome.status === 'rejected');
      if (failed) throw failed.reason;
    },
  });
}

/** The day after usage tracking started; undefined while it has not. */
async function trackedSince({ api }: ReconcileContext): Promise<number | undefined> {
  try {
    const dayMs = dateMs((await api.get(configMaps, TRACKING)).data?.['since']);
    return dayMs === undefined ? undefined : dayMs + DAY_MS;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}

function dateMs(text: string | undefined): number | undefined {
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(text ?? '') ? Date.parse(text!) : NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

function mountedSecrets(all: readonly Pod[]): ReadonlySet<string> {
  return new Set(
    all.flatMap(({ metadata, spec }) =>
      (spec?.volumes ?? []).flatMap(({ secret }) =>
        secret?.secretName ? [`${metadata?.namespace}/${secret.secretName}`] : [],
      ),
    ),
  );
}

function mayGo(
  { metadata = {} }: Secret,
  { informer }: ReconcileContext,
  { preserveMs, mounted }: { readonly preserveMs: number; readonly mounted: ReadonlySet<string> },
): boolean {
  const { name, namespace, creationTimestamp, deletionTimestamp, annotations } = metadata;
  if (
    deletionTimestamp ||
    Date.parse(creationTimestamp ?? '') >= preserveMs ||
    mounted.has(`${namespace}/${name}`)
  )
    return false;
  const account = informer(serviceAccounts).get(`${namespace}/${annotations?.[ACCOUNT_NAME] ?? ''}`);
  // Only auto-generated secrets are listed by their account.
  return account?.secrets?.some((one) => one.name === name) ?? false;
}

async function putAway(
  { metadata = {} }: Secret,
  { api, clock, log }: ReconcileContext,
  { preserveMs, trackedMs }: { readonly preserveMs: number; readonly trackedMs: number },
): Promise<void> {
  const { name = '', namespace, labels = {}, uid = '', resourceVersion = '' } = metadata;
  const invalidMs = dateMs(labels[INVALID_SINCE]),
    usedMs = dateMs(labels[LAST_USED]);
  const preserveDayMs = dateMs(isoDay(preserveMs))!;
  const patch = (since: string | null): Promise<unknown> =>
    api.patch(
      secrets,
      { name, namespace },
      { type: 'merge', patch: { metadata: { uid, resourceVersion, labels: { [INVALID_SINCE]: since } } } },
    );
  if (invalidMs === undefined || invalidMs > clock.now()) {
    // Without a recorded use: usage is only known since tracking started.
    if ((usedMs ?? trackedMs) >= preserveDayMs) return;
    log.info('marking an unused legacy token as invalid', { secret: `${namespace ?? ''}/${name}` });
    await quietly(patch(isoDay(clock.now())));
  } else if (usedMs !== undefined && usedMs > invalidMs) {
    // The mark was removed and set again: the period restarts.
    await quietly(patch(null));
  } else if (invalidMs < preserveDayMs) {
    log.info('deleting an unused legacy token', { secret: `${namespace ?? ''}/${name}` });
    await quietly(api.delete(secrets, { name, namespace }, { preconditions: { uid, resourceVersion } }));
  }
}

/** It changed meanwhile: the next sweep handles it. */
async function quietly(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
  }
}

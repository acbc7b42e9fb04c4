/**
 * Signs the kubeconfig in the ConfigMap kube-public/cluster-info with each signing bootstrap token, so that a joining machine that has one of them can
 * verify the cluster's CA. Does nothing without that ConfigMap; kubeadm creates it. After upstream's
 * pkg/controller/bootstrap/bootstrapsigner.
 */
import { createHmac } from 'node:crypto';
import { configMaps, secrets } from '#client/refs.ts';
import { defineController, watch, type ReconcileResult } from '#runtime/controller.ts';
import { expirationMs, signingToken, watchTokens, type BootstrapToken } from './tokens.ts';

const AT = { name: 'cluster-info', namespace: 'kube-public' };
const KEY = `${AT.namespace}/${AT.name}`;
const SIGNED = 'kubeconfig';
const SIGNATURE_PREFIX = 'jws-kubeconfig-';
const LONGEST_WAIT_MS = 24 * 3_600_000;

export const bootstrapSignerController = defineController({
  name: 'bootstrap-signer-controller',
  serviceAccount: 'bootstrap-signer',
  watches: [
    watch(configMaps, { select: { namespace: AT.namespace, fieldSelector: `metadata.name=${AT.name}` } }),
    watchTokens({ keys: () => [KEY] }),
  ],
  async reconcile({ key, api, clock, informer }): Promise<ReconcileResult> {
    const info = key === KEY ? informer(configMaps).get(KEY) : undefined;
    if (!info || info.metadata?.deletionTimestamp) return;
    const content = info.data?.[SIGNED];
    if (content === undefined) return;
    const all = informer(secrets).list();
    const tokens = all.flatMap((secret) => signingToken(secret, clock.now()) ?? []);
    const data = { ...unsigned(info.data ?? {}), ...signatures(content, tokens) };
    if (!isEqual(data, info.data ?? {})) await api.update(configMaps, { ...info, data });
    const ends = all.flatMap((secret) => expirationMs(secret) ?? []).filter((endMs) => endMs > clock.now());
    if (ends.length > 0)
      return { requeueAfterMs: Math.min(...ends.map((endMs) => endMs - clock.now()), LONGEST_WAIT_MS) };
  },
});

function unsigned(data: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(data).filter(([name]) => !name.startsWith(SIGNATURE_PREFIX)));
}

function signatures(content: string, tokens: readonly BootstrapToken[]): Record<string, string> {
  return Object.fromEntries(
    tokens.map((token) => [`${SIGNATURE_PREFIX}${token.id}`, detachedSignature(content, token)]),
  );
}

/** JSON Web Signature (RFC 7515) by HMAC-SHA256, in its compact form without the content (appendix F). */
export function detachedSignature(content: string, { id, secret }: BootstrapToken): string {
  const header = Buffer.from(JSON.stringify({ alg: 'HS256', kid: id })).toString('base64url');
  const signed = `${header}.${Buffer.from(content).toString('base64url')}`;
  return `${header}..${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

function isEqual(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

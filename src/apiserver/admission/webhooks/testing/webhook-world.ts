/** For tests of admission webhooks: a server with only these plugins, and one real HTTPS server that plays every webhook, by path. */
import assert from 'node:assert/strict';
import { startWebhookPeer, type PeerAnswer, type PeerCall, type WebhookPeer } from '#testing/webhook-peer.ts';
import type { AuditSink } from '../../../audit/audit-sink.ts';
import { startTestServer, type TestResponse, type TestServer } from '../../../testing/server.ts';
import { mutatingAdmissionWebhook } from '../mutating.ts';
import { validatingAdmissionWebhook } from '../validating.ts';

export const ADMISSION = '/apis/admissionregistration.k8s.io/v1';
export const CONFIGMAPS = '/api/v1/namespaces/default/configmaps';
export const PODS = '/api/v1/namespaces/default/pods';
export const MERGE = { 'content-type': 'application/merge-patch+json' };
export const JSON_PATCH = { 'content-type': 'application/json-patch+json' };
export const EVERYTHING = { operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*/*'] };
export const ON_CONFIGMAPS = {
  operations: ['CREATE', 'UPDATE'],
  apiGroups: [''],
  apiVersions: ['v1'],
  resources: ['configmaps'],
};

export type ConfigurationKind = 'mutatingwebhookconfigurations' | 'validatingwebhookconfigurations';
/** The `request` of a review. */
// oxlint-disable-next-line no-explicit-any
export type ReviewRequest = Record<string, any>;
/** Returns the `response` without its uid; or { raw } for something else. */
export type Decide = (request: ReviewRequest) => Record<string, unknown> | Promise<Record<string, unknown>>;

export class WebhookBench {
  readonly peer: WebhookPeer;
  readonly server: TestServer;
  /** By the path of the webhook's URL; others allow. */
  decisions: Record<string, Decide> = {};
  requests: { readonly path: string; readonly request: ReviewRequest }[] = [];
  /** Audit annotations of all requests. */
  annotations: { readonly key: string; readonly value: string; readonly level: string }[] = [];
  readonly #made: string[] = [];

  private constructor(peer: WebhookPeer, server: TestServer) {
    this.peer = peer;
    this.server = server;
  }

  static async start(): Promise<WebhookBench> {
    let bench: WebhookBench | undefined;
    const peer = await startWebhookPeer((call) => bench!.answer(call));
    const audit: AuditSink = {
      begin: (context) =>
        void (context.annotate = (key, value, level = 'Metadata') =>
          void bench?.annotations.push({ key, value, level })),
      unauthenticated: () => Promise.resolve(),
    };
    const server = await startTestServer({
      audit,
      admission: () => [mutatingAdmissionWebhook(), validatingAdmissionWebhook()],
    });
    bench = new WebhookBench(peer, server);
    for (const [name, labels] of [
      ['default', {}],
      ['other', { team: 'red' }],
    ] as const)
      await server.request('POST /api/v1/namespaces', { body: { metadata: { name, labels } } });
    return bench;
  }

  async stop(): Promise<void> {
    await this.server.stop();
    await this.peer.stop();
  }

  /** Deletes the test's configurations, configmaps and pods. */
  async clean(): Promise<void> {
    this.decisions = {};
    for (const path of this.#made.splice(0)) await this.server.request(`DELETE ${path}`);
    for (const path of [CONFIGMAPS, '/api/v1/namespaces/other/configmaps', PODS])
      await this.server.request(`DELETE ${path}?gracePeriodSeconds=0`);
    this.requests = [];
    this.annotations = [];
  }

  async answer(call: PeerCall): Promise<PeerAnswer> {
    const url = new URL(call.path, 'https://peer');
    const { apiVersion, request } = call.body as { apiVersion: string; request: ReviewRequest };
    this.requests.push({ path: url.pathname, request });
    const response = await (this.decisions[url.pathname] ?? (() => ({ allowed: true })))(request);
    return 'raw' in response
      ? (response['raw'] as PeerAnswer)
      : { body: { kind: 'AdmissionReview', apiVersion, response: { uid: request['uid'], ...response } } };
  }

  get paths(): string[] {
    return this.requests.map(({ path }) => path);
  }

  async configure(
    kind: ConfigurationKind,
    name: string,
    webhooks: readonly object[],
    labels: Record<string, string> = {},
  ): Promise<TestResponse> {
    const path = `${ADMISSION}/${kind}/${name}`;
    const created = await this.server.request(`POST ${ADMISSION}/${kind}`, {
      body: { metadata: { name, labels }, webhooks },
    });
    assert.equal(created.status, 201, created.text);
    this.#made.push(path);
    return created;
  }

  mutating(name: string, ...webhooks: object[]): Promise<TestResponse> {
    return this.configure('mutatingwebhookconfigurations', name, webhooks);
  }

  validating(name: string, ...webhooks: object[]): Promise<TestResponse> {
    return this.configure('validatingwebhookconfigurations', name, webhooks);
  }

  /** Matches creates and updates of ConfigMaps unless more overrides it. */
  webhook(path: string, more: object = {}): Record<string, unknown> {
    return {
      name: `${path}.example.com`,
      clientConfig: {
        url: new URL(`/${path}`, this.peer.url).href,
        caBundle: Buffer.from(this.peer.caPem).toString('base64'),
      },
      rules: [ON_CONFIGMAPS],
      sideEffects: 'None',
      admissionReviewVersions: ['v1'],
      ...more,
    };
  }

  createConfigMap(
    name: string,
    data: Record<string, string> = { a: '1' },
    query = '',
  ): Promise<TestResponse> {
    return this.server.request(`POST ${CONFIGMAPS}${query}`, { body: { metadata: { name }, data } });
  }

  createPod(name: string, image = 'i'): Promise<TestResponse> {
    return this.server.request(`POST ${PODS}`, {
      body: { metadata: { name }, spec: { containers: [{ name: 'c', image }] } },
    });
  }
}

export function patching(...operations: object[]): Record<string, unknown> {
  return {
    allowed: true,
    patchType: 'JSONPatch',
    patch: Buffer.from(JSON.stringify(operations)).toString('base64'),
  };
}

export function setData(key: string, value: string): Record<string, unknown> {
  return patching({ op: 'add', path: `/data/${key}`, value });
}

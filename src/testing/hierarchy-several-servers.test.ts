/** Two API servers on one real etcd guard the same trees: a quota of a tree never admits more than it allows, and what one has acknowledged the other heeds at once. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { HIERARCHY_DEFINITIONS } from '#addons/hierarchy/api.ts';
import { hierarchicalNamespaces } from '#apiserver/admission/plugins/hierarchy/hierarchical-namespaces.ts';
import { hierarchicalResourceQuota } from '#apiserver/admission/plugins/hierarchy/hierarchical-resource-quota.ts';
import { LiveTrees } from '#apiserver/admission/plugins/hierarchy/live-trees.ts';
import { allowAll } from '#apiserver/authz/authorizer.ts';
import type { TestResponse, TestServer } from '#apiserver/testing/server.ts';
import { someEtcd, startSharedEtcd, type SharedEtcd } from '#apiserver/testing/shared-etcd.ts';
import { realClock } from '#stdx/clock.ts';

const OPTIONS = {
  admission: () => {
    const trees = new LiveTrees();
    return [hierarchicalNamespaces(allowAll, trees), hierarchicalResourceQuota(trees)];
  },
};
const LIMIT = 20;
const HARD = { 'count/configmaps': String(LIMIT) };
const TREES = '/apis/hnc.x-k8s.io/v1alpha2/namespaces';
const MERGE = { 'content-type': 'application/merge-patch+json' };
const POLL_MS = 50;

const program = someEtcd();

describe('trees that two API servers guard', { skip: program ? false : 'no etcd here' }, () => {
  let shared: SharedEtcd;
  let one: TestServer;
  let two: TestServer;
  before(async () => {
    shared = await startSharedEtcd(program!);
    [one, two] = await Promise.all([shared.start(OPTIONS), shared.start(OPTIONS)]);
    for (const body of HIERARCHY_DEFINITIONS)
      await accepted(one.request('POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions', { body }));
    for (const server of [one, two])
      while ((await server.request(`GET ${TREES}/default/hierarchyconfigurations`)).status !== 200)
        await realClock.sleep(POLL_MS);
    for (const name of ['root', 'left', 'right'])
      await accepted(one.request('POST /api/v1/namespaces', { body: { metadata: { name } } }));
    for (const name of ['left', 'right']) await accepted(setParent(one, { name, parent: 'root' }));
    await accepted(
      two.request(`POST ${TREES}/root/hierarchicalresourcequotas`, {
        body: { ...kind('HierarchicalResourceQuota'), metadata: { name: 'few' }, spec: { hard: HARD } },
      }),
    );
    await setUsed(0);
  });
  after(async () => {
    await Promise.all([one?.stop(), two?.stop()]);
    await shared?.close();
  });

  const kind = (name: string): object => ({ apiVersion: 'hnc.x-k8s.io/v1alpha2', kind: name });
  async function accepted(asked: Promise<TestResponse>): Promise<void> {
    const { status, text } = await asked;
    assert.ok(status < 300, text);
  }
  async function setParent(
    server: TestServer,
    { name, parent }: { readonly name: string; readonly parent: string },
  ): Promise<TestResponse> {
    const body = { ...kind('HierarchyConfiguration'), metadata: { name: 'hierarchy' }, spec: { parent } };
    const path = `${TREES}/${name}/hierarchyconfigurations`;
    const made = await server.request(`POST ${path}`, { body });
    if (made.status !== 409 || !made.text.includes('AlreadyExists')) return made;
    return server.request(`PATCH ${path}/hierarchy`, { body: { spec: { parent } }, headers: MERGE });
  }
  /** What the controller does. */
  const setUsed = (count: number): Promise<void> =>
    accepted(
      one.request(`PATCH ${TREES}/root/hierarchicalresourcequotas/few/status`, {
        body: { status: { hard: HARD, used: { 'count/configmaps': String(count) } } },
        headers: MERGE,
      }),
    );
  const create = (server: TestServer, [namespace, name]: readonly [string, string]): Promise<TestResponse> =>
    server.request(`POST /api/v1/namespaces/${namespace}/configmaps`, { body: { metadata: { name } } });

  test('a flood of both into all namespaces of a tree stops at the limit', async () => {
    const places = ['root', 'left', 'right'];
    const answers = await Promise.all(
      Array.from({ length: 90 }, (_, i) => create(i % 2 ? one : two, [places[i % 3]!, `m${i}`])),
    );
    const made = answers.filter(({ status }) => status === 201).length;
    assert.ok(made <= LIMIT, `${made} were made`);
    for (const { status, text } of answers.filter((answer) => answer.status !== 201)) {
      assert.equal(status, 403);
      assert.match(text, /exceeded hierarchical quota in namespace \\"root\\": \\"few\\"|too many conflicts/);
    }
    for (let i = made; i < LIMIT; i++) await accepted(create(i % 2 ? one : two, ['left', `rest${i}`]));
    for (const server of [one, two]) assert.equal((await create(server, ['right', 'more'])).status, 403);
    const { body } = await two.request(`GET ${TREES}/root/hierarchicalresourcequotas/few`);
    assert.equal(body.status.used['count/configmaps'], String(LIMIT));
  });

  test('a parent that one has just set holds at the other at once', async () => {
    for (let i = 0; i < 10; i++) {
      const [upper, lower] = [`upper${i}`, `lower${i}`];
      for (const name of [upper, lower])
        await accepted(two.request('POST /api/v1/namespaces', { body: { metadata: { name } } }));
      await accepted(setParent(one, { name: lower, parent: upper }));
      const refused = await setParent(two, { name: upper, parent: lower });
      assert.match(refused.text, /illegal parent: cycle/);
      await setUsed(0);
      await accepted(setParent(two, { name: upper, parent: 'root' }));
      await setUsed(LIMIT);
      assert.match((await create(one, [lower, 'late'])).text, /exceeded hierarchical quota/);
    }
  });
});

/** The drill passes for what an API server can serve, and fails for what it could not, without an error. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { makeBackup } from '#backup/make.ts';
import { DirectoryTarget } from '#backup/targets/directory.ts';
import { makeOptions, temporaryDir } from '#backup/testing/cluster-store.ts';
import type { KubeObject } from '#machinery/object.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { encode } from './codec.ts';
import { runDrill } from './drill.ts';

describe('the drill', () => {
  const dir = temporaryDir();
  const target = new DirectoryTarget(dir.path);
  let server: TestApi;
  before(async () => {
    server = await startTestApi();
  });
  after(async () => {
    await server.stop();
    dir.remove();
  });

  const backupAndDrill = async (): ReturnType<typeof runDrill> => {
    const options = await makeOptions(server.store, target);
    const { name } = await makeBackup({ ...options, encode });
    const result = await runDrill({ target, name, identities: [options.key.identity] });
    await target.remove(name);
    return result;
  };

  test('passes for a cluster, also one with extension API servers', async () => {
    await server.api.create(
      {
        group: 'apiregistration.k8s.io',
        version: 'v1',
        plural: 'apiservices',
        kind: 'APIService',
        namespaced: false,
      },
      {
        metadata: { name: 'v1.example.org' },
        spec: {
          group: 'example.org',
          version: 'v1',
          groupPriorityMinimum: 1,
          versionPriority: 1,
          service: { namespace: 'default', name: 'none' },
          insecureSkipTLSVerify: true,
        },
      } as KubeObject,
    );
    const { passed, problem, objects, invalidObjects } = await backupAndDrill();
    assert.equal(problem, undefined);
    assert.ok(passed && objects > 100);
    assert.deepEqual(invalidObjects, []);
  });

  test('names an object that validation refuses, and passes', async () => {
    const key = '/registry/configmaps/default/invalid';
    const metadata = { name: 'invalid', namespace: 'default' };
    const object = { kind: 'ConfigMap', apiVersion: 'v1', metadata, data: { 'no key': '' } };
    await server.store.put(key, Buffer.from(JSON.stringify(object)));
    const { passed, invalid, invalidObjects } = await backupAndDrill();
    assert.ok(passed);
    assert.equal(invalid, 1);
    assert.match(invalidObjects![0]!, /^configmaps\/default\/invalid: data\[no key\]: /);
    await server.store.delete(key);
  });

  test('fails for an object that is not the one of its key', async () => {
    const key = '/registry/configmaps/default/wrong';
    const object = { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'other', namespace: 'default' } };
    await server.store.put(key, Buffer.from(JSON.stringify(object)));
    const { passed, problem } = await backupAndDrill();
    assert.equal(passed, false);
    assert.match(problem ?? '', /configmaps\/default\/wrong holds ConfigMap default\/other/);
    await server.store.delete(key);
  });

  test('fails for a backup that cannot be opened', async () => {
    const result = await runDrill({ target, name: 'capstan-none', identities: [] });
    assert.equal(result.passed, false);
    assert.match(result.problem ?? '', /there is no backup/);
  });
});

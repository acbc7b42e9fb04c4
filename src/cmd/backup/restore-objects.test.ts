/** One namespace and one object put back into a cluster that runs. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { makeBackup } from '#backup/make.ts';
import { DirectoryTarget } from '#backup/targets/directory.ts';
import { makeOptions, temporaryDir } from '#backup/testing/cluster-store.ts';
import { configMaps, namespaces, replicaSets, secrets, deployments } from '#api/refs.ts';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeObject } from '#machinery/object.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { encode } from './codec.ts';
import { restoreSelected, type RestoreObjectsFlags } from './restore-objects.ts';

const POD = {
  metadata: { labels: { app: 'web' } },
  spec: { containers: [{ name: 'c', image: 'example.org/c:1' }] },
};
const SPEC = { replicas: 2, selector: { matchLabels: { app: 'web' } }, template: POD };

describe('restore of single objects', () => {
  const dir = temporaryDir();
  let server: TestApi;
  let flags: RestoreObjectsFlags;
  before(async () => {
    server = await startTestApi();
    const { api } = server;
    await api.create(namespaces, { metadata: { name: 'team' } });
    const deployment = await api.create(deployments, {
      metadata: { name: 'web', namespace: 'team' },
      spec: SPEC,
    } as KubeObject as never);
    const owner = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      name: 'web',
      uid: deployment.metadata.uid,
      controller: true,
    };
    await api.create(replicaSets, {
      metadata: { name: 'web-1', namespace: 'team', ownerReferences: [owner], labels: { app: 'web' } },
      spec: SPEC,
    } as KubeObject as never);
    await api.create(configMaps, {
      metadata: { name: 'settings', namespace: 'team' },
      data: { a: '1' },
    } as never);
    await api.create(secrets, {
      metadata: { name: 'password', namespace: 'team' },
      data: { p: 'YQ==' },
    } as never);
    const options = await makeOptions(server.store, new DirectoryTarget(dir.path));
    const { name } = await makeBackup({ ...options, encode });
    const identityFile = join(dir.path, 'identity');
    writeFileSync(identityFile, options.key.identity);
    flags = { name, location: dir.path, identityFile, dataDir: dir.path };
  });
  after(async () => {
    await server.stop();
    dir.remove();
  });

  const restore = async (more: Partial<RestoreObjectsFlags>): Promise<string> => {
    const lines: string[] = [];
    await restoreSelected({ ...flags, ...more }, { say: (line) => lines.push(line), api: server.api });
    return lines.join('\n');
  };
  const change = async (data: Record<string, string>): Promise<void> => {
    const name = { name: 'settings', namespace: 'team' };
    await server.api.patch(configMaps, name, { type: 'merge', patch: { data } });
  };

  test('a dry run shows the difference, but no values of Secrets, and changes nothing', async () => {
    await change({ a: '2', b: '3' });
    await server.api.patch(
      secrets,
      { name: 'password', namespace: 'team' },
      { type: 'merge', patch: { data: { p: 'Yg==' } } },
    );
    const said = await restore({ namespace: 'team', dryRun: true, conflict: 'replace' });
    assert.match(
      said,
      /^configmaps team\/settings {2}would be replaced\n {4}data\.a: "2" -> "1"\n {4}data\.b: "3" -> none$/m,
    );
    assert.match(said, /^ {4}data\.p: changed$/m);
    assert.ok(!said.includes('YQ=='));
    const { data } = await server.api.get(configMaps, { name: 'settings', namespace: 'team' });
    assert.deepEqual(data, { a: '2', b: '3' });
  });

  test('one object: skipped, refused or replaced where it differs', async () => {
    const object = { namespace: 'team', object: 'configmaps/settings' };
    assert.match(await restore(object), /^configmaps team\/settings {2}skipped: it exists and differs/);
    await assert.rejects(restore({ ...object, conflict: 'fail' }), {
      message: '1 of 1 objects could not be restored.',
    });
    assert.match(await restore({ ...object, conflict: 'replace' }), /^configmaps team\/settings {2}replaced/);
    assert.match(await restore(object), /^configmaps team\/settings {2}unchanged$/);
    await assert.rejects(restore({ ...object, object: 'configmaps/none' }), {
      message: /has no configmaps\/none in namespace team/,
    });
  });

  test('an object whose owner is another one by the same name now gets that as its owner', async () => {
    await server.api.delete(replicaSets, { name: 'web-1', namespace: 'team' });
    await server.api
      .delete(deployments, { name: 'web', namespace: 'team' }, { propagationPolicy: 'Orphan' })
      .catch(() => {});
    await server.api
      .patch(
        deployments,
        { name: 'web', namespace: 'team' },
        { type: 'merge', patch: { metadata: { finalizers: null } } },
      )
      .catch(() => {});
    const said = await restore({ namespace: 'team' });
    assert.match(
      said,
      /^deployments\.apps team\/web {2}created\n(.*\n)*replicasets\.apps team\/web-1 {2}created$/m,
    );
    const owner = await server.api.get(deployments, { name: 'web', namespace: 'team' });
    const owned = await server.api.get(replicaSets, { name: 'web-1', namespace: 'team' });
    assert.deepEqual(
      owned.metadata.ownerReferences?.map(({ uid }) => uid),
      [owner.metadata.uid],
    );
  });

  test('an object whose owner is gone has none', async () => {
    for (const [ref, name] of [
      [replicaSets, 'web-1'],
      [deployments, 'web'],
    ] as const)
      await server.api.delete(ref, { name, namespace: 'team' });
    await restore({ namespace: 'team', object: 'replicasets.apps/web-1' });
    const owned = await server.api.get(replicaSets, { name: 'web-1', namespace: 'team' });
    assert.equal(owned.metadata.ownerReferences, undefined);
  });
});

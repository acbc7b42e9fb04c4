/** Volumes of claims in real containers: the default class, ephemeral claims, local volumes made by hand. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { until } from './cluster.ts';
import type { Json } from './conformance/bare-client.ts';
import { idle, task, type PodOptions } from './conformance/real/manifests.ts';
import {
  inNamespace,
  isReady,
  missing,
  startRealWorld,
  type Place,
  type RealWorld,
} from './conformance/real/real-world.ts';

describe('volumes of claims', { skip: missing, concurrency: 3 }, () => {
  let world: RealWorld;
  before(async () => {
    world = await startRealWorld();
  });
  after(async () => world?.stop());
  const inPlace = (test: (place: Place) => Promise<void>): (() => Promise<void>) =>
    inNamespace(() => world, test);
  const mounted = (source: Json): PodOptions => ({
    container: { volumeMounts: [{ name: 'volume', mountPath: '/volume' }] },
    spec: { volumes: [{ name: 'volume', ...source }] },
  });

  const template = (name: string): Json => ({
    metadata: { name },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
  });
  /** The volume behind a claim, once it is bound. */
  const volumeOfClaim = (place: Place, name: string): Promise<Json> =>
    until(`${name} is bound`, async () => {
      const claim = await world.get(`${place.core}/persistentvolumeclaims/${name}`);
      return (
        claim.status.phase === 'Bound' && world.get(`/api/v1/persistentvolumes/${claim.spec.volumeName}`)
      );
    });
  const volumeGone = (name: string): Promise<unknown> =>
    until(`volume ${name} is gone`, () =>
      world.get(`/api/v1/persistentvolumes/${name}`).then(
        () => false,
        ({ message }: Error) => /not found/.test(message),
      ),
    );

  it(
    'a StatefulSet with claims runs on the default class; data outlives its pods, and goes with the claim',
    inPlace(async (place) => {
      const { spec } = idle('db', {
        container: { volumeMounts: [{ name: 'data', mountPath: '/data', subPath: 'db' }] },
        spec: {
          restartPolicy: 'Always',
          securityContext: { runAsUser: 1000, fsGroup: 2000 },
        },
      });
      await world.post(`/apis/apps/v1/namespaces/${place.namespace}/statefulsets`, {
        apiVersion: 'apps/v1',
        kind: 'StatefulSet',
        metadata: { name: 'db' },
        spec: {
          serviceName: 'db',
          replicas: 2,
          selector: { matchLabels: { app: 'db' } },
          template: { metadata: { labels: { app: 'db' } }, spec },
          volumeClaimTemplates: [template('data')],
        },
      });
      const { metadata } = await place.pod('db-1', isReady);
      await place.sh('db-1', 'echo kept > /data/file && sync');
      assert.equal(await place.sh('db-1', 'stat -c "%u %g" /data/file'), '1000 2000');
      await world.del(`${place.core}/pods/db-1`);
      await place.pod('db-1', (pod) => pod.metadata.uid !== metadata.uid && isReady(pod));
      assert.equal(await place.sh('db-1', 'cat /data/file'), 'kept');
      const volume = await volumeOfClaim(place, 'data-db-1');
      const { path } = volume.spec.local;
      assert.equal(await readFile(`${path}/db/file`, 'utf8'), 'kept\n');
      await world.patch(`/apis/apps/v1/namespaces/${place.namespace}/statefulsets/db`, {
        spec: { replicas: 1 },
      });
      await place.podGone('db-1');
      assert.ok(existsSync(path));
      await world.del(`${place.core}/persistentvolumeclaims/data-db-1`);
      await volumeGone(volume.metadata.name);
      assert.equal(existsSync(path), false, 'the directory went with the claim');
    }),
  );

  it(
    'an ephemeral volume lives and dies with its pod',
    inPlace(async (place) => {
      const source = { ephemeral: { volumeClaimTemplate: { spec: template('').spec } } };
      await place.run(idle('brief', mounted(source)));
      await place.sh('brief', 'echo x > /volume/file');
      const volume = await volumeOfClaim(place, 'brief-volume');
      await world.del(`${place.core}/pods/brief`);
      await volumeGone(volume.metadata.name);
    }),
  );

  it(
    'a local volume made by hand: read-only where the pod asks for it; a path that is missing is an event',
    inPlace(async (place) => {
      const path = await mkdtemp(join(tmpdir(), 'capstan-e2e-local-'));
      await writeFile(join(path, 'file'), 'by hand');
      const name = `by-hand-${place.namespace}`;
      const { kind, apiVersion, nodeAffinity } = {
        kind: 'PersistentVolume',
        apiVersion: 'v1',
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [
              {
                matchExpressions: [
                  { key: 'kubernetes.io/hostname', operator: 'In', values: [world.node.metadata.name] },
                ],
              },
            ],
          },
        },
      };
      const make = async (suffix: string, local: string): Promise<void> => {
        await world.post('/api/v1/persistentvolumes', {
          apiVersion,
          kind,
          metadata: { name: `${name}-${suffix}` },
          spec: {
            capacity: { storage: '1Mi' },
            accessModes: ['ReadWriteOnce'],
            storageClassName: `${name}-${suffix}`,
            local: { path: local },
            nodeAffinity,
          },
        });
        await world.post(`${place.core}/persistentvolumeclaims`, {
          apiVersion,
          kind: 'PersistentVolumeClaim',
          metadata: { name: suffix },
          spec: { ...template('').spec, storageClassName: `${name}-${suffix}` },
        });
        await volumeOfClaim(place, suffix);
      };
      const using = (claimName: string): PodOptions =>
        mounted({ persistentVolumeClaim: { claimName, readOnly: true } });
      try {
        await make('there', path);
        await make('missing', `${path}/none`);
        assert.match(
          await place.output(
            task('reader', 'cat /volume/file; touch /volume/new || echo " refused"', using('there')),
          ),
          /by hand[^]*refused/,
        );
        await world.post(`${place.core}/pods`, idle('waiting', using('missing')));
        await until('the event', async () => {
          const events = await world.get(`${place.core}/events?fieldSelector=reason%3DFailedMount`);
          return events.items.some(
            ({ message }: Json) =>
              message ===
              `MountVolume.SetUp failed for volume "${name}-missing" : path "${path}/none" does not exist`,
          );
        });
      } finally {
        for (const suffix of ['there', 'missing'])
          await world.del(`/api/v1/persistentvolumes/${name}-${suffix}`).catch(() => {});
        await rm(path, { recursive: true, force: true });
      }
    }),
  );
});

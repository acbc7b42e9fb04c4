/** Claims of pods on a node: an API server in this process, a driver behind real sockets. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import { resourceClaims } from '#client/refs.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { PluginRegistry } from '../plugins/plugin-registry.ts';
import { ClaimManager } from './claim-manager.ts';
import { ClaimDriver } from './testing/claim-driver.ts';

const DRIVER = 'gpu.test';

describe('the claims of pods', () => {
  let test: TestApi;
  let dir: string;
  let clock: FakeClock;
  let known: Set<string>;
  let driver: ClaimDriver;
  let plugins: PluginRegistry;
  let manager: ClaimManager;
  let count = 0;

  before(async () => {
    test = await startTestApi();
  });
  after(() => test.stop());
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'capstan-dra-'));
    clock = new FakeClock();
    known = new Set();
    driver = new ClaimDriver({
      name: DRIVER,
      dir,
      registryDir: join(dir, 'reg'),
      devices: [
        { requestNames: ['gpu'], poolName: 'p', deviceName: 'a', cdiDeviceIds: ['v/gpu=a'] },
        { requestNames: ['nic/fast'], poolName: 'p', deviceName: 'n', cdiDeviceIds: ['v/nic=n'] },
      ],
    });
    await driver.start();
    await begin();
  });
  afterEach(async () => {
    await end();
    driver.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  async function begin(): Promise<void> {
    plugins = new PluginRegistry({ dir: join(dir, 'reg'), clock: realClock, log: silentLogger });
    manager = new ClaimManager({
      api: test.api,
      clock,
      log: silentLogger,
      path: join(dir, 'dra_manager_state'),
      isKnown: (uid) => known.has(uid),
    });
    await manager.load();
    plugins.handle('DRAPlugin', manager);
    manager.start();
    const registered = driver.registrations.length;
    plugins.start();
    for (let left = 400; driver.registrations.length === registered && left > 0; left -= 1)
      await realClock.sleep(25);
    assert.deepEqual(driver.registrations.at(-1), { pluginRegistered: true, error: '' });
  }

  async function end(): Promise<void> {
    await plugins.stop();
    await manager.stop();
  }

  /** Allocated to these pods. */
  async function claim(reservedFor: readonly string[], drivers = [DRIVER]): Promise<string> {
    count += 1;
    const name = `claim-${count}`;
    const made = await test.api.create(resourceClaims, {
      apiVersion: 'resource.k8s.io/v1',
      kind: 'ResourceClaim',
      metadata: { name, namespace: 'default' },
      spec: { devices: { requests: [{ name: 'gpu', exactly: { deviceClassName: 'gpu' } }] } },
    });
    await test.api.updateStatus(resourceClaims, {
      ...made,
      status: {
        allocation: {
          devices: {
            results: drivers.map((one) => ({ request: 'gpu', driver: one, pool: 'p', device: 'a' })),
          },
        },
        reservedFor: reservedFor.map((uid) => ({ resource: 'pods', name: uid, uid })),
      },
    } as typeof made);
    return name;
  }

  function pod(uid: string, resourceClaimName: string): Pod {
    known.add(uid);
    return {
      metadata: { name: uid, namespace: 'default', uid },
      spec: {
        containers: [
          { name: 'one', resources: { claims: [{ name: 'c', request: 'gpu' }] } },
          { name: 'both', resources: { claims: [{ name: 'c' }] } },
          { name: 'none' },
        ],
        resourceClaims: [{ name: 'c', resourceClaimName }],
      },
    };
  }

  const devices = (of: Pod): Promise<string[][]> =>
    Promise.all(of.spec!.containers.map((container) => manager.cdiDevices(of, container)));

  it('are prepared once, reach the containers that name them, and are undone after the last pod', async () => {
    const name = await claim(['u1', 'u2']);
    await manager.prepare(pod('u1', name));
    await manager.prepare(pod('u1', name));
    await manager.prepare(pod('u2', name));
    assert.deepEqual(await devices(pod('u1', name)), [['v/gpu=a'], ['v/gpu=a', 'v/nic=n'], []]);
    await manager.unprepare('u1');
    assert.deepEqual(driver.calls, [`prepare ${name}`]);
    await manager.unprepare('u2');
    await manager.unprepare('u2');
    assert.deepEqual(driver.calls, [`prepare ${name}`, `unprepare ${name}`]);
  });

  it('are remembered in upstream’s file, prepared again by a new agent, and undone when their pod is gone', async () => {
    const name = await claim(['u1']);
    await manager.prepare(pod('u1', name));
    const stored = JSON.parse(readFileSync(join(dir, 'dra_manager_state'), 'utf8')) as { Data: string };
    const { ClaimInfoStateList } = JSON.parse(stored.Data) as {
      ClaimInfoStateList: { ClaimName: string; PodUIDs: object; DriverState: object }[];
    };
    assert.deepEqual(
      ClaimInfoStateList.map(({ ClaimName, PodUIDs, DriverState }) => ({ ClaimName, PodUIDs, DriverState })),
      [
        {
          ClaimName: name,
          PodUIDs: { u1: {} },
          DriverState: {
            [DRIVER]: {
              Devices: [
                {
                  PoolName: 'p',
                  DeviceName: 'a',
                  ShareID: null,
                  RequestNames: ['gpu'],
                  CDIDeviceIDs: ['v/gpu=a'],
                },
                {
                  PoolName: 'p',
                  DeviceName: 'n',
                  ShareID: null,
                  RequestNames: ['nic/fast'],
                  CDIDeviceIDs: ['v/nic=n'],
                },
              ],
            },
          },
        },
      ],
    );
    await end();
    await begin();
    assert.deepEqual((await devices(pod('u1', name)))[0], ['v/gpu=a']);
    await manager.prepare(pod('u1', name));
    assert.deepEqual(driver.calls, [`prepare ${name}`, `prepare ${name}`]);
    known.delete('u1');
    await clock.advance(61_000);
    for (let left = 400; driver.calls.length < 3 && left > 0; left -= 1) await realClock.sleep(25);
    assert.equal(driver.calls.at(-1), `unprepare ${name}`);
  });

  it('that cannot be prepared say why, and can be tried again', async () => {
    const says = async (of: Pod, message: string): Promise<void> =>
      assert.rejects(manager.prepare(of), {
        name: 'ClaimError',
        message: `prepare dynamic resources: ${message}`,
      });
    const others = await claim(['u9']);
    const { uid } = (await test.api.get(resourceClaims, { name: others, namespace: 'default' })).metadata;
    await says(pod('u1', others), `pod u1 (u1) is not allowed to use ResourceClaim ${others} (${uid})`);
    await says(pod('u1', await claim(['u1'], ['other.test'])), 'DRA driver other.test is not registered');
    const template = pod('u1', '');
    template.spec!.resourceClaims = [{ name: 'c', resourceClaimTemplateName: 't' }];
    await says(template, 'pod claim name "c" resource claim name not found in pod status');
    template.status = { resourceClaimStatuses: [{ name: 'c' }] };
    await manager.prepare(template);
    const name = await claim(['u1']);
    driver.failure = 'no power';
    await says(pod('u1', name), `NodePrepareResources failed for ResourceClaim ${name}: no power`);
    driver.failure = '';
    await manager.prepare(pod('u1', name));
    driver.failure = 'still hot';
    await assert.rejects(manager.unprepare('u1'), /^ClaimError: unprepare dynamic resources: .*still hot/);
    driver.failure = '';
    await manager.unprepare('u1');
  });

  it('whose record is damaged stop the agent with its path', async () => {
    await manager.prepare(pod('u1', await claim(['u1'])));
    const path = join(dir, 'dra_manager_state');
    writeFileSync(path, readFileSync(path, 'utf8').replace('gpu.test', 'gpu.tess'));
    await assert.rejects(manager.load(), /dra_manager_state is damaged: its checksum is/);
  });
});

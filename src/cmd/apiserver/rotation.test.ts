/** Rotation of a data directory's authorities against a running API server in this process, broken off at every line it prints and taken up again. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createClient } from '#client/create.ts';
import { createHttpsTransport } from '#client/https.ts';
import { configMaps, nodes } from '#client/refs.ts';
import { inspectCertificates } from '#deploy/phases/certificates-check.ts';
import { abortRotation, describeRotation, rotateAuthorities } from '#deploy/phases/rotation/rotate.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { until } from '#testing/cluster.ts';
import { FollowedConnection } from '../followed-connection.ts';
import { hashes, startRotating, whoIs } from './testing/rotating-cluster.ts';

test(
  'broken off at every line and taken up again, with 0 failed requests all along',
  { timeout: 120_000 },
  async (t) => {
    const one = await startRotating(t);
    const before = one.admin();
    const old = { ca: one.read('ca.crt'), proxy: one.read('front-proxy-ca.crt'), sa: one.read('sa.pub') };
    const followed = new FollowedConnection({ file: one.dir.kubeconfig, read: one.admin, log: silentLogger });
    const api = createClient(followed.open(), { userAgent: 'test' });
    const load = { made: 0, failed: [] as string[], isOver: false };
    const worker = (async () => {
      for (; !load.isOver; load.made++) {
        await api
          .list(configMaps, { namespace: 'default' })
          .catch((error) => load.failed.push(String(error)));
        if (load.made % 10 === 0) {
          const user = await whoIs(one.admin());
          if (user !== 'kubernetes-admin') load.failed.push(user);
        }
        await realClock.sleep(2);
      }
    })();

    let runs = 0;
    for (let result = ''; result !== 'done'; runs++) {
      let printed = 0;
      const options = await one.options({
        print: (line) => {
          one.lines.push(line);
          // The first run is broken off at its first line, the second at its second, and so on.
          if (++printed > runs) throw new Error('broken off');
        },
      });
      result = await rotateAuthorities(options).catch((error: Error) => {
        assert.equal(error.message, 'broken off');
        return '';
      });
      assert.deepEqual(await one.renew(), [], 'what the program renews by itself is content in each state');
    }
    load.isOver = true;
    await worker;
    await api.close();
    await followed.close();
    t.diagnostic(`${load.made} requests, ${load.failed.length} failed, ${runs} runs`);
    assert.deepEqual(load.failed, []);
    assert.ok(runs >= 3, `${runs} runs`);

    for (const [file, text] of [
      ['ca.crt', old.ca],
      ['front-proxy-ca.crt', old.proxy],
    ] as const) {
      assert.equal(hashes(one.read(file)).length, 1);
      assert.notEqual(hashes(one.read(file))[0], hashes(text)[0]);
    }
    assert.notEqual(one.read('sa.pub'), old.sa);
    assert.equal(existsSync(join(one.dir.pki, 'rotation')), false);
    await until(
      'the old administrator is nobody',
      async () => (await whoIs({ ...before, ca: one.read('ca.crt') })) === 'Unauthorized',
    );
    assert.equal(await whoIs(one.admin()), 'kubernetes-admin');
    const rows = await inspectCertificates((await one.options()).set, { nowMs: Date.now() });
    assert.deepEqual(
      rows.flatMap(({ problems }) => problems),
      [],
    );
  },
);

test('a plan is printed, and a rotation goes back before the new authorities sign', async (t) => {
  const one = await startRotating(t);
  const before = one.read('ca.crt');
  const plan = await describeRotation(await one.options());
  assert.match(plan.join('\n'), new RegExp(`A rotation would replace:\\n  ca +${hashes(before)[0]}`));
  assert.equal(existsSync(join(one.dir.pki, 'rotation')), false);
  const admin = createHttpsTransport(one.admin());
  const api = createClient(admin, { userAgent: 'test' });
  await api.create(nodes, { metadata: { name: 'far' } });
  assert.equal(await rotateAuthorities(await one.options({ waitMs: 0 })), 'waiting');
  assert.match(one.lines.join('\n'), /waiting: node far does not report which authorities it trusts/);
  assert.equal(hashes(one.read('ca.crt')).length, 2);
  await abortRotation(await one.options());
  assert.equal(one.read('ca.crt'), before);
  await assert.rejects(abortRotation(await one.options()), /There is no rotation to abort/);
  await api.close();
  await admin.close();
});

test('a damaged record, a lost key and an unknown authority are refused', async (t) => {
  const one = await startRotating(t);
  await assert.rejects(
    rotateAuthorities(await one.options({ names: ['etcd-ca'] })),
    /There is no authority "etcd-ca" here; there are ca, front-proxy-ca, sa\./,
  );
  const stop = await one.options({
    print: () => {
      throw new Error('broken off');
    },
  });
  await assert.rejects(rotateAuthorities(stop), /broken off/);
  const record = join(one.dir.pki, 'rotation/rotation.json');
  const text = readFileSync(record, 'utf8');
  writeFileSync(record, text.slice(0, 20));
  await assert.rejects(
    rotateAuthorities(await one.options()),
    /rotation\.json is damaged: it was left as it is/,
  );
  assert.equal(readFileSync(record, 'utf8'), text.slice(0, 20));
  writeFileSync(record, text.replace('"format": 1', '"format": 2'));
  await assert.rejects(rotateAuthorities(await one.options()), /written by a newer Capstan/);
  writeFileSync(record, text);
  rmSync(join(one.dir.pki, 'rotation/ca.old.crt'));
  await assert.rejects(
    rotateAuthorities(await one.options()),
    /ca\.old\.crt is missing, though the rotation has begun/,
  );
});

test('an intermediate asks for the next one, which is taken from where it was put', async (t) => {
  const one = await startRotating(t);
  const certificate = new X509Certificate(one.read('ca.crt'));
  assert.equal(certificate.ca, true);
  rmSync(join(one.dir.pki, 'ca.key'));
  await assert.rejects(
    rotateAuthorities(await one.options({ names: ['ca'] })),
    /ca\.crt is an external authority: the next one is yours to make\. Put it to .*ca\.new\.crt/,
  );
});

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import { failure, runChecks, type Check } from './check.ts';
import { clock, diskSpace, hostName, ipForward, memory, portFree } from './checks.ts';
import { controlPlaneManifests, externalEtcdCheck } from './machine-checks.ts';

const fails = (name: string): Check => ({ name, run: () => failure(`${name} is wrong`, 'mend it') });

async function outcome(checks: readonly Check[], ignore: readonly string[] = []): Promise<string> {
  const said: string[] = [];
  await runChecks(checks, { ignore, warn: (line) => said.push(line) }).catch((error: Error) =>
    said.push(error.message),
  );
  return said.join('\n');
}

test('all errors at once, and how to go on all the same', async () => {
  const text = await outcome([fails('Swap'), fails('Port-1')]);
  assert.match(
    text,
    /\[preflight\] Some fatal errors occurred:\n\t\[ERROR Swap\]: Swap is wrong: mend it\n\t\[ERROR Port-1\]/,
  );
  assert.match(text, /--ignore-preflight-errors=/);
});

test('ignored ones are warnings', async () => {
  assert.equal(await outcome([fails('Swap')], ['swap']), '[WARNING Swap]: Swap is wrong: mend it');
  assert.equal(
    await outcome([fails('A'), fails('B')], ['all']),
    '[WARNING A]: A is wrong: mend it\n[WARNING B]: B is wrong: mend it',
  );
  assert.match(await outcome([fails('A'), fails('B')], ['A']), /\[ERROR B\]: B is wrong/);
});

test('a port that is taken, and by whom', async (t) => {
  const server = createServer().listen(0);
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  assert.match(
    await outcome([portFree(port, {})]),
    new RegExp(`\\[ERROR Port-${port}\\]: port ${port} is in use by `),
  );
  assert.equal(await outcome([portFree(port, { holdsIt: () => true })]), '');
  await new Promise((resolve) => server.close(resolve));
  assert.equal(await outcome([portFree(port, {})]), '');
  assert.match(
    await outcome([portFree(port, { address: '192.0.2.1' })]),
    /192\.0\.2\.1 is not an address of this machine/,
  );
});

test('forwarding that is off: the node turns it on where it may', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-preflight-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'ip_forward');
  writeFileSync(file, '0\n');
  assert.equal(await outcome([ipForward(file)]), '');
  assert.match(await outcome([ipForward(join(dir, 'none'))]), /is not 1, and cannot be written here: set it/);
});

test('manifests of a control plane of others, which would run beside that of this machine', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-preflight-'));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, 'mine.yaml'), '');
  assert.equal(await outcome(controlPlaneManifests(dir)), '');
  writeFileSync(join(dir, 'kube-apiserver.yaml'), '');
  const name = `FileAvailable-${dir.replaceAll('/', '-')}-kube-apiserver.yaml`;
  const text = await outcome(controlPlaneManifests(dir));
  assert.match(
    text,
    new RegExp(
      `ERROR ${name}\\]: ${dir}/kube-apiserver.yaml already exists, and is not of init or join.*: move it out`,
    ),
  );
  assert.match(await outcome(controlPlaneManifests(dir), [name]), /^\[WARNING FileAvailable-/);
});

test('the machine', async () => {
  assert.equal(
    await outcome([memory(1), diskSpace('/nowhere/at/all', { minimumBytes: 1 }), hostName('localhost')]),
    '',
  );
  assert.match(await outcome([memory(2 ** 60)]), /the system RAM \(\d+ MB\) is less than the minimum/);
  assert.match(
    await outcome([diskSpace('/tmp/capstan-none/x', { minimumBytes: 2 ** 60 })]),
    /\/tmp, which is to hold \/tmp\/capstan-none\/x, has/,
  );
  assert.match(await outcome([hostName('no-such-host.invalid')]), /WARNING Hostname.*could not be reached/);
  assert.match(await outcome([clock(0)]), /clock says 1970/);
  assert.equal(await outcome([clock(Date.now())]), '');
});

test('an external etcd: silent members, and ones that are too old', async () => {
  const endpoints = ['https://e1:2379', 'https://e2:2379'];
  const versions: Record<string, string> = {};
  const connect = (): EtcdMembership =>
    ({
      status: (endpoint: string) =>
        versions[endpoint] === undefined
          ? Promise.reject(new Error('no response'))
          : Promise.resolve({ version: versions[endpoint] }),
      close: () => {},
    }) as unknown as EtcdMembership;
  const check = externalEtcdCheck({ endpoints, files: [undefined], connect });
  assert.match(
    await outcome([check]),
    /ERROR ExternalEtcd\]: the etcd member at https:\/\/e1:2379 does not answer/,
  );
  versions['https://e2:2379'] = '3.5.16';
  assert.match(
    await outcome([check]),
    /^\[WARNING ExternalEtcd\]: .*e1:2379 does not answer \(no response\)/,
  );
  versions['https://e1:2379'] = '3.3.25';
  versions['https://e2:2379'] = '3.3.25';
  assert.match(await outcome([check]), /e2:2379 is of version 3\.3\.25: it should be 3\.4 or later/);
  const missing = externalEtcdCheck({ endpoints, files: ['/nowhere/ca.crt'], connect });
  assert.match(
    await outcome([missing]),
    /\/nowhere\/ca\.crt of etcd\.external not found: put the files there/,
  );
});

/** Attacks from inside containers, on a real node with the real kubectl: what they leave behind leads nobody out, neither the node nor who copies from them. */
import assert from 'node:assert/strict';
import { containersMissing } from './real-containers.ts';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { buildBusyboxImage, BUSYBOX } from './busybox.ts';
import { capstan, testCluster, until, type TestCluster } from './cluster.ts';
import { foreignTools } from './foreign-tools.ts';

const tools = foreignTools(35);
const missing = containersMissing || ('missing' in tools && tools.missing);

/** One entry of a tar archive, whatever its name and link say. */
function entry(
  name: string,
  { content = '', link }: { readonly content?: string; readonly link?: string } = {},
): Buffer {
  const header = Buffer.alloc(512),
    body = Buffer.from(content);
  const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, '0')}\0`;
  header.write(name, 0);
  header.write(octal(0o644, 8), 100);
  header.write(octal(body.length, 12), 124);
  header.write('        ', 148);
  header.write(link === undefined ? '0' : '2', 156);
  if (link !== undefined) header.write(link, 157);
  header.write('ustar\x0000', 257);
  header.write(
    octal(
      header.reduce((sum, byte) => sum + byte, 0),
      8,
    ),
    148,
  );
  return Buffer.concat([header, body, Buffer.alloc((512 - (body.length % 512)) % 512)]);
}

describe('a hostile container', { skip: missing }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-red-team-'));
  let cluster: TestCluster;
  const apply = async (object: object): Promise<void> => {
    const { code, stderr } = await cluster.kubectl(['apply', '-f', '-'], { input: JSON.stringify(object) });
    assert.equal(code, 0, stderr);
  };
  const pod = (name: string, spec: object): object => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { terminationGracePeriodSeconds: 0, ...spec },
  });
  const shell = (name: string, script: string, more: object = {}): object => ({
    name,
    image: BUSYBOX,
    imagePullPolicy: 'IfNotPresent',
    command: ['sh', '-c', script],
    ...more,
  });

  before(async () => {
    if ('missing' in tools) return;
    cluster = await testCluster({ runtime: 'cri', kubectl: tools.kubectl });
    await cluster.up();
    const { code, stderr } = await capstan([
      'image',
      'load',
      (await buildBusyboxImage()).path,
      '--data-dir',
      cluster.dir,
    ]);
    assert.equal(code, 0, stderr);
  });
  after(async () => {
    await cluster?.delete();
    rmSync(dir, { recursive: true, force: true });
  });

  it(
    'kubectl cp writes nowhere but where it was told, whatever tar says inside',
    { timeout: 120_000 },
    async () => {
      const outside = join(dir, 'outside'),
        target = join(dir, 'a', 'b', 'target');
      mkdirSync(outside);
      mkdirSync(join(dir, 'a', 'b'), { recursive: true });
      writeFileSync(join(outside, 'precious'), 'untouched');
      const archive = Buffer.concat([
        entry('x/fine', { content: 'fine' }),
        entry('x/../../up', { content: 'evil' }),
        entry('../up', { content: 'evil' }),
        entry('x/../../../outside/precious', { content: 'evil' }),
        entry(`${outside}/absolute`, { content: 'evil' }),
        entry('x/link', { link: outside }),
        entry('x/link/through', { content: 'evil' }),
        entry('x/up', { link: '../../..' }),
        entry('x/up/outside/through', { content: 'evil' }),
        entry('x/precious', { link: `${outside}/precious` }),
        entry('x/precious', { content: 'evil' }),
        Buffer.alloc(1024),
      ]);
      await apply({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'evil' },
        data: { tar: '#!/bin/sh\ncat /evil/archive\n' },
        binaryData: { archive: archive.toString('base64') },
      });
      await apply(
        pod('hostile', {
          containers: [
            shell(
              'c',
              'rm -f /bin/tar; cp /evil/tar /bin/tar; chmod 755 /bin/tar; touch /ready; sleep 100000',
              {
                volumeMounts: [{ name: 'evil', mountPath: '/evil' }],
                readinessProbe: { exec: { command: ['cat', '/ready'] }, periodSeconds: 1 },
              },
            ),
          ],
          volumes: [{ name: 'evil', configMap: { name: 'evil' } }],
        }),
      );
      assert.equal(
        (await cluster.kubectl(['wait', '--for=condition=Ready', 'pod/hostile', '--timeout=60s'])).code,
        0,
      );
      const copied = await cluster.kubectl(['cp', 'hostile:/x', target]);
      assert.equal(readFileSync(join(target, 'fine'), 'utf8'), 'fine', copied.stderr);
      assert.deepEqual(readdirSync(outside), ['precious']);
      assert.equal(readFileSync(join(outside, 'precious'), 'utf8'), 'untouched');
      assert.deepEqual(readdirSync(join(dir, 'a')), ['b']);
      assert.deepEqual(readdirSync(join(dir, 'a', 'b')), ['target']);
      assert.deepEqual(readdirSync(dir).toSorted(), ['a', 'outside']);
    },
  );

  for (const [what, link] of Object.entries({
    'the whole machine': '/',
    'its passwords': '/etc',
    'a way up': '../../../../../../../../..',
  })) {
    it(`a link to ${what} in a volume is no way out by subPath`, { timeout: 60_000 }, async () => {
      const name = `link-${what.replaceAll(' ', '-')}`;
      await apply(
        pod(name, {
          restartPolicy: 'Never',
          volumes: [{ name: 'v', emptyDir: {} }],
          initContainers: [
            shell('make', `ln -s ${link} /v/evil; mkdir /v/dir; ln -s ${link} /v/dir/evil`, {
              volumeMounts: [{ name: 'v', mountPath: '/v' }],
            }),
          ],
          containers: ['evil', 'dir/evil'].map((subPath, i) =>
            shell(`c${i}`, 'cat /out/hostname /out/etc/hostname; sleep 100000', {
              volumeMounts: [{ name: 'v', mountPath: '/out', subPath }],
            }),
          ),
        }),
      );
      const reasons = await until(
        'both containers refused',
        async () => {
          const { stdout } = await cluster.kubectl([
            'get',
            'pod',
            name,
            '-o',
            'jsonpath={.status.containerStatuses[*].state.waiting.reason}',
          ]);
          return /^CreateContainer\w*Error CreateContainer\w*Error$/.test(stdout) && stdout;
        },
        40_000,
      );
      assert.match(reasons, /Error/);
      await cluster.kubectl(['delete', 'pod', name, '--force', '--grace-period=0']);
    });
  }

  it('keys and paths that lead out of a volume are refused by the API', async () => {
    for (const object of [
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' }, data: { '../../etc/evil': 'x' } },
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' }, data: { '..': 'x' } },
      { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'x' }, stringData: { '..evil/x': 'x' } },
      pod('x', {
        containers: [shell('c', 'true', { volumeMounts: [{ name: 'v', mountPath: '/v', subPath: '../x' }] })],
        volumes: [{ name: 'v', emptyDir: {} }],
      }),
      pod('x', {
        containers: [shell('c', 'true', { volumeMounts: [{ name: 'v', mountPath: '/v', subPath: '/etc' }] })],
        volumes: [{ name: 'v', emptyDir: {} }],
      }),
      pod('x', {
        containers: [shell('c', 'true', { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
        volumes: [{ name: 'v', configMap: { name: 'evil', items: [{ key: 'tar', path: '../../evil' }] } }],
      }),
      pod('x', {
        containers: [shell('c', 'true', { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
        volumes: [{ name: 'v', hostPath: { path: '/tmp/../etc' } }],
      }),
      pod('x', {
        containers: [shell('c', 'true', { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
        volumes: [{ name: 'v', projected: { sources: [{ serviceAccountToken: { path: '../token' } }] } }],
      }),
    ]) {
      const { code, stderr } = await cluster.kubectl(['create', '-f', '-'], {
        input: JSON.stringify(object),
      });
      assert.equal(code, 1, JSON.stringify(object));
      assert.match(stderr, /is invalid/);
    }
  });
});

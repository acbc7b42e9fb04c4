/** Discovery beside upstream's, as it is committed for each release: every difference by its path. The documents lie beside the repository. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startTestServer } from '../testing/server.ts';

const root = join(import.meta.dirname, '../../../../shared/kubernetes-1.36/discovery');
const skip = existsSync(root) ? false : '../shared is absent';

/** Where the server is reached differs from one to the next. */
const EXPECTED = [/^\/api serverAddressByClientCIDRs\[0\]\.serverAddress: /];

test("all versions switched on, discovery is upstream's", { skip }, async () => {
  const server = await startTestServer({ isEnabled: () => true });
  try {
    const differences: string[] = [];
    for (const file of readdirSync(root)) {
      const isAggregated = file.startsWith('aggregated');
      const path = isAggregated ? '/apis' : `/${file.replace('.json', '').replaceAll('__', '/')}`;
      const headers: Record<string, string> = isAggregated
        ? { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' }
        : {};
      const answer = await server.request(`GET ${path}`, { headers });
      if (answer.status === 200)
        compare(JSON.parse(readFileSync(join(root, file), 'utf8')), answer.body, {
          path: `${path}${isAggregated ? ' (aggregated) ' : ' '}`,
          differences,
        });
      else differences.push(`${path}: ${answer.status}`);
    }
    assert.deepEqual(
      differences.filter((difference) => !EXPECTED.some((expected) => expected.test(difference))),
      [],
    );
  } finally {
    await server.stop();
  }
});

test('by default only what is stable is served, and every group says which version it prefers', async () => {
  const server = await startTestServer();
  try {
    const { body } = await server.request('GET /apis');
    for (const { name, versions, preferredVersion } of body.groups as {
      name: string;
      versions: { groupVersion: string; version: string }[];
      preferredVersion: { groupVersion: string };
    }[]) {
      assert.deepEqual(
        versions.filter(({ version }) => /alpha|beta/.test(version)),
        [],
        name,
      );
      assert.ok(
        versions.some(({ groupVersion }) => groupVersion === preferredVersion.groupVersion),
        name,
      );
      for (const { groupVersion } of versions) {
        const list = (await server.request(`GET /apis/${groupVersion}`)).body;
        assert.equal(list.groupVersion, groupVersion);
        assert.ok(list.resources.length > 0, groupVersion);
      }
    }
  } finally {
    await server.stop();
  }
});

function compare(
  theirs: unknown,
  ours: unknown,
  { path, differences }: { readonly path: string; readonly differences: string[] },
): void {
  if (Array.isArray(theirs) && Array.isArray(ours)) {
    const length = Math.max(theirs.length, ours.length);
    for (let i = 0; i < length; i++)
      compare(theirs[i], ours[i], { path: `${path}[${nameOf(theirs[i] ?? ours[i]) ?? i}]`, differences });
  } else if (isObject(theirs) && isObject(ours)) {
    for (const key of new Set([...Object.keys(theirs), ...Object.keys(ours)]))
      compare(theirs[key], ours[key], { path: `${path}${path.endsWith(' ') ? '' : '.'}${key}`, differences });
  } else if (theirs !== ours)
    differences.push(`${path}: ${JSON.stringify(theirs)} upstream, ${JSON.stringify(ours)} here`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function nameOf(value: unknown): string | undefined {
  if (!isObject(value)) return undefined;
  const name = value['name'] ?? value['resource'] ?? value['version'] ?? value['subresource'];
  return typeof name === 'string' ? name : undefined;
}

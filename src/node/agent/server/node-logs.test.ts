import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeLogQueryProblem, writeNodeLogs } from './node-logs.ts';

test('folders are pages of links, files are as they are, nothing outside is shown', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'capstan-logs-'));
  const root = join(dir, 'log');
  await mkdir(join(root, 'pods'), { recursive: true });
  await writeFile(join(root, 'boot & run.log'), 'up\n');
  await writeFile(join(dir, 'secret'), 'hush');
  await symlink('boot & run.log', join(root, 'latest'));
  await symlink('../secret', join(root, 'out'));
  await symlink('/', join(root, 'pods', 'top'));
  const server = createServer(
    (request, response) =>
      void writeNodeLogs(response, { root, path: decodeURIComponent((request.url ?? '').slice(1)) }).then(
        (found) => found || response.writeHead(404).end(),
      ),
  );
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    return rm(dir, { recursive: true });
  });
  const get = async (path: string): Promise<string | number> => {
    const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${path}`);
    return answer.ok ? answer.text() : answer.status;
  };
  const page = String(await get(''));
  for (const link of ['<a href="boot%20%26%20run.log">boot &#38; run.log</a>', '<a href="pods/">pods/</a>'])
    assert.ok(page.includes(link), page);
  for (const path of ['boot%20%26%20run.log', 'latest', 'pods%2F..%2Flatest'])
    assert.equal(await get(path), 'up\n', path);
  for (const path of [
    'none',
    'out',
    '..%2Fsecret',
    'pods%2Ftop%2Fetc%2Fpasswd',
    'pods%2Ftop',
    'latest%2Fx',
    'latest%00',
  ])
    assert.equal(await get(path), 404, path);
});

test('a query that names nothing is refused', () => {
  const problem = (text: string): string | undefined => nodeLogQueryProblem(new URLSearchParams(text));
  assert.equal(problem('query='), 'query: Invalid value: [""]: query cannot be empty');
  assert.equal(problem('query=%20%20&query='), 'query: Invalid value: ["  ",""]: query cannot be empty');
  assert.equal(problem('query=&query=kubelet'), undefined);
  assert.equal(problem(''), undefined);
});

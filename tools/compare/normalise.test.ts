import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { normalise, normaliseBody } from './normalise.ts';

const nowMs = Date.parse('2026-05-05T12:00:00Z');
const options = {
  server: 'https://127.0.0.1:6443',
  nowMs,
  request: '/api/v1/pods\n{"metadata":{"name":"given"},"spec":{"clusterIP":"10.0.0.9"}}',
};
const json = (body: unknown, headers: Record<string, string[]> = {}): Parameters<typeof normalise>[0] => ({
  status: 200,
  headers: { 'content-type': ['application/json'], ...headers },
  body: Buffer.from(JSON.stringify(body)),
});

describe('normalise', () => {
  it('takes out what the server chose', () => {
    const body = {
      metadata: {
        name: 'a-x7k2p',
        generateName: 'a-',
        uid: '0b7d7a0e-1111-4222-8333-444455556666',
        resourceVersion: '42',
        creationTimestamp: '2026-05-05T11:59:58Z',
        managedFields: [{ time: '2026-05-05T11:59:58Z' }],
      },
      spec: { clusterIP: '10.0.0.5', ports: [{ nodePort: 30_123 }] },
    };
    assert.deepEqual(normaliseBody(body, options), {
      metadata: {
        name: 'a-<generated>',
        generateName: 'a-',
        uid: '<uid>',
        resourceVersion: '<rv>',
        creationTimestamp: '<now>',
        managedFields: [{ time: '<now>' }],
      },
      spec: { clusterIP: '<ip>', ports: [{ nodePort: '<port>' }] },
    });
  });

  it('keeps what the request gave, and times of long ago', () => {
    const body = {
      metadata: { name: 'given', creationTimestamp: '2001-02-03T04:05:06Z' },
      spec: { clusterIP: '10.0.0.9' },
    };
    assert.deepEqual(normaliseBody(body, options), body);
  });

  it('takes continue tokens, signed tokens and the address of the server', () => {
    const body = {
      metadata: { continue: 'eyJ2IjoibWV0YS' },
      status: { token: 'eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsi.sig-nature' },
      message: 'dial https://127.0.0.1:6443: refused',
      port: 6443,
    };
    assert.deepEqual(normaliseBody(body, options), {
      metadata: { continue: '<continue>' },
      status: { token: '<token>' },
      message: 'dial https://<server>: refused',
      port: '<server port>',
    });
  });

  it('keeps the precision of times', () => {
    assert.equal(normaliseBody('2026-05-05T11:59:58.123456Z', options), '<now.ssssss>');
    assert.equal(normaliseBody('2026-05-05T11:59:58Z', options), '<now>');
  });

  it('drops headers of the connection, and the values of those that only have to be there', () => {
    const { headers } = normalise(
      json(
        {},
        {
          date: ['x'],
          'audit-id': ['5'],
          'cache-control': ['no-cache, private'],
          warning: ['299 - "b, \\"x\\"", 299 - "c"', '299 - "a"'],
        },
      ),
      options,
    );
    assert.deepEqual(headers, {
      'content-type': 'application/json',
      'audit-id': '(present)',
      'cache-control': 'no-cache, private',
      warning: ['299 - "a"', '299 - "b, \\"x\\""', '299 - "c"'],
    });
  });

  it('leaves the words of documents and the values of metrics aside', () => {
    assert.deepEqual(
      normaliseBody(
        { openapi: '3.0.0', paths: { '/a': { description: 'words', get: { description: 'more' } } } },
        options,
      ),
      { openapi: '3.0.0', paths: { '/a': { get: {} } } },
    );
    assert.deepEqual(
      normaliseBody('# HELP a_total words\n# TYPE a_total counter\na_total{x="1",y="b,c"} 5\n', options),
      { a_total: { type: 'counter', labels: ['x', 'y'] } },
    );
  });

  it('takes ages and addresses out of tables', () => {
    assert.deepEqual(
      normaliseBody(
        { rows: [{ cells: ['a', 'NodePort', '10.96.1.2', '80:31234/TCP', '3m20s', 5] }] },
        options,
      ),
      { rows: [{ cells: ['a', 'NodePort', '<ip>', '80:<port>/TCP', '<age>', 5] }] },
    );
  });

  it('says that no answer came', () => {
    assert.deepEqual(
      normalise({ status: 0, headers: {}, body: Buffer.alloc(0), broken: 'socket hang up' }, options),
      { status: 0, headers: {}, body: '(no answer: socket hang up)' },
    );
  });
});

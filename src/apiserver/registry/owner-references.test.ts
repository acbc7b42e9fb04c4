import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropRepeatedOwners } from './owner-references.ts';

const pod = (
  uid: string,
  controller?: boolean,
): { apiVersion: string; kind: string; name: string; uid: string; controller?: boolean } => ({
  apiVersion: 'v1',
  kind: 'Pod',
  name: 'p',
  uid,
  ...(controller === undefined ? {} : { controller }),
});

test('owners named twice are kept once, and said', () => {
  const warnings: string[] = [],
    meta = { ownerReferences: [pod('a'), pod('b'), pod('a'), pod('a', true), pod('b')] };
  dropRepeatedOwners(meta, (message) => void warnings.push(message));
  assert.deepEqual(meta.ownerReferences, [pod('a'), pod('b'), pod('a', true)]);
  assert.deepEqual(warnings, [
    '.metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: a, b',
  ]);
  dropRepeatedOwners({ ownerReferences: [pod('a'), pod('b')] }, () => assert.fail('nothing to say'));
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { negotiate, negotiateLeniently, negotiatePlainly } from './negotiation.ts';

const view = (as: string, type = 'application/json'): string => `${type};as=${as};v=v1;g=meta.k8s.io`;

for (const [accept, expected] of [
  ['', 'json object'],
  ['*/*', 'json object'],
  ['*', 'json object'],
  ['application/*', 'json object'],
  ['application/yaml', 'yaml object'],
  ['text/html', undefined],
  ['nonsense', undefined],
  // Quality 0 refuses nothing; what is more specific comes first whatever its quality.
  ['application/json;q=0', 'json object'],
  ['*/*,application/yaml;q=0.1', 'yaml object'],
  ['application/json;q=0.5,application/yaml', 'yaml object'],
  [view('Table'), 'json table'],
  [view('Table', 'application/vnd.kubernetes.protobuf'), undefined],
  [`${view('Table', 'application/vnd.kubernetes.protobuf')},${view('Table')}`, 'json table'],
  [view('PartialObjectMetadata', 'application/vnd.kubernetes.protobuf'), 'protobuf metadata'],
  // A transformation that is not known leaves the clause out, also where it is incomplete.
  ['application/json;as=Table', undefined],
  ['application/json;v=v1', undefined],
  [view('Nope'), undefined],
  ['application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io', undefined],
  ['application/json;stream=watch', 'json object'],
  ['application/yaml;stream=watch', undefined],
  ['application/json;stream=nope', undefined],
] as const) {
  test(`accept ${JSON.stringify(accept)}: ${expected ?? 'not acceptable'}`, () => {
    const choose = (): string => {
      const { encoding, view: shown } = negotiate(accept);
      return `${encoding} ${shown}`;
    };
    if (expected === undefined)
      assert.throws(
        choose,
        /only the following media types are accepted: application\/json, application\/yaml, application\/vnd\.kubernetes\.protobuf/,
      );
    else assert.equal(choose(), expected);
  });
}

test('documents and errors are not transformed', () => {
  assert.throws(() => negotiatePlainly(view('Table')));
  assert.equal(negotiatePlainly(`${view('Table')},application/yaml`).encoding, 'yaml');
  assert.equal(
    negotiateLeniently(view('PartialObjectMetadata', 'application/vnd.kubernetes.protobuf')),
    'json',
  );
  assert.equal(negotiateLeniently('application/vnd.kubernetes.protobuf'), 'protobuf');
});

test('an Accept header of very many ranges is refused before they are sorted', () => {
  assert.throws(() => negotiate(`${'text/x,'.repeat(500)}*/*`), /more than 200 media ranges/);
  assert.equal(negotiateLeniently(`${'text/x,'.repeat(500)}*/*`), 'json');
});

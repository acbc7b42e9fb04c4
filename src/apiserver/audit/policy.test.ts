import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRequestInfo } from '../http/request-info.ts';
import { parseAuditPolicy, ruleFor, type AuditPolicy } from './policy.ts';

function policy(rules: string): AuditPolicy {
  return parseAuditPolicy(`apiVersion: audit.k8s.io/v1\nkind: Policy\n${rules}`, 'policy.yaml');
}

const JANE = { name: 'jane', groups: ['devs', 'system:authenticated'] };

test('the first rule that fits decides', () => {
  const found = policy(`
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [system:kube-proxy], verbs: [watch]}
- {level: None, nonResourceURLs: ['/healthz*', /version]}
- {level: Request, userGroups: [devs], verbs: [delete]}
- {level: Metadata, resources: [{group: '', resources: [secrets, configmaps]}, {group: authentication.k8s.io, resources: [tokenreviews]}]}
- {level: RequestResponse, omitStages: [Panic], omitManagedFields: false, resources: [{group: apps, resources: [deployments/*, '*/scale'], resourceNames: [web]}]}
- {level: Metadata, namespaces: [''], resources: [{group: ''}]}
- {level: Request, namespaces: [red]}
`);
  const level = (
    target: string,
    { user }: { readonly user: typeof JANE | undefined } = { user: JANE },
  ): string => {
    const [method = '', path = ''] = target.split(' ');
    return ruleFor(found, { user, info: parseRequestInfo({ method, path, query: '' }) }).level;
  };
  assert.equal(level('GET /healthz/etcd'), 'None');
  assert.equal(level('DELETE /api/v1/namespaces/blue/secrets/x'), 'Request');
  assert.equal(
    level('DELETE /api/v1/namespaces/blue/secrets/x', { user: undefined }),
    'Metadata',
    'nobody is in no group',
  );
  assert.equal(level('GET /api/v1/namespaces/blue/secrets/x'), 'Metadata');
  assert.equal(level('GET /apis/apps/v1/namespaces/blue/deployments/web/status'), 'RequestResponse');
  assert.equal(level('GET /apis/apps/v1/namespaces/blue/statefulsets/web/scale'), 'RequestResponse');
  assert.equal(
    level('GET /apis/apps/v1/namespaces/blue/deployments/web'),
    'RequestResponse',
    'as upstream takes deployments/*: the resource itself, too',
  );
  assert.equal(level('GET /apis/apps/v1/namespaces/blue/deployments/db/status'), 'None', 'another name');
  assert.equal(level('GET /api/v1/nodes/n'), 'Metadata', "namespaces: [''] means what is in none");
  assert.equal(level('GET /api/v1/namespaces/red/pods'), 'Request');
  assert.equal(level('GET /metrics'), 'None');
  const rule = ruleFor(found, {
    user: JANE,
    info: parseRequestInfo({
      method: 'GET',
      path: '/apis/apps/v1/namespaces/blue/deployments/web/status',
      query: '',
    }),
  });
  assert.deepEqual([[...rule.omitStages], rule.omitManagedFields], [['RequestReceived', 'Panic'], false]);
});

test('bad policies are refused with file and field', () => {
  const refused = (rules: string): string => {
    try {
      policy(rules);
    } catch (error) {
      return (error as Error).message;
    }
    return assert.fail('it was taken');
  };
  assert.equal(refused('rules: []'), 'audit policy file policy.yaml: loaded illegal policy with 0 rules');
  assert.equal(
    refused('rules: [{level: All}]'),
    'audit policy file policy.yaml: rules[0].level: Unsupported value: "All": supported values: "None", "Metadata", "Request", "RequestResponse"',
  );
  assert.match(refused('rules: [{verbs: [get]}]'), /rules\[0\]\.level: Required value/);
  assert.match(
    refused("rules: [{level: None, nonResourceURLs: ['/a'], namespaces: [x]}]"),
    /rules\[0\]\.nonResourceURLs: Invalid value: .*cannot apply to both/,
  );
  assert.match(
    refused("rules: [{level: None, nonResourceURLs: ['healthz', '/a*b']}]"),
    /rules\[0\]\.nonResourceURLs\[0\]: .*begin with a '\/'.*rules\[0\]\.nonResourceURLs\[1\]: .*final character/,
  );
  assert.match(
    refused('rules: [{level: None, resources: [{group: apps/v1}]}]'),
    /rules\[0\]\.resources\[0\]\.group: Invalid value: "apps\/v1"/,
  );
  assert.match(
    refused('rules: [{level: None, resources: [{resourceNames: [x]}]}]'),
    /resources\[0\]\.resourceNames: .*requires at least one resource/,
  );
  assert.match(
    refused('rules: [{level: None, omitStages: [Later]}]'),
    /rules\[0\]\.omitStages\[0\]: Invalid value: "Later": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic/,
  );
  assert.match(
    refused('rules: [{level: None, user: [x]}]'),
    /strict decoding error: unknown field "rules\[0\]\.user"/,
  );
  assert.match(
    refused('rules: [{level: None, users: jane}]'),
    /json: cannot unmarshal string into Go struct field PolicyRule\.rules\.users of type \[\]string/,
  );
  assert.throws(
    () => parseAuditPolicy('apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]', 'p'),
    /it should be Policy of audit\.k8s\.io\/v1$/,
  );
  assert.throws(() => parseAuditPolicy('a: [', 'p'), /^Error: audit policy file p: .*line 1/);
});

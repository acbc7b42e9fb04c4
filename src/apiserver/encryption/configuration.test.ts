import assert from 'node:assert/strict';
import { it } from 'node:test';
import { EncryptionConfigurationError, parseEncryptionConfiguration } from './configuration.ts';

const KEY16 = Buffer.alloc(16, 1).toString('base64'),
  KEY32 = Buffer.alloc(32, 1).toString('base64');

function file(
  resources: unknown,
  head = { apiVersion: 'apiserver.config.k8s.io/v1', kind: 'EncryptionConfiguration' },
): string {
  return JSON.stringify({ ...head, resources });
}

function problem(content: string): string {
  try {
    parseEncryptionConfiguration(content);
  } catch (error) {
    assert.ok(error instanceof EncryptionConfigurationError);
    return error.message;
  }
  return assert.fail('it was accepted');
}

const one = (provider: object, resources: readonly string[] = ['secrets']): string =>
  file([{ resources, providers: [provider] }]);

it('reads every kind of provider', () => {
  const parsed = parseEncryptionConfiguration(`
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets, configmaps, 'widgets.example.com']
    providers:
      - aesgcm: { keys: [{ name: a, secret: ${KEY16} }, { name: b, secret: ${KEY32} }] }
      - aescbc: { keys: [{ name: c, secret: ${KEY32} }] }
      - secretbox: { keys: [{ name: d, secret: ${KEY32} }] }
      - kms: { apiVersion: v2, name: vault, endpoint: unix:///run/kms.sock, timeout: 500ms }
      - identity: {}
  - resources: ['*.apps', '*.']
    providers: [{ identity: {} }]
`);
  assert.deepEqual(
    parsed[0]?.providers.map(({ kind }) => kind),
    ['aesgcm', 'aescbc', 'secretbox', 'kms', 'identity'],
  );
  assert.deepEqual(parsed[0]?.providers[3], {
    kind: 'kms',
    kms: { name: 'vault', socket: '/run/kms.sock', timeoutMs: 500 },
  });
  assert.deepEqual(parsed[1]?.resources, ['*.apps', '*.']);
});

it('refuses what is wrong, by field, without secrets', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['', 'the file is empty'],
    [
      file([], { apiVersion: 'v1', kind: 'Secret' }),
      'no kind "Secret" is registered for version "v1"; it should be EncryptionConfiguration of apiserver.config.k8s.io/v1',
    ],
    [file([]), 'resources: Required value: at least one resources is required'],
    [
      file([{ resources: [], providers: [] }]),
      '[resources[0].resources: Required value: at least one resources[0].resources is required, resources[0].providers: Required value: at least one resources[0].providers is required]',
    ],
    [
      one({}),
      'resources[0].providers[0]: Invalid value: "<empty>": provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity',
    ],
    [
      one({ identity: {}, aesgcm: { keys: [] } }),
      'resources[0].providers[0]: Invalid value: "aesgcm, identity": more than one provider specified in a single element, should split into different list elements',
    ],
    [
      one({ aesgcm: { keys: [] } }),
      'resources[0].providers[0].aesgcm.keys: Required value: at least one keys is required',
    ],
    [
      one({ aesgcm: { keys: [{}] } }),
      '[resources[0].providers[0].aesgcm.keys[0].name: Required value: name is a mandatory field for a key, resources[0].providers[0].aesgcm.keys[0].secret: Required value: secret is a mandatory field for a key]',
    ],
    [
      one({ aescbc: { keys: [{ name: 'a', secret: 'topsecret!' }] } }),
      'resources[0].providers[0].aescbc.keys[0].secret: Invalid value: "REDACTED": secrets must be base64 encoded',
    ],
    [
      one({ aescbc: { keys: [{ name: 'a', secret: 'c2hvcnQ=' }] } }),
      'resources[0].providers[0].aescbc.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 5, expected one of [16 24 32]',
    ],
    [
      one({ secretbox: { keys: [{ name: 'a', secret: KEY16 }] } }),
      'resources[0].providers[0].secretbox.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 16, expected one of [32]',
    ],
    [
      one({ kms: { name: 'a', endpoint: 'unix:///a' } }),
      'resources[0].providers[0].kms.apiVersion: Forbidden: KMSv1 is deprecated and off, as upstream has it by default: use apiVersion v2',
    ],
    [
      one({ kms: { apiVersion: 'v2', name: 'a:b', endpoint: 'tcp://x', timeout: '0s' } }),
      '[resources[0].providers[0].kms.timeout: Invalid value: "0s": timeout should be a positive value, resources[0].providers[0].kms.endpoint: Invalid value: "tcp://x": unsupported scheme "tcp" for KMS provider, only unix is supported, resources[0].providers[0].kms.name: Invalid value: "a:b": invalid KMS provider name a:b, must not contain \':\']',
    ],
    [
      file([
        {
          resources: ['secrets'],
          providers: [1, 2].map(() => ({ kms: { apiVersion: 'v2', name: 'a', endpoint: 'unix:///a' } })),
        },
      ]),
      'resources[0].providers[1].kms.name: Invalid value: "a": duplicate KMS provider name a, names must be unique',
    ],
    [
      one({ identity: {} }, ['Secrets']),
      'resources[0].resources[0]: Invalid value: "Secrets": resource name should not contain capital letters',
    ],
    [
      one({ identity: {} }, ['*']),
      'resources[0].resources[0]: Invalid value: "*": use \'*.\' to encrypt all the resources from core API group or *.* to encrypt all resources',
    ],
    [
      one({ identity: {} }, ['secrets', '*.']),
      'resources[0].resources: Invalid value: ["secrets","*."]: using overlapping resources such as \'secrets\' and \'*.\' in the same resource list is not allowed as they will be masked',
    ],
    [
      one({ identity: {} }, ['*.apps', '*.*']),
      'resources[0].resources: Invalid value: ["*.apps","*.*"]: using overlapping resources such as \'secrets\' and \'*.\' in the same resource list is not allowed as they will be masked',
    ],
    [
      one({ identity: {} }, ['secrets', 'secrets']),
      'resources[0].resources: Invalid value: ["secrets","secrets"]: the same resource cannot be specified multiple times',
    ],
    [
      one({ identity: {} }, ['secrets.*']),
      'resources[0].resources[0]: Invalid value: "secrets.*": encrypting the same resource across groups is not supported',
    ],
    [
      one({ identity: {} }, ['events.events.k8s.io']),
      "resources[0].resources[0]: Invalid value: \"events.events.k8s.io\": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
    ],
    [
      one({ identity: {} }, ['ingresses.extensions']),
      'resources[0].resources[0]: Invalid value: "ingresses.extensions": \'extensions\' group has been removed and cannot be used for encryption',
    ],
    [
      one({ identity: {} }, ['serviceipallocations']),
      'resources[0].resources[0]: Invalid value: "serviceipallocations": resources which do not have REST API/s cannot be encrypted',
    ],
  ];
  for (const [content, message] of cases) assert.equal(problem(content), message);
  assert.match(
    problem(one({ aesgmc: {} })),
    /^strict decoding error: unknown field "resources\[0\]\.providers\[0\]\.aesgmc"/,
  );
  assert.match(problem('a: ['), /^it is not valid YAML: /);
});

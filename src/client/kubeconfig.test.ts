import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseKubeconfigs } from '#machinery/config/kubeconfig.ts';
import { inClusterOptions, loadKubeconfig, resolveContext } from './kubeconfig.ts';

const FIRST = `
apiVersion: v1
kind: Config
current-context: admin@home
clusters:
- name: home
  cluster: { server: "https://10.0.0.1:6443", certificate-authority-data: ${Buffer.from('ca pem').toString('base64')} }
contexts:
- name: admin@home
  context: { cluster: home, user: admin, namespace: web }
- name: token@away
  context: { cluster: away, user: robot }
- name: plugin@home
  context: { cluster: home, user: plugin }
users:
- name: admin
  user: { client-certificate-data: ${Buffer.from('cert pem').toString('base64')}, client-key: pki/admin.key, as: jane, as-groups: [a, b] }
- name: plugin
  user: { exec: { command: aws } }
`;
const SECOND = `
current-context: other
clusters:
- name: home
  cluster: { server: "https://not-taken" }
- name: away
  cluster: { server: "https://away:1", certificate-authority: ca.crt, tls-server-name: kube }
users:
- name: robot
  user: { tokenFile: /abs/token, token: older }
`;

describe('kubeconfig', () => {
  const config = parseKubeconfigs([
    { file: '/etc/one/config', text: FIRST },
    { file: '/etc/two/config', text: SECOND },
  ]);

  it('resolves the current context, with inline data, relative files, and impersonation', () => {
    const { namespace, options } = resolveContext(config);
    assert.equal(namespace, 'web');
    assert.deepEqual(options, {
      server: 'https://10.0.0.1:6443',
      ca: Buffer.from('ca pem'),
      cert: Buffer.from('cert pem'),
      keyFile: '/etc/one/pki/admin.key',
      headers: { 'impersonate-user': 'jane', 'impersonate-group': ['a', 'b'] },
    });
  });

  it('merges files; the first value wins', () => {
    assert.deepEqual(resolveContext(config, { context: 'token@away' }), {
      namespace: 'default',
      options: {
        server: 'https://away:1',
        caFile: '/etc/two/ca.crt',
        serverName: 'kube',
        token: 'older',
        tokenFile: '/abs/token',
      },
    });
  });

  it('rejects missing and unsupported settings by name', () => {
    assert.throws(
      () => resolveContext(config, { context: 'plugin@home' }),
      /exec plugin "aws" is not supported/,
    );
    assert.throws(
      () => resolveContext(config, { context: 'nobody' }),
      /no context "nobody"; it has "admin@home"/,
    );
    assert.throws(
      () => loadKubeconfig({ path: '/does/not/exist' }),
      /Cannot read kubeconfig \/does\/not\/exist/,
    );
    assert.throws(() => parseKubeconfigs([{ file: 'x', text: '{' }]), /is not valid YAML/);
  });

  it('loads the in-cluster configuration of a pod', () => {
    assert.equal(
      inClusterOptions({ KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' }).server,
      'https://[fd00::1]:443',
    );
    assert.throws(() => inClusterOptions({}), /Not in a pod/);
  });
});

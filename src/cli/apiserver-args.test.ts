import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { parseApiServerArgs } from './apiserver-args.ts';

test('flags are read as the command reads them, paths become absolute, defaults stay out', () => {
  assert.deepEqual(
    parseApiServerArgs([
      'anonymous-auth=false',
      'authorization-mode=Node,RBAC',
      'basic-auth-file=users.csv',
      'kerberos-name-mapping=^(a|b){1,2}@X$=$1',
      'session-lifetime=8h',
      'kerberos-groups-from-ldap',
    ]),
    {
      args: [
        'anonymous-auth=false',
        'authorization-mode=Node,RBAC',
        `basic-auth-file=${resolve('users.csv')}`,
        'kerberos-name-mapping=^(a|b){1,2}@X$=$1',
        'session-lifetime=8h',
        'kerberos-groups-from-ldap',
      ],
      flags: {
        anonymousAuth: false,
        authorizationMode: ['Node', 'RBAC'],
        basicAuthFile: resolve('users.csv'),
        kerberosNameMapping: ['^(a|b){1,2}@X$=$1'],
        sessionLifetime: '8h',
        kerberosGroupsFromLdap: true,
      },
    },
  );
  assert.deepEqual(parseApiServerArgs([]), { args: [], flags: {} });
});

test('what the command would refuse is refused, and what up decides itself', () => {
  for (const [arg, says] of [
    ['no-such-flag=1', /--apiserver-arg: unknown option '--no-such-flag=1'/],
    ['anonymous-auth=maybe', /--anonymous-auth is "maybe"; it should be true or false/],
    ['etcd-servers=http://x:1', /keeps its objects in DIR/],
    ['etcd-compaction-interval=5m', /keeps its objects in DIR/],
    ['secure-port=1', /--apiserver-arg secure-port is refused: use --https-port of up itself/],
    ['--anonymous-auth=false', /should be NAME=VALUE/],
    ['=x', /should be NAME=VALUE/],
    ['basic-auth-file', /argument missing/],
  ] as const)
    assert.throws(() => parseApiServerArgs([arg]), says);
});

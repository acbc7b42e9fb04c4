import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aggregationFrom, requestHeaderOptions } from './aggregation.ts';

const pki = {
  frontProxyCa: { certificatePem: 'own CA', keyPem: '' },
  clients: { 'front-proxy-client': { certificatePem: 'own cert', keyPem: 'own key' } },
} as never;
const readPem = (_flag: string, path: string): string => `PEM of ${path}`;

test("the data directory's certificates are the default", () => {
  const { requestHeader, aggregation } = aggregationFrom({}, { pki, readPem });
  assert.deepEqual(aggregation, {
    endpointRouting: undefined,
    proxyClient: { cert: 'own cert', key: 'own key' },
  });
  assert.deepEqual([requestHeader?.ca, requestHeader?.allowedNames], ['own CA', ['front-proxy-client']]);
  assert.deepEqual(requestHeaderOptions(requestHeader!), {
    allowedNames: ['front-proxy-client'],
    usernameHeaders: ['x-remote-user'],
    uidHeaders: ['x-remote-uid'],
    groupHeaders: ['x-remote-group'],
    extraHeaderPrefixes: ['x-remote-extra-'],
  });
});

test('flags win; a CA that is named is for any name unless names are given', () => {
  const flags = {
    requestheaderClientCaFile: 'ca.crt',
    requestheaderUsernameHeaders: ['X-User'],
    proxyClientCertFile: 'c.crt',
    proxyClientKeyFile: 'c.key',
    enableAggregatorRouting: false,
  };
  const { requestHeader, aggregation } = aggregationFrom(flags, { pki, readPem });
  assert.deepEqual(
    [requestHeader?.ca, requestHeader?.allowedNames, requestHeader?.usernameHeaders],
    ['PEM of ca.crt', [], ['X-User']],
  );
  assert.deepEqual(aggregation, {
    proxyClient: { cert: 'PEM of c.crt', key: 'PEM of c.key' },
    endpointRouting: false,
  });
  assert.deepEqual(
    aggregationFrom({ ...flags, requestheaderAllowedNames: ['proxy'] }, { pki: undefined, readPem })
      .requestHeader?.allowedNames,
    ['proxy'],
  );
});

test("without certificates nobody's headers are believed; half of a pair and idle flags are refused", () => {
  assert.deepEqual(aggregationFrom({}, { pki: undefined, readPem }), {
    aggregation: { endpointRouting: undefined, proxyClient: undefined },
  });
  assert.throws(() => aggregationFrom({ proxyClientCertFile: 'c.crt' }, { pki, readPem }), /go together/);
  assert.throws(
    () => aggregationFrom({ requestheaderAllowedNames: ['x'] }, { pki: undefined, readPem }),
    /--requestheader-allowed-names needs --requestheader-client-ca-file/,
  );
});

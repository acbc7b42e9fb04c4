import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Acts, judgeActs } from './acts.ts';

const NOW = Date.parse('2026-01-01T12:00:00Z');
const CONTROLLER = 'system:serviceaccount:kube-system:replicaset-controller';
let events = 0;

interface Told {
  /** Seconds before NOW. */
  readonly ago: number;
  readonly from: string;
  readonly wrongBySeconds?: number;
  readonly resource?: string;
}

const line = ({ ago, from, wrongBySeconds = 0 }: Told, event: object): string =>
  JSON.stringify({
    kind: 'Event',
    apiVersion: 'audit.k8s.io/v1',
    auditID: String((events += 1)),
    stage: 'ResponseComplete',
    verb: 'update',
    sourceIPs: [from],
    responseStatus: { code: 200 },
    requestReceivedTimestamp: new Date(NOW + (wrongBySeconds - ago) * 1000).toISOString(),
    ...event,
  });
const renewal = (told: Told): string =>
  line(told, {
    user: { username: 'system:kube-controller-manager' },
    objectRef: { resource: 'leases', namespace: 'kube-system', name: 'kube-controller-manager' },
    responseObject: { spec: { holderIdentity: `of-${told.from}` } },
  });
const act = (told: Told): string =>
  line(told, {
    user: { username: CONTROLLER },
    objectRef: { resource: told.resource ?? 'pods', namespace: 'default', name: 'p' },
  });

function judge(...lines: readonly string[]): string {
  const acts = new Acts();
  const log = ['time=x level=info msg="of another kind"', ...lines, lines[0]!.slice(0, 40)].join('\n');
  acts.read(log, { address: '10.0.0.1', now: NOW });
  acts.read(log, { address: '10.0.0.1', now: NOW });
  return judgeActs(acts).join();
}

const [M1, M2] = ['10.0.0.1', '10.0.0.2'];
/** m1 leads until 30 s before, m2 since 14 s before. */
const RENEWALS = [
  renewal({ ago: 32, from: M1 }),
  renewal({ ago: 30, from: M1 }),
  renewal({ ago: 14, from: M2 }),
  renewal({ ago: 12, from: M2 }),
];

describe('leaders', () => {
  it('act while they lead, and until another one does', () => {
    const acts = [31, 25].map((ago) => act({ ago, from: M1 }));
    assert.equal(judge(...RENEWALS, ...acts, act({ ago: 15, from: M2 }), act({ ago: 13, from: M2 })), '');
  });

  it('are found out where two of them act', () => {
    assert.match(
      judge(...RENEWALS, act({ ago: 13, from: M1 })),
      /^kube-controller-manager: 10\.0\.0\.1 did "update pods default\/p by .*replicaset-controller" at .* while 10\.0\.0\.2 led$/,
    );
    assert.match(judge(...RENEWALS, act({ ago: 31, from: M2 })), /10\.0\.0\.2 did .* while 10\.0\.0\.1 led/);
  });

  it('are told by the machine of the server where they act on their own', () => {
    assert.match(judge(...RENEWALS, act({ ago: 13, from: '127.0.0.1' })), /10\.0\.0\.1 did/);
    assert.equal(judge(...RENEWALS, act({ ago: 31, from: '127.0.0.1' })), '');
  });

  it('are judged by the right time where the server has a wrong clock', () => {
    assert.equal(judge(...RENEWALS, act({ ago: 31, from: M1, wrongBySeconds: 3_600 })), '');
    assert.match(judge(...RENEWALS, act({ ago: 13, from: M1, wrongBySeconds: -3_600 })), /10\.0\.0\.1 did/);
  });

  it('are not expected of what has no leader', () => {
    const told = { ago: 13, from: M1 };
    const user = { username: 'system:serviceaccount:kube-system:coredns' };
    const slice = { resource: 'endpointslices', namespace: 'kube-system', name: 'kube-dns-1' };
    assert.equal(judge(...RENEWALS, line(told, { user, objectRef: slice })), '');
  });

  it('need to lead to record events, and to get accounts their tokens', () => {
    for (const resource of ['events', 'serviceaccounts'])
      assert.match(judge(...RENEWALS, act({ ago: 13, from: M1, resource })), /10\.0\.0\.1 did/);
  });

  it('need not lead to be elected, or to ask who a client is', () => {
    for (const resource of ['leases', 'tokenreviews'])
      assert.equal(judge(...RENEWALS, act({ ago: 13, from: M1, resource })), '');
  });
});

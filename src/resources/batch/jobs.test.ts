import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Job, JobStatus } from '#api/types.ts';
import { create, update } from '../testing/write-case.ts';
import { readIndexes, sharedIndex } from './indexes.ts';

const template = { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'c' }] } };
const job = (spec: object = {}, name = 'j'): object => ({
  metadata: { name, namespace: 'default', uid: 'u-1' },
  spec: { template, ...spec },
});
const indexed = { completionMode: 'Indexed', completions: 5, parallelism: 2 };

const refused: readonly (readonly [what: string, spec: object, ...errors: string[]])[] = [
  [
    'indexed without completions',
    { completionMode: 'Indexed', parallelism: 100001 },
    'spec.completions: Required value: when completion mode is Indexed',
    'spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed',
  ],
  [
    'limits per index without indexes',
    { backoffLimitPerIndex: 1, maxFailedIndexes: 1 },
    'spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode',
    'spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode',
  ],
  [
    'many completions',
    { ...indexed, completions: 100001, parallelism: 10001, backoffLimitPerIndex: 1 },
    'spec.maxFailedIndexes: Required value: must be specified when completions is above 100000',
    'spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index',
  ],
  [
    'managed by a word',
    { managedBy: 'me' },
    'spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")',
  ],
  [
    'failure rules',
    {
      podFailurePolicy: {
        rules: [
          {},
          { action: 'FailIndex', onExitCodes: { operator: 'In', containerName: 'x', values: [3, 0, 3] } },
          { action: 'Ignore', onPodConditions: [{ type: '', status: 'Maybe' }] },
        ],
      },
    },
    'spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]',
    'spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required',
    'spec.podFailurePolicy.rules[1].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set',
    'spec.podFailurePolicy.rules[1].onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template',
    'spec.podFailurePolicy.rules[1].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator',
    'spec.podFailurePolicy.rules[1].onExitCodes.values[2]: Duplicate value: 3',
    'spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: [3,0,3]: must be ordered',
    'spec.podFailurePolicy.rules[2].onPodConditions[0].type: Invalid value: "": name part must be non-empty',
    "spec.podFailurePolicy.rules[2].onPodConditions[0].type: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
    'spec.podFailurePolicy.rules[2].onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"',
  ],
  [
    'a success policy without indexes',
    { successPolicy: { rules: [] } },
    'spec.successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode',
  ],
  [
    'success rules',
    {
      ...indexed,
      successPolicy: {
        rules: [
          {},
          { succeededCount: 6 },
          { succeededIndexes: '0,2-3', succeededCount: 4 },
          { succeededIndexes: '3,1' },
          { succeededIndexes: '7' },
        ],
      },
    },
    'spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified',
    'spec.successPolicy.rules[1].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)',
    'spec.successPolicy.rules[2].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of indexes in the specified succeededIndexes field)',
    'spec.successPolicy.rules[3].succeededIndexes: Invalid value: "3,1": error parsing succeededIndexes: non-increasing order, previous: 3, current: 1',
    'spec.successPolicy.rules[4].succeededIndexes: Invalid value: "7": error parsing succeededIndexes: too large index: "7"',
  ],
  [
    'a restart policy',
    { template: { spec: { ...template.spec, restartPolicy: 'Always' } } },
    'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
  ],
];

for (const [what, spec, ...errors] of refused)
  test(`job: ${what}`, () => assert.deepEqual(create('batch/jobs', job(spec)).errors, errors));

test('job: names of indexed jobs leave room for the index', () => {
  const name = 'x'.repeat(62);
  assert.deepEqual(create('batch/jobs', job(indexed, name)).errors, [
    `metadata.name: Invalid value: "${name}": will not able to create pod with invalid DNS label: ${name}-4`,
  ]);
});

const stored = create<Job>('batch/jobs', job(indexed)).object;
const change = (edit: (spec: NonNullable<Job['spec']>) => void, from = stored): readonly string[] =>
  update<Job>('batch/jobs', from, (next) => edit(next.spec!)).errors;

test('job: the resources of pods may change while none is running', () => {
  const more = (spec: NonNullable<Job['spec']>): void => {
    spec.template.spec!.containers[0]!.resources = { requests: { cpu: '2' } };
  };
  const suspended = create<Job>('batch/jobs', job({ suspend: true })).object;
  const began = { ...suspended, status: { startTime: '2026-01-01T00:00:00Z' } },
    suspendedAgain = {
      ...began,
      status: { ...began.status, conditions: [{ type: 'Suspended', status: 'True' }] },
    } as Job;
  assert.deepEqual([change(more, suspended), change(more, suspendedAgain)], [[], []]);
  for (const from of [stored, began, { ...suspendedAgain, status: { ...suspendedAgain.status, active: 1 } }])
    assert.match(change(more, from)[0] ?? '', /^spec\.template: .*: field is immutable$/);
});

test('job: mutable fields', () => {
  assert.deepEqual(
    change((spec) => {
      spec.completions = 3;
      spec.parallelism = 3;
    }),
    [],
  );
  assert.deepEqual(
    change((spec) => {
      spec.completions = 3;
    }),
    ['spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism'],
  );
  assert.deepEqual(
    change((spec) => {
      spec.completionMode = 'NonIndexed';
      spec.completions = 4;
    }).map((error) => error.split(':')[0]),
    ['spec.completions', 'spec.completionMode'],
  );
  assert.match(
    change((spec) => {
      spec.template.spec!.nodeSelector = { a: 'b' };
    })[0] ?? '',
    /^spec\.template: Invalid value: .*: field is immutable$/,
  );
  const suspended = create<Job>('batch/jobs', job({ suspend: true })).object;
  assert.deepEqual(
    change((spec) => {
      Object.assign(spec.template.spec!, { nodeSelector: { a: 'b' }, affinity: { nodeAffinity: {} } });
    }, suspended),
    [],
  );
  assert.match(
    change((spec) => {
      spec.template.spec!.containers[0]!.image = 'other';
    }, suspended)[0] ?? '',
    /^spec\.template\.spec: .*: field is immutable$/,
  );
  assert.match(
    change((spec) => {
      spec.template.spec!.affinity = {
        podAffinity: {},
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'k', labelSelector: {} }],
        },
      };
    }, suspended)[0] ?? '',
    /^spec\.template\.spec: .*: field is immutable$/,
  );
});

const at = (seconds: number): string =>
  new Date(Date.parse('2026-01-01T00:00:00Z') + seconds * 1000).toISOString().replace('.000Z', 'Z');
const conditions = (...types: string[]): object => ({
  conditions: types.map((type) => ({ type, status: 'True' })),
});
const done = { startTime: at(0), completionTime: at(9), ...conditions('SuccessCriteriaMet', 'Complete') };

const statuses: readonly (readonly [what: string, before: object, after: object, ...errors: string[]])[] = [
  ['running', {}, { active: 2, ready: 1, startTime: at(0) }],
  ['complete', { active: 1, startTime: at(0) }, done],
  [
    'complete without its marks',
    {},
    conditions('Complete'),
    'status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition',
    'status.completionTime: Required value: completionTime is required for Complete jobs',
    'status.startTime: Required value: startTime is required for finished job',
  ],
  [
    'failed without its mark',
    {},
    { startTime: at(0), ...conditions('Failed') },
    'status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition',
  ],
  [
    'complete and failed',
    { startTime: at(0) },
    { ...done, ...conditions('SuccessCriteriaMet', 'Complete', 'FailureTarget', 'Failed') },
    'status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions',
    'status.conditions: Invalid value: cannot set Complete=True and FailureTarget=true conditions',
    'status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions',
    'status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions',
  ],
  [
    'finished with pods',
    { startTime: at(0) },
    { ...done, active: 1, terminating: 1, uncountedTerminatedPods: { succeeded: ['a', 'a', ''] } },
    'status.uncountedTerminatedPods.succeeded[1]: Duplicate value: "a"',
    'status.uncountedTerminatedPods.succeeded[2]: Invalid value: "": must not be empty',
    'status.active: Invalid value: 1: active>0 is invalid for finished job',
    'status.uncountedTerminatedPods: Invalid value: {"succeeded":["a","a",""]}: uncountedTerminatedPods needs to be empty for finished job',
    'status.terminating: Invalid value: 1: terminating>0 is invalid for finished job',
  ],
  [
    'a completion time too early',
    { startTime: at(5) },
    { ...done, startTime: at(5), completionTime: at(1) },
    `status.completionTime: Invalid value: "${at(1)}": completionTime cannot be set before startTime`,
  ],
  [
    'a completion time of no completion',
    {},
    { completionTime: at(1) },
    `status.completionTime: Invalid value: "${at(1)}": cannot set completionTime when there is no Complete=True condition`,
  ],
  [
    'more ready than active',
    {},
    { active: 1, ready: 2 },
    'status.ready: Invalid value: 2: cannot set more ready pods than active',
  ],
  [
    'back from complete',
    done,
    { startTime: at(0) },
    'status.conditions: Invalid value: cannot disable the terminal Complete=True condition',
    'status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition',
  ],
  [
    'another completion time',
    done,
    { ...done, completionTime: at(10) },
    `status.completionTime: Invalid value: "${at(10)}": completionTime cannot be mutated`,
  ],
  [
    'counters go up',
    { failed: 2, succeeded: 2, startTime: at(0) },
    { failed: 1, succeeded: 1 },
    'status.failed: Invalid value: 1: cannot decrease the failed counter',
    'status.succeeded: Invalid value: 1: cannot decrease the succeeded counter',
    'status.startTime: Invalid value: null: field is immutable for unsuspended job once set',
  ],
  [
    'resumed',
    { startTime: at(0), ...conditions('Suspended') },
    { startTime: at(5), conditions: [{ type: 'Suspended', status: 'False' }] },
  ],
  [
    'indexes',
    {},
    { completedIndexes: '0,x', failedIndexes: '1' },
    'status.completedIndexes: Invalid value: "0,x": error parsing completedIndexes: cannot convert string to integer for index: "x"',
    'status.failedIndexes: Invalid value: "1": cannot set non-null failedIndexes when backoffLimitPerIndex is null',
  ],
  [
    'what was wrong before may stay',
    { ready: 3, ...conditions('Complete') },
    { ready: 3, failed: 1, ...conditions('Complete') },
  ],
];

for (const [what, before, after, ...errors] of statuses) {
  test(`job status: ${what}`, () =>
    assert.deepEqual(
      update<Job>(
        'batch/jobs',
        { ...stored, status: before as JobStatus },
        (next) => {
          next.status = after as JobStatus;
        },
        'status',
      ).errors,
      errors,
    ));
}

test('lists of indexes', () => {
  assert.deepEqual(
    [readIndexes('', 5), readIndexes('0,2-4', 5), readIndexes('1-2-3', 5), readIndexes('3-3', 5)],
    [
      { total: 0 },
      { total: 4 },
      {
        total: 0,
        problem:
          'the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by \'-\'',
      },
      { total: 0, problem: 'non-increasing order, previous: 3, current: 3' },
    ],
  );
  assert.deepEqual(
    [
      sharedIndex('0-2,5', '3-4,5-6', 9),
      sharedIndex('0,2', '1,3', 9),
      sharedIndex('x,4', '4', 9),
      sharedIndex('', '1', 9),
    ],
    [5, undefined, 4, undefined],
  );
});

test('warns once of names that are not DNS labels', () => {
  const created = create<Job>('batch/jobs', job({}, 'a.b'));
  assert.match(
    created.warnings[0] ?? '',
    /^metadata\.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: \[.*\]$/,
  );
  assert.deepEqual(
    update<Job>('batch/jobs', created.object, (next) => {
      next.spec!.suspend = true;
    }).warnings,
    [],
  );
});

test('a job without labels gets those of its template, including generated ones', () => {
  const made = {
    'batch.kubernetes.io/job-name': 'j',
    'job-name': 'j',
    'batch.kubernetes.io/controller-uid': 'u-1',
    'controller-uid': 'u-1',
  };
  assert.deepEqual(create<Job>('batch/jobs', job()).object.metadata!.labels, made);
  const labelled = { ...template, metadata: { labels: { app: 'a' } } };
  assert.deepEqual(create<Job>('batch/jobs', job({ template: labelled })).object.metadata!.labels, {
    app: 'a',
    ...made,
  });
  assert.deepEqual(
    create<Job>('batch/jobs', {
      ...job({ template: labelled }),
      metadata: { name: 'j', namespace: 'default', uid: 'u-1', labels: { app: 'b' } },
    }).object.metadata!.labels,
    { app: 'b' },
  );
});

test("a selector is the server's own, or wholly the client's", () => {
  assert.deepEqual(
    create('batch/jobs', job({ selector: { matchLabels: { a: 'b' } } })).errors.map(
      (error) => error.split(':')[0],
    ),
    ['spec.selector', 'spec.template.metadata.labels'],
  );
  assert.deepEqual(create('batch/jobs', job({ manualSelector: true })).errors, [
    'spec.selector: Required value',
    'spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`',
  ]);
});
